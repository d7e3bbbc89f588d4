import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFileSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { deflateRawSync } from "node:zlib";
import { extractZip } from "../../src/adapters/system/archives.ts";
import {
  buildEntry,
  buildEntryOnce,
  cacheDirectory,
  entryDirectory,
  findEntry,
} from "../../src/adapters/system/cache.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { download } from "../../src/adapters/system/download.ts";
import { withProgress } from "../../src/adapters/system/progress.ts";
import { emptyMachine, serveFiles } from "../fixtures/machine.ts";

/** Lets this process use a cache of the test's own. */
async function useEmptyCache(context: TestContext) {
  const machine = await emptyMachine(context);
  const before = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = machine.cacheHome;
  context.after(() => {
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
  });
  return machine;
}

const name = "test/thing";
const fillWith = (content: string) => async (directory: string) => {
  await writeFile(join(directory, "file"), content);
  return { version: content };
};
const staged = () => readdir(join(cacheDirectory(), "staging"));

test("the cache follows XDG_CACHE_HOME", async (context) => {
  const { cacheHome } = await useEmptyCache(context);
  assert.equal(cacheDirectory(), join(cacheHome, "lockstep"));
});

test("an entry is built once, and found with its facts from then on", async (context) => {
  await useEmptyCache(context);
  assert.equal(await findEntry(name), null);
  const built = await buildEntry(name, fillWith("one"));
  const again = await buildEntry(name, () => assert.fail("it is there already"));
  assert.deepEqual(again, built);
  assert.deepEqual(await findEntry(name), { directory: entryDirectory(name), facts: { version: "one" } });
  assert.deepEqual(await staged(), []);
});

test("what a failed build has written is gone, and its error is passed on", async (context) => {
  await useEmptyCache(context);
  const failing = buildEntry(name, async (directory, scratch) => {
    await writeFile(join(directory, "file"), "half");
    await writeFile(join(scratch, "archive"), "half");
    throw new Error("the disk is full");
  });
  await assert.rejects(failing, /the disk is full/);
  assert.equal(await findEntry(name), null);
  assert.deepEqual(await staged(), []);
});

for (const [damage, apply] of Object.entries({
  "a missing file": (directory: string) => rm(join(directory, "file")),
  "a shortened file": (directory: string) => truncate(join(directory, "file"), 1),
  "a missing record": (directory: string) => rm(join(directory, "entry.json")),
  "a damaged record": (directory: string) => writeFile(join(directory, "entry.json"), '{"facts":{}'),
})) {
  test(`an entry with ${damage} is not taken for whole, and is replaced`, async (context) => {
    await useEmptyCache(context);
    const { directory } = await buildEntry(name, fillWith("one"));
    await apply(directory);
    assert.equal(await findEntry(name), null);
    const rebuilt = await buildEntry(name, fillWith("two"));
    assert.deepEqual(rebuilt, { directory, facts: { version: "two" } });
    assert.equal(await readFile(join(directory, "file"), "utf8"), "two");
    assert.deepEqual(await staged(), []);
  });
}

test("what a killed process has left counts for nothing and is swept by the next", async (context) => {
  await useEmptyCache(context);
  const module = new URL("../../src/adapters/system/cache.ts", import.meta.url).href;
  const program = `const { buildEntry } = await import(${JSON.stringify(module)});
    await buildEntry(${JSON.stringify(name)}, async (directory) => {
      (await import("node:fs")).writeFileSync(directory + "/file", "half");
      console.log("in the middle");
      await new Promise((wake) => setTimeout(wake, 60_000));
    });`;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.once("exit", (_code, signal) => resolve(signal)));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  child.kill("SIGKILL");
  assert.equal(await ended, "SIGKILL");
  assert.equal((await staged()).length, 2, "the killed process was in the middle of building");
  assert.equal(await findEntry(name), null);
  await buildEntry(name, fillWith("whole"));
  assert.equal((await findEntry(name))?.facts.version, "whole");
  assert.deepEqual(await staged(), []);
});

