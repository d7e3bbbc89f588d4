import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, relative } from "node:path";
import { type TestContext, test } from "node:test";
import { openDirectoryStorage } from "../../src/adapters/fs/checkpoint-storage.ts";
import { nodeFileSystem } from "../../src/adapters/fs/file-system.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { CheckpointError } from "../../src/core/manifest.ts";
import type { Log } from "../../src/ports/log.ts";
import { type Call, disturbed, type Interference, systemError } from "../fixtures/disturbed-file-system.ts";
import { VolatileDisk } from "../fixtures/volatile-disk.ts";
import { assertSameContent, checkpointStorageContract, content } from "./checkpoint-storage.contract.ts";

checkpointStorageContract("directory", async (context) => {
  const directory = await temporaryDirectory(context);
  const warnings: string[] = [];
  return {
    storage: await openDirectoryStorage(directory, logInto(warnings)),
    warnings,
    readFile: async (id, name) => new Uint8Array(await readFile(join(directory, id, name))),
    replaceFile: (id, name, bytes) => writeFile(join(directory, id, name), bytes),
    removeFile: (id, name) => unlink(join(directory, id, name)),
  };
});

async function temporaryDirectory(context: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "lockstep-storage-"));
  context.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

function logInto(warnings: string[]): Log {
  const log: Log = {
    debug: () => undefined,
    info: () => undefined,
    warn: (message) => void warnings.push(message),
    error: () => undefined,
    with: () => log,
  };
  return log;
}

const quiet = logInto([]);

/** Storage on a file system that is only disturbed while `isOn`. */
async function openDisturbed(directory: string, interference: Interference) {
  const control = { isOn: false };
  const fileSystem = disturbed(nodeFileSystem, {
    before: (call) => (control.isOn ? interference.before?.(call) : undefined),
    alter: (call, buffers) => (control.isOn && interference.alter ? interference.alter(call, buffers) : buffers),
  });
  return { control, storage: await openDirectoryStorage(directory, quiet, fileSystem) };
}

test("directory: a checkpoint is four files in a folder of its name, and nothing else is left", async (context) => {
  const directory = join(await temporaryDirectory(context), "made", "with", "parents");
  const storage = await openDirectoryStorage(directory, quiet);
  const { location } = await storage.write(content("one"));
  assert.equal(location, join(directory, "one"));
  assert.deepEqual(await readdir(directory), ["one"]);
  const names = ["manifest.json", "optimizer.safetensors", "state.json", "weights.safetensors"];
  assert.deepEqual((await readdir(location)).sort(), names);
  await storage.delete("one");
  assert.deepEqual(await readdir(directory), []);
});

test("directory: all content is durable before the manifest, and all of it before the name", async (context) => {
  const directory = await temporaryDirectory(context);
  const calls: string[] = [];
  const { control, storage } = await openDisturbed(directory, {
    before: ({ operation, path }) => {
      const place = relative(directory, path).replace(/^\.staging-one-[0-9a-f]{16}/, "STAGING");
      calls.push(`${operation} ${place}`.trim());
    },
  });
  control.isOn = true;
  await storage.write(content("one"));
  const changes = calls.filter((call) => !/^(exists|open|sizeBytes|read|close one)/.test(call));
  // The three are written at once; each in this order.
  const ofFile = (name: string) => changes.filter((call) => call.endsWith(` STAGING/${name}`));
  const inOrder = (name: string) => ["create", "write", "sync", "close"].map((call) => `${call} STAGING/${name}`);
  const contents = ["weights.safetensors", "optimizer.safetensors", "state.json"];
  for (const name of contents) assert.deepEqual(ofFile(name), inOrder(name));
  const lastOfContent = Math.max(...contents.map((name) => changes.indexOf(`close STAGING/${name}`)));
  assert.equal(changes[0], "makeDirectory STAGING");
  assert.equal(lastOfContent, 4 * contents.length, "nothing else happens before all of them are durable");
  assert.deepEqual(changes.slice(lastOfContent + 1), [
    ...inOrder("manifest.json"),
    "syncDirectory STAGING",
    "rename STAGING",
    "syncDirectory",
  ]);
  const readBack = calls.slice(calls.lastIndexOf("syncDirectory")).filter((call) => call.startsWith("open"));
  const names = ["manifest.json", "weights.safetensors", "optimizer.safetensors", "state.json"];
  assert.equal(readBack[0], "open one/manifest.json");
  assert.deepEqual(readBack.sort(), names.map((name) => `open one/${name}`).sort());

  calls.length = 0;
  await storage.delete("one");
  const deletion = [
    "removeFile one/manifest.json",
    "exists one",
    "syncDirectory one",
    "removeTree one",
    "names",
    "syncDirectory",
  ];
  assert.deepEqual(calls, deletion);
});

