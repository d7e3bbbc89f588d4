import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { EtcdProgram } from "../../src/adapters/system/etcd-program.ts";
import { findProgram, runProgram } from "../../src/adapters/system/programs.ts";
import { emptyMachine, type Machine, runFixture, serveFiles } from "../fixtures/machine.ts";
import type { PrepareReport } from "../fixtures/prepare-program.ts";

async function prepare(machine: Machine, changes: Record<string, string> = {}): Promise<PrepareReport<EtcdProgram>> {
  const { stdout, stderr } = await runFixture("prepare-program.ts", ["etcd"], { ...machine.environment, ...changes });
  assert.equal(stderr, "");
  // What the program prints.
  return JSON.parse(stdout) as PrepareReport<EtcdProgram>;
}

/** Where the program is that makes a member's data of a backup. */
async function prepareRestorer(machine: Machine): Promise<PrepareReport<string>> {
  const { stdout, stderr } = await runFixture("prepare-program.ts", ["restorer"], machine.environment);
  assert.equal(stderr, "");
  // What the program prints.
  return JSON.parse(stdout) as PrepareReport<string>;
}

const saysVersion = (version: string) => `echo "etcd Version: ${version}"; echo "Git SHA: x"`;

test("ETCD_BIN names the program, before everything else and without a word", async (context) => {
  const machine = await emptyMachine(context);
  await machine.addScript("etcd", saysVersion("3.5.9"));
  const path = await machine.addScript("my-etcd", saysVersion("3.6.1"));
  const { result, lines } = await prepare(machine, { ETCD_BIN: path });
  assert.deepEqual(result, { path, version: "3.6.1" });
  assert.deepEqual(lines, []);
});

for (const [what, script, why] of [
  ["is not there", null, /it is not there, or no file that can be executed/],
  ["does not run", "echo 'wrong architecture' >&2; exit 126", /does not run: wrong architecture — exit code 126/],
  ["is too old", saysVersion("3.3.25"), /is etcd 3\.3\.25, older than 3\.4/],
  ["is known to lose data", saysVersion("3.5.1"), /is etcd 3\.5\.1, which is known to lose data/],
  ["is something else", "echo hello", /does not say its version/],
] as const) {
  test(`an ETCD_BIN that ${what} is an error that says so, and nothing is fetched instead`, async (context) => {
    const machine = await emptyMachine(context);
    await machine.addScript("etcd", saysVersion("3.6.1"));
    const path = script === null ? join(machine.directory, "none") : await machine.addScript("my-etcd", script);
    const { error, result } = await prepare(machine, { ETCD_BIN: path });
    assert.equal(result, null);
    assert.equal(error?.code, "coordination-unavailable");
    assert.ok(error.message.includes(path), error.message);
    assert.match(error.message, why);
  });
}

test("an etcd on PATH is used as it is", async (context) => {
  const machine = await emptyMachine(context);
  const path = await machine.addScript("etcd", saysVersion("3.5.24"));
  const { result, lines } = await prepare(machine);
  assert.deepEqual(result, { path, version: "3.5.24" });
  assert.deepEqual(lines, []);
  const { error } = await prepareRestorer(machine);
  assert.equal(error?.code, "coordination-unavailable");
  assert.match(error.message, /^There is no etcdutl or etcdctl beside \S+\/etcd, nor on PATH\.$/);
  const etcdctl = await machine.addScript("etcdctl", "exit 0");
  assert.equal((await prepareRestorer(machine)).result, etcdctl);
});

test("where nothing works, the error names every source and why it failed; wrong bytes are not accepted", async (context) => {
  const machine = await emptyMachine(context);
  await machine.addScript("etcd", saysVersion("3.2.0"));
  const target = `${process.platform}-${process.arch === "x64" ? "amd64" : process.arch}`;
  const file = `/v3.6.5/etcd-v3.6.5-${target}.${process.platform === "darwin" ? "zip" : "tar.gz"}`;
  const { address, requests } = await serveFiles(context, { [file]: Buffer.from("not etcd") });
  const { error } = await prepare(machine, { ETCD_MIRROR: address });
  assert.equal(error?.code, "coordination-unavailable");
  assert.match(error.message, /PATH: \S+ is etcd 3\.2\.0, older than 3\.4/);
  assert.match(error.message, /the Debian package: apt-get is not on PATH/);
  assert.match(error.message, /Homebrew's bottle: brew is not on PATH/);
  assert.match(error.message, /the release 3\.6\.5: \S+ has SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}/);
  assert.match(error.hint, /ETCD_BIN/);
  assert.deepEqual(requests, [file]);
});

test("Homebrew's bottle is fetched and unpacked, not installed, and found again", async (context) => {
  const machine = await emptyMachine(context);
  assert.ok(await machine.addPrograms("tar", "gzip"));
  const folder = join(machine.directory, "bottle", "etcd", "3.6.7", "bin");
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "etcd"), `#!/bin/sh\n${saysVersion("3.6.7")}\n`, { mode: 0o755 });
  await writeFile(join(folder, "etcdutl"), "#!/bin/sh\necho etcdutl version: 3.6.7\n", { mode: 0o755 });
  const bottle = join(machine.directory, "etcd.bottle.tar.gz");
  const packed = await runProgram(findProgram("tar") ?? "", [
    "-czf",
    bottle,
    "-C",
    join(machine.directory, "bottle"),
    "etcd",
  ]);
  assert.equal(packed.failure, "");
  await machine.addScript(
    "brew",
    `echo "$@" >> ${machine.directory}/calls; case "$1" in --cache) echo ${bottle};; esac`,
  );
  const first = await prepare(machine);
  assert.deepEqual(first.error, null);
  const path = join(machine.cacheHome, "lockstep", "etcd", `homebrew-${process.arch}`, "etcd");
  assert.deepEqual(first.result, { path, version: "3.6.7" });
  const restorer = await prepareRestorer(machine);
  assert.equal(
    restorer.result,
    join(machine.cacheHome, "lockstep", "etcd-tools", `homebrew-${process.arch}`, "etcdutl"),
  );
  await machine.addScript("brew", "exit 1");
  await machine.addScript("etcdctl", "exit 1"); // of another release than the server, perhaps
  assert.deepEqual((await prepare(machine)).result, first.result);
  assert.equal((await prepareRestorer(machine)).result, restorer.result);
});

test("Debian's package is fetched and unpacked without touching apt's own state", {
  skip: findProgram("apt-get") === null ? "no apt-get here" : false,
}, async (context) => {
  const machine = await emptyMachine(context);
  const state = async () =>
    (await runProgram("/usr/bin/find", ["/var/lib/apt", "/var/lib/dpkg", "/var/cache/apt", "-printf", "%p %T@\n"]))
      .output;
  const before = await state();
  const { result, error, lines } = await prepare(machine, { PATH: process.env.PATH ?? "" });
  assert.deepEqual(error, null);
  assert.equal(result?.path, join(machine.cacheHome, "lockstep", "etcd", `debian-${process.arch}`, "etcd"));
  assert.match(result.version, /^3\.[4-9]/);
  assert.match(lines[0] ?? "", /^Fetching etcd/);
  const again = await prepare(machine, { PATH: "" });
  assert.deepEqual([again.result, again.lines], [result, []]);
  assert.equal(await state(), before);
});