test("of two that build at the same time one wins, and both get the same entry", async (context) => {
  await useEmptyCache(context);
  let bothInside = () => {};
  const meet = new Promise<void>((resolve) => (bothInside = resolve));
  let inside = 0;
  const build = (content: string) =>
    buildEntry(name, async (directory) => {
      if (++inside === 2) bothInside();
      await meet;
      return fillWith(content)(directory);
    });
  const [first, second] = await Promise.all([build("one"), build("two")]);
  assert.deepEqual(first, second);
  assert.equal(await readFile(join(first.directory, "file"), "utf8"), first.facts.version);
  assert.deepEqual(await staged(), []);
});

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((wake) => (resolve = wake));
  return { promise, resolve };
}

/** Another process that comes for the entry; `fill` is its program. */
async function another(context: TestContext, fill: string) {
  const module = new URL("../../src/adapters/system/cache.ts", import.meta.url).href;
  const program = `import { existsSync, writeFileSync } from "node:fs";
    const { buildEntryOnce } = await import(${JSON.stringify(module)});
    const wait = (ms) => new Promise((wake) => setTimeout(wake, ms));
    const { facts } = await buildEntryOnce(${JSON.stringify(name)}, async (directory) => { ${fill} });
    console.log("has " + facts.version);`;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  context.after(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { child, line: async () => (await lines.next()).value as string | undefined, ended };
}

test("what takes long is built by one process at a time: the others wait for it, and have it then", async (context) => {
  const { cacheHome } = await useEmptyCache(context);
  const go = join(cacheHome, "go");
  const first = await another(
    context,
    `console.log("builds");
    while (!existsSync(${JSON.stringify(go)})) await wait(20);
    writeFileSync(directory + "/file", "first");
    return { version: "first" };`,
  );
  assert.equal(await first.line(), "builds");
  const waiting = buildEntryOnce(name, () => assert.fail("it is being built"));
  const other = await another(context, `throw new Error("it is being built");`);
  while ((await staged()).length < 3) await systemClock.sleep(10);
  await writeFile(go, "");
  assert.equal((await waiting).facts.version, "first");
  assert.deepEqual([await first.line(), await other.line()], ["has first", "has first"]);
  await Promise.all([first.ended, other.ended]);
  assert.deepEqual(await staged(), []);
});

test("who gets on is waited for, however long it takes", async (context) => {
  await useEmptyCache(context);
  const silentMs = 300;
  const { promise: begun, resolve: begin } = withResolvers();
  const first = buildEntryOnce(name, async (directory) => {
    begin();
    const sinceMs = systemClock.monotonicMs();
    while (systemClock.monotonicMs() - sinceMs < 4 * silentMs) {
      appendFileSync(join(directory, "file"), "x");
      await systemClock.sleep(10);
    }
    return { version: "first" };
  });
  await begun;
  const second = await buildEntryOnce(name, () => assert.fail("it is being built"), silentMs);
  assert.deepEqual(second, await first);
});

test("who builds and is killed, or gets on no more, is waited for no longer", async (context) => {
  await useEmptyCache(context);
  const hanging = `console.log("builds"); writeFileSync(directory + "/file", "half"); await wait(600_000);`;
  const killed = await another(context, hanging);
  assert.equal(await killed.line(), "builds");
  const next = buildEntryOnce(name, fillWith("next"), 600_000);
  while ((await staged()).length < 2) await systemClock.sleep(10);
  killed.child.kill("SIGKILL");
  assert.equal((await next).facts.version, "next");

  await rm(entryDirectory(name), { recursive: true });
  const stopped = await another(context, hanging);
  assert.equal(await stopped.line(), "builds");
  stopped.child.kill("SIGSTOP");
  assert.equal((await buildEntryOnce(name, fillWith("after"), 100)).facts.version, "after");
});

test("what fails for one is tried by the next, which has its own error to tell", async (context) => {
  await useEmptyCache(context);
  const failing = async () => {
    throw new Error("the data are wrong");
  };
  const ends = await Promise.allSettled([1, 2, 3].map(() => buildEntryOnce(name, failing)));
  assert.deepEqual(
    ends.map((end) => end.status === "rejected" && (end.reason as Error).message),
    Array(3).fill("the data are wrong"),
  );
  assert.deepEqual(await staged(), []);
});

test("a download arrives whole, or not at all and with the address in the error", async (context) => {
  const { directory } = await emptyMachine(context);
  const content = Buffer.alloc(100_000, "etcd");
  const sha256 = createHash("sha256").update(content).digest("hex");
  const { address } = await serveFiles(context, { "/file": content });
  const destination = join(directory, "file");
  const options = { destination, sha256, label: "downloading", say: () => {} };
  await download(`${address}/file`, options);
  assert.deepEqual(await readFile(destination), content);
  await assert.rejects(download(`${address}/none`, options), {
    message: `${address}/none cannot be downloaded: the server answered 404`,
  });
  await assert.rejects(
    download(`${address}/file`, { ...options, sha256: "0".repeat(64) }),
    /has SHA-256 [0-9a-f]{64}, expected 0{64}$/,
  );
  await assert.rejects(download("http://127.0.0.1:9/file", options), /127\.0\.0\.1:9.* cannot be downloaded: /);
});

test("a slow download says every two seconds how many bytes of how many have come", async (context) => {
  const { directory } = await emptyMachine(context);
  let finish = () => {};
  const server = createServer((_request, response) => {
    response.writeHead(200, { "content-length": 3_000_000 });
    response.write(Buffer.alloc(1_000_000));
    finish = () => void response.end(Buffer.alloc(2_000_000));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  context.after(() => server.close());
  const lines: string[] = [];
  const say = (line: string) => {
    lines.push(line);
    finish();
  };
  // A TCP server's address is an object.
  const { port } = server.address() as AddressInfo;
  await download(`http://127.0.0.1:${port}/`, {
    destination: join(directory, "file"),
    sha256: null,
    label: "downloading it",
    say,
  });
  assert.deepEqual(lines, ["downloading it: 1.0 of 3.0 MB"]);
});

test("what is done within two seconds says nothing", async () => {
  const lines: string[] = [];
  await withProgress(
    (line) => lines.push(line),
    () => "working",
    Promise.resolve(),
  );
  assert.deepEqual(lines, []);
});

test("only the wanted files of a zip archive are unpacked, stored or compressed, executable if they were", async (context) => {
  const { directory } = await emptyMachine(context);
  const archive = join(directory, "archive.zip");
  await writeFile(
    archive,
    zip({ "a/stored": ["stored", 0, 0o644], "a/program": ["x".repeat(10_000), 8, 0o755], "b/other": ["no", 8, 0o644] }),
  );
  const target = join(directory, "unpacked");
  await mkdir(target);
  await extractZip(archive, target, (path) => path.startsWith("a/"));
  assert.deepEqual(await readdir(target), ["a"]);
  assert.equal(await readFile(join(target, "a/stored"), "utf8"), "stored");
  assert.equal(await readFile(join(target, "a/program"), "utf8"), "x".repeat(10_000));
  assert.equal((await stat(join(target, "a/program"))).mode & 0o777, 0o755);
});

test("a zip archive that is cut short, or that would write outside its folder, is refused", async (context) => {
  const { directory } = await emptyMachine(context);
  const archive = join(directory, "archive.zip");
  const whole = zip({ "../outside": ["evil", 0, 0o644] });
  await writeFile(archive, whole);
  await assert.rejects(
    extractZip(archive, join(directory, "unpacked"), () => true),
    /a path outside itself: \.\.\/outside/,
  );
  await writeFile(archive, whole.subarray(0, whole.length - 30));
  await assert.rejects(
    extractZip(archive, join(directory, "unpacked"), () => true),
    /is no zip archive/,
  );
  assert.deepEqual((await readdir(directory)).sort(), ["archive.zip", "bin"]);
});

/** A zip archive of the given files: content, compression method (0 stored, 8 deflated) and mode. */
function zip(files: Readonly<Record<string, readonly [content: string, method: 0 | 8, mode: number]>>): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [path, [content, method, mode]] of Object.entries(files)) {
    const data = method === 8 ? deflateRawSync(content) : Buffer.from(content);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(method, 8);
    local.writeUInt32LE(data.length, 18);
    local.writeUInt32LE(content.length, 22);
    local.writeUInt16LE(path.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(method, 10);
    entry.writeUInt32LE(data.length, 20);
    entry.writeUInt32LE(content.length, 24);
    entry.writeUInt16LE(path.length, 28);
    entry.writeUInt32LE((mode << 16) >>> 0, 38);
    entry.writeUInt32LE(offset, 42);
    parts.push(local, Buffer.from(path), data);
    directory.push(entry, Buffer.from(path));
    offset += local.length + path.length + data.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(directory.length / 2, 10);
  end.writeUInt32LE(Buffer.concat(directory).length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, ...directory, end]);
}