test("directory: an id that is taken is refused before anything is written", async (context) => {
  const calls: string[] = [];
  const { control, storage } = await openDisturbed(await temporaryDirectory(context), {
    before: ({ operation }) => calls.push(operation),
  });
  await storage.write(content("one"));
  control.isOn = true;
  await assert.rejects(storage.write(content("one")), /already/);
  assert.deepEqual(calls, ["exists"]);
});

test("directory: a writer killed before any of its calls leaves a whole checkpoint or none", async (context) => {
  const directory = await temporaryDirectory(context);
  const untouched = await openDirectoryStorage(directory, quiet);
  await untouched.write(content("before", { step: 1 }));
  const outcomes: boolean[] = [];
  let begun = 0;
  for (let finished = false; !finished; ) {
    let callsLeft = outcomes.length;
    const { control, storage } = await openDisturbed(directory, {
      before: () => {
        // From here on the process does nothing any more; its clean-up does not happen either.
        callsLeft -= 1;
        if (callsLeft < 0) throw new Error("killed");
      },
    });
    const id = `killed-${outcomes.length}`;
    control.isOn = true;
    finished = await storage.write(content(id, { step: 2 })).then(
      () => true,
      () => false,
    );

    const next = await openDirectoryStorage(directory, quiet);
    const listed = (await next.list()).map((stored) => stored.id);
    const isListed = listed.includes(id);
    assert.deepEqual(listed, isListed ? ["before", id] : ["before"]);
    assertSameContent(await next.load("before"), content("before", { step: 1 }));
    if (isListed) assertSameContent(await next.load(id), content(id, { step: 2 }));
    else
      await assert.rejects(next.load(id), (error) => error instanceof CheckpointError && error.problem === "missing");
    const unfinished = await next.unfinished!();
    assert.ok(isListed ? unfinished.length === 0 : unfinished.every((other) => other === id), unfinished.join());
    if (unfinished.length > 0) begun += 1;
    await next.delete(id);
    assert.deepEqual(await readdir(directory), ["before"], "nothing is left of it");
    outcomes.push(isListed);
  }
  assert.ok(begun > 10, "it was killed in the middle");
  const renamed = outcomes.indexOf(true);
  assert.ok(renamed > 15 && outcomes.length - renamed > 10, "it was killed before the rename and after it");
  assert.deepEqual(
    outcomes,
    [...outcomes.keys()].map((calls) => calls >= renamed),
    "and not back again",
  );
});

for (const [code, hint] of [
  ["EIO", /system's log/],
  ["ENOSPC", /Free space/],
  ["EACCES", /access/],
] as const) {
  test(`directory: ${code} at any one call fails the write, says where, and leaves nothing behind`, async (context) => {
    const directory = await temporaryDirectory(context);
    let callCount = 0;
    for (let finished = false; !finished; callCount += 1) {
      let callsLeft = callCount;
      let failed: Call | null = null;
      const { control, storage } = await openDisturbed(directory, {
        before: (call) => {
          callsLeft -= 1;
          if (callsLeft !== -1) return;
          failed = call;
          throw systemError(code, `simulated, ${call.operation}`);
        },
      });
      control.isOn = true;
      const error: unknown = await storage.write(content("one")).then(
        () => null,
        (reason: unknown) => reason,
      );
      finished = failed === null;
      if (failed === null) assert.equal(error, null);
      else assertSaysWhere(error, failed, hint);
      assert.deepEqual(await readdir(directory), finished ? ["one"] : [], `after call ${callCount}`);
    }
    assert.ok(callCount > 30, "every call of a write was tried");
  });
}

function assertSaysWhere(error: unknown, { operation, path }: Call, hint: RegExp): void {
  assert.ok(error instanceof CheckpointError, `after ${operation} failed: ${String(error)}`);
  assert.match(error.problem, /^(unwritable|unreadable)$/);
  // A failed rename is told of the name that it should have made.
  if (operation !== "rename") assert.ok(error.message.includes(path), `${error.message} names ${path}`);
  assert.match(error.message, new RegExp(`simulated, ${operation}`));
  assert.match(error.hint ?? "", hint);
}

test("directory: short writes and short reads are carried on to the end", async (context) => {
  let shortCount = 0;
  const { control, storage } = await openDisturbed(await temporaryDirectory(context), {
    alter: (_call, buffers) => {
      shortCount += 1;
      const [first, second] = buffers;
      // Sometimes the end is inside a buffer, sometimes inside the one after it.
      return second === undefined || first!.length > 5 ? [first!.subarray(0, 5)] : [first!, second.subarray(0, 1)];
    },
  });
  control.isOn = true;
  await storage.write(content("one"));
  assertSameContent(await storage.load("one"), content("one"));
  assert.ok(shortCount > 100, "reads and writes were short");
});

test("directory: a device that takes nothing more, without an error, fails the write", async (context) => {
  const directory = await temporaryDirectory(context);
  const { control, storage } = await openDisturbed(directory, {
    alter: ({ operation }, buffers) => (operation === "write" ? [buffers[0]!.subarray(0, 0)] : buffers),
  });
  control.isOn = true;
  await assert.rejects(
    storage.write(content("one")),
    /weights\.safetensors: the file ended, or took no more, at byte 0/,
  );
  assert.deepEqual(await readdir(directory), []);
});

for (const name of ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]) {
  test(`directory: a bit of ${name} that flips on the way to the disk is found, and nothing is left`, async (context) => {
    const directory = await temporaryDirectory(context);
    const { control, storage } = await openDisturbed(directory, {
      alter: ({ operation, path }, buffers) => {
        if (operation !== "write" || basename(path) !== name) return buffers;
        const [first, ...rest] = buffers.map((buffer) => Uint8Array.from(buffer));
        first![first!.length >> 1]! ^= 4;
        return [first!, ...rest];
      },
    });
    control.isOn = true;
    await assert.rejects(
      storage.write(content("one")),
      (error) => error instanceof CheckpointError && error.problem === "corrupt" && error.message.includes(name),
    );
    assert.deepEqual(await readdir(directory), []);
  });
}

test("directory: what cannot be read is unreadable, not corrupt and not missing", async (context) => {
  const directory = await temporaryDirectory(context);
  await (await openDirectoryStorage(directory, quiet)).write(content("one"));
  for (const code of ["EIO", "EACCES", "ESTALE", "EMFILE"]) {
    for (const operation of ["open", "sizeBytes", "read"]) {
      for (const name of ["manifest.json", "weights.safetensors", "optimizer.safetensors", "state.json"]) {
        const { control, storage } = await openDisturbed(directory, {
          before: (call) => {
            if (call.operation === operation && basename(call.path) === name) throw systemError(code, "simulated");
          },
        });
        control.isOn = true;
        await assertUnreadable(storage.load("one"), name);
        // To leave it out of the list would be to forget it.
        if (name === "manifest.json") await assertUnreadable(storage.list(), name);
      }
    }
  }
});

async function assertUnreadable(act: Promise<unknown>, name: string): Promise<void> {
  await assert.rejects(act, (error) => {
    assert.ok(error instanceof CheckpointError, String(error));
    assert.equal(error.problem, "unreadable");
    assert.equal(error.code, "internal");
    assert.ok(error.message.includes(name), error.message);
    assert.ok(error.cause instanceof Error);
    return true;
  });
}

test("directory: a file that ends early while it is read is unreadable, not an endless loop", async (context) => {
  const directory = await temporaryDirectory(context);
  const { control, storage } = await openDisturbed(directory, {
    alter: ({ operation }, buffers) => (operation === "read" ? [buffers[0]!.subarray(0, 0)] : buffers),
  });
  await storage.write(content("one"));
  control.isOn = true;
  await assertUnreadable(storage.load("one"), "manifest.json");
});

test("directory: the list passes over staging folders, hidden files and what is no checkpoint", async (context) => {
  const directory = await temporaryDirectory(context);
  const warnings: string[] = [];
  const storage = await openDirectoryStorage(directory, logInto(warnings));
  await storage.write(content("one"));
  const manifest = await readFile(join(directory, "one", "manifest.json"));
  for (const folder of [".staging-two-0123456789abcdef", "lost+found", "empty"]) {
    await mkdir(join(directory, folder));
    if (folder !== "empty") await writeFile(join(directory, folder, "manifest.json"), manifest);
  }
  await writeFile(join(directory, ".DS_Store"), "");
  await writeFile(join(directory, "README.md"), "");
  assert.deepEqual(
    (await storage.list()).map(({ id }) => id),
    ["one"],
  );
  assert.deepEqual(warnings, []);
});

test("directory: a place that is no directory, or cannot be made, is refused at the start", async (context) => {
  const file = join(await temporaryDirectory(context), "file");
  await writeFile(file, "mine");
  for (const path of [file, join(file, "below")]) {
    await assert.rejects(openDirectoryStorage(path, quiet), (error) => {
      return error instanceof LockstepError && error.message.includes(path) && error.hint !== undefined;
    });
  }
  assert.equal(await readFile(file, "utf8"), "mine");
});

// The disk that the crash matrix takes the power from keeps the port's promises like a real one.
checkpointStorageContract("volatile disk", async () => {
  const disk = new VolatileDisk();
  const warnings: string[] = [];
  const replaceFile = async (id: string, name: string, bytes: Uint8Array) => {
    await disk.removeTree(`/checkpoints/${id}/${name}`);
    await (await disk.create(`/checkpoints/${id}/${name}`)).write([bytes], 0);
  };
  return {
    storage: await openDirectoryStorage("/checkpoints", logInto(warnings), disk),
    warnings,
    readFile: async (id, name) => {
      const file = await disk.open(`/checkpoints/${id}/${name}`);
      const bytes = new Uint8Array(await file.sizeBytes());
      await file.read([bytes], 0);
      return bytes;
    },
    replaceFile,
    removeFile: (id, name) => disk.removeFile(`/checkpoints/${id}/${name}`),
  };
});
