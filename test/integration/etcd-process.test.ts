import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { openEtcd } from "../../src/adapters/etcd/etcd-coordination.ts";
import { type RunningProcess, startProcess } from "../../src/adapters/system/child-process.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { type EtcdExit, type EtcdServer, startEtcd } from "../../src/adapters/system/etcd-process.ts";
import { createLog } from "../../src/adapters/system/log.ts";
import { LockstepError } from "../../src/core/errors.ts";
import type { Coordination } from "../../src/ports/coordination.ts";
import { etcdProgram, quietLog } from "../fixtures/etcd.ts";

describe("an etcd of our own", { timeout: 60_000 }, () => {
  let program: string;
  let directory: string;
  before(async () => {
    program = await etcdProgram();
    directory = await mkdtemp(join(tmpdir(), "lockstep-etcd-process-"));
  });
  after(() => rm(directory, { recursive: true, force: true }));

  const start = (name: string, options: Partial<Parameters<typeof startEtcd>[0]> = {}): Promise<EtcdServer> =>
    startEtcd({
      program,
      dataDirectory: join(directory, name),
      log: quietLog,
      onExit: (exit) => assert.fail(`etcd ended: ${JSON.stringify(exit)}`),
      guardGraceMs: 0,
      ...options,
    });

  test("it answers on loopback when it has started, and nothing of it is left when it has stopped", async () => {
    const etcd = await start("life");
    assert.match(etcd.endpoint, /^http:\/\/127\.0\.0\.1:\d+$/);
    await withClient(etcd, (client) => client.transact([], [{ kind: "put", key: "/a", value: "1" }]));
    assert.equal(groupOf(etcd.pid), etcd.pid, "Ctrl-C at the terminal must not reach it");
    await etcd.stop();
    await eventually(() => membersOf(etcd.pid).length === 0);
    await assert.rejects(connected(etcd.endpoint), { code: "ECONNREFUSED" });
  });

  test("started again on a data directory, it goes on with what it holds", async () => {
    const first = await start("data");
    await withClient(first, (client) => client.transact([], [{ kind: "put", key: "/kept", value: "yes" }]));
    await first.stop();
    const second = await start("data");
    assert.equal((await withClient(second, (client) => client.get("/kept")))?.value, "yes");
    await second.stop();
  });

  test("several start at once, each on its own ports", async () => {
    const etcds = await Promise.all(["one", "two", "three"].map((name) => start(name)));
    assert.equal(new Set(etcds.map(({ endpoint }) => endpoint)).size, 3);
    await Promise.all(
      etcds.map(async (etcd, index) => {
        await withClient(etcd, async (client) => {
          await client.transact([], [{ kind: "put", key: "/which", value: String(index) }]);
          assert.deepEqual(
            (await client.list("/")).entries.map(({ value }) => value),
            [String(index)],
          );
        });
        await etcd.stop();
      }),
    );
  });

  test("after a crash it is told of, it restarts on its data and its port", async () => {
    const crash = new Crash();
    const etcd = await start("crash", { onExit: crash.tell });
    const { endpoint, pid } = etcd;
    await withClient(etcd, (client) => client.transact([], [{ kind: "put", key: "/kept", value: "yes" }]));
    process.kill(pid, "SIGKILL");
    assert.equal((await crash.told).signal, "SIGKILL");
    await etcd.restart();
    assert.equal(etcd.endpoint, endpoint);
    assert.notEqual(etcd.pid, pid);
    assert.equal((await withClient(etcd, (client) => client.get("/kept")))?.value, "yes");
    await assert.rejects(etcd.restart(), /still runs/);
    await etcd.stop();
    await assert.rejects(etcd.restart(), /was stopped/);
  });

  test("when its port was taken meanwhile, it restarts on another", async () => {
    const crash = new Crash();
    const etcd = await start("taken", { onExit: crash.tell });
    const { endpoint } = etcd;
    process.kill(etcd.pid, "SIGKILL");
    await crash.told;
    const squatter = await listening(Number(new URL(endpoint).port));
    await etcd.restart();
    assert.notEqual(etcd.endpoint, endpoint);
    assert.equal(await withClient(etcd, (client) => client.get("/a")), null);
    await etcd.stop();
    await closed(squatter);
  });

  test("one that cannot start fails with what it said", async () => {
    const etcd = await start("damaged");
    await etcd.stop();
    const snapshots = join(directory, "damaged", "member", "snap");
    assert.ok((await readdir(snapshots)).includes("db"));
    await writeFile(join(snapshots, "db"), "this is no database");
    await fails(
      start("damaged"),
      "coordination-unavailable",
      /damaged.*ended before it answered, with .*: .*(database|db)/,
    );
  });

  test("a program that is not there fails with its name", async () => {
    await fails(start("nothing", { program: "/nowhere/etcd" }), "coordination-unavailable", /\/nowhere\/etcd/);
  });

  test("a program that never answers is ended, and named in the error with the time it had", async () => {
    const mute = join(directory, "mute");
    const pidFile = join(directory, "mute.pid");
    await writeFile(mute, `#!/bin/sh\necho $$ > ${pidFile}\nexec sleep 1000\n`);
    await chmod(mute, 0o755);
    await fails(
      start("mute-data", { program: mute, readyTimeoutMs: 500 }),
      "coordination-unavailable",
      /did not answer on port \d+ within 500 ms/,
    );
    const pid = Number(execFileSync("cat", [pidFile], { encoding: "utf8" }));
    assert.ok(pid > 1);
    await eventually(() => membersOf(pid).length === 0);
  });

  test("environment variables meant for another etcd do not change it", async () => {
    process.env.ETCD_QUOTA_BACKEND_BYTES = "nonsense";
    try {
      const etcd = await start("environment");
      await etcd.stop();
    } finally {
      delete process.env.ETCD_QUOTA_BACKEND_BYTES;
    }
  });

  test("when its parent is killed it serves the others for the time of grace, then ends, and its guard with it", async () => {
    const lines = new Lines();
    const source = `
      import { startEtcd } from "../../src/adapters/system/etcd-process.ts";
      import { createLog } from "../../src/adapters/system/log.ts";
      const { pid, endpoint } = await startEtcd({
        program: ${JSON.stringify(program)},
        dataDirectory: ${JSON.stringify(join(directory, "orphan"))},
        log: createLog({ stream: process.stderr, format: "text", level: "error" }),
        onExit: () => undefined,
        guardGraceMs: 2000,
      });
      console.log(JSON.stringify({ pid, endpoint }));
    `;
    const parent = await startNode(source, { onLine: lines.receive });
    // The parent's own words.
    const etcd = JSON.parse(await lines.next()) as { pid: number; endpoint: string };
    const socket = await connected(etcd.endpoint);
    const ended = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    parent.kill("SIGKILL");
    assert.equal((await parent.exited).signal, "SIGKILL");
    const diedMs = performance.now();
    assert.equal(await withClient(etcd, (client) => client.get("/a")), null);
    await ended;
    assert.ok(performance.now() - diedMs > 1_000, "not before the time of grace");
    await eventually(() => membersOf(etcd.pid).length === 0);
  });
});

describe("processes of our own", { timeout: 60_000 }, () => {
  test("every line of output is delivered before the exit is, the last one without a line break too", async () => {
    const lines: string[] = [];
    const child = await startProcess({
      program: process.execPath,
      args: [
        "-e",
        `for (let i = 0; i < 1000; i += 1) console.log(i); console.error("warned"); process.stdout.write("end"); process.exitCode = 3;`,
      ],
      onLine: (line, stream) => lines.push(`${stream} ${line}`),
    });
    assert.deepEqual(await child.exited, { code: 3, signal: null });
    assert.deepEqual(child.exit, { code: 3, signal: null });
    const stdout = lines.filter((line) => line.startsWith("stdout"));
    assert.deepEqual([stdout.length, stdout[999], stdout[1000]], [1001, "stdout 999", "stdout end"]);
    assert.ok(lines.includes("stderr warned"));
    assert.equal(child.kill("SIGTERM"), false);
  });

  test("messages go both ways", async () => {
    const lines = new Lines();
    const child = await startProcess({
      program: process.execPath,
      args: ["-e", `process.once("message", (m) => { process.send({ got: m }); process.disconnect(); })`],
      onMessage: (message) => lines.receive(JSON.stringify(message)),
    });
    assert.ok(child.send({ hello: 1 }));
    assert.equal(await lines.next(), `{"got":{"hello":1}}`);
    assert.deepEqual(await child.exited, { code: 0, signal: null });
    assert.equal(child.send({ late: 1 }), false);
  });

  test("stop asks first, and insists when it is not heard", async (context) => {
    const polite = await startReady(`process.on("SIGTERM", () => process.exit(7));`);
    assert.deepEqual(await polite.stop(20_000), { code: 7, signal: null });
    const deaf = await startReady(`process.on("SIGTERM", () => undefined);`);
    context.after(() => deaf.kill("SIGKILL"));
    assert.deepEqual(await deaf.stop(100), { code: null, signal: "SIGKILL" });
    assert.deepEqual(await deaf.stop(100), { code: null, signal: "SIGKILL" });
  });

  test("a program that cannot be started is named", async () => {
    await fails(startProcess({ program: "/nowhere/program", args: [] }), "process-failed", /\/nowhere\/program/);
  });

  test("a process of ours notices that its parent was killed", async () => {
    const told = new Lines();
    const server = createServer((socket) => socket.on("data", (bytes) => told.receive(String(bytes))));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    // A server that listens on TCP has an address of this kind.
    const { port } = server.address() as AddressInfo;
    const childSource = `
      import { connect } from "node:net";
      import { whenParentEnds } from "../../src/adapters/system/child-process.ts";
      const socket = connect(${port}, "127.0.0.1", () => process.send({ ready: true }));
      whenParentEnds(() => socket.end("parent ended"));
    `;
    const parentSource = `
      import { startProcess } from "../../src/adapters/system/child-process.ts";
      await startProcess({
        program: process.execPath,
        args: ${JSON.stringify(nodeArguments(childSource))},
        onMessage: () => console.log("ready"),
      });
    `;
    const lines = new Lines();
    const parent = await startNode(parentSource, { onLine: lines.receive });
    assert.equal(await lines.next(), "ready");
    parent.kill("SIGKILL");
    assert.equal(await told.next(), "parent ended");
    await parent.exited;
    await closed(server);
  });

  test("watching the parent keeps no process alive", async (context) => {
    const source = `
      import { whenParentEnds } from "../../src/adapters/system/child-process.ts";
      process.exitCode = whenParentEnds(() => process.exit(1)) ? 5 : 6;
    `;
    const child = await startNode(source, { onMessage: () => undefined });
    context.after(() => child.kill("SIGKILL"));
    assert.deepEqual(await child.exited, { code: 5, signal: null });
    const alone = await startNode(source, {});
    assert.deepEqual(await alone.exited, { code: 6, signal: null });
  });
});

describe("the system's clock and log", () => {
  test("a sleep rejects with the reason of the signal that ends it", async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    const sleep = systemClock.sleep(600_000, controller.signal);
    controller.abort(reason);
    await assert.rejects(sleep, (error) => error === reason);
    await assert.rejects(systemClock.sleep(0, controller.signal), (error) => error === reason);
  });

  test("a sleep too long for Node's timers does not end at once", async () => {
    const controller = new AbortController();
    const sleep = systemClock.sleep(2 ** 40, controller.signal).then(
      () => "slept",
      () => "aborted",
    );
    await systemClock.sleep(20);
    controller.abort();
    assert.equal(await sleep, "aborted");
  });

  test("one entry is one line, as text for people and as JSON for programs", () => {
    const written: string[] = [];
    const stream = { write: (text: string) => written.push(text) };
    const clock = { ...systemClock, wallMs: () => new Date(2026, 0, 31, 12, 3, 4).getTime() };
    const fields = { worker: "w-1", why: 'it said "no"', count: 2, none: null, left: undefined, level: "field" };
    createLog({ stream, format: "text", level: "info", clock }).with({ job: "digits" }).warn("first\nsecond", fields);
    createLog({ stream, format: "json", level: "info", clock }).with({ job: "digits" }).warn("first\nsecond", fields);
    const [text, json] = written;
    assert.equal(
      text,
      `12:03:04 warn  first | second  job=digits worker=w-1 why="it said \\"no\\"" count=2 none=null level=field\n`,
    );
    assert.ok(json!.endsWith("}\n") && json!.indexOf("\n") === json!.length - 1);
    const { time, ...rest } = JSON.parse(json!);
    assert.equal(new Date(time).getTime(), clock.wallMs());
    const expected = { level: "warn", message: "first\nsecond", job: "digits", worker: "w-1", count: 2, none: null };
    assert.deepEqual(rest, { ...expected, why: `it said "no"` });
  });

  test("entries below the level are not written", () => {
    const written: string[] = [];
    const log = createLog({ stream: { write: (text) => written.push(text) }, format: "text", level: "warn" });
    log.debug("a");
    log.info("b");
    log.warn("c");
    log.error("d");
    assert.equal(written.length, 2);
  });
});

async function withClient<Result>(
  { endpoint }: { readonly endpoint: string },
  use: (client: Coordination) => Promise<Result>,
): Promise<Result> {
  const options = { clock: systemClock, log: quietLog, requestTimeoutMs: 5_000, leaseMarginMs: 500 };
  const client = openEtcd({ ...options, endpoints: [endpoint] });
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

async function fails(call: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof LockstepError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message.replaceAll("\n", " "), message);
    return true;
  });
}

/** The arguments with which Node runs a TypeScript program given as text; imports are relative to this folder. */
function nodeArguments(source: string): string[] {
  return ["--import", "tsx", "--input-type=module", "--eval", source];
}

function startNode(source: string, options: Partial<Parameters<typeof startProcess>[0]>): Promise<RunningProcess> {
  const args = nodeArguments(source);
  return startProcess({ program: process.execPath, args, workingDirectory: import.meta.dirname, ...options });
}

/** A Node process that has run `source` and waits. */
async function startReady(source: string): Promise<RunningProcess> {
  const lines = new Lines();
  const args = ["-e", `${source} setInterval(() => undefined, 1000); console.log("ready");`];
  const child = await startProcess({ program: process.execPath, args, onLine: lines.receive });
  assert.equal(await lines.next(), "ready");
  return child;
}

/** Lines of a process, one after the other. */
class Lines {
  readonly #arrived: string[] = [];
  readonly #waiting: ((line: string) => void)[] = [];

  readonly receive = (line: string): void => {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(line);
    else this.#arrived.push(line);
  };

  next(): Promise<string> {
    const line = this.#arrived.shift();
    return line === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(line);
  }
}

/** Waits to be told of one unexpected exit. */
class Crash {
  tell = (_exit: EtcdExit): void => undefined;
  readonly told = new Promise<EtcdExit>((resolve) => {
    this.tell = resolve;
  });
}

/** What `ps` tells of the processes that run (ended ones that nobody has asked about do not). */
function runningProcesses(): { pid: number; group: number }[] {
  return execFileSync("ps", ["-A", "-o", "pid=,pgid=,stat="], { encoding: "utf8" })
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , state]) => !state?.startsWith("Z"))
    .map(([pid, group]) => ({ pid: Number(pid), group: Number(group) }));
}

function membersOf(group: number): number[] {
  return runningProcesses().flatMap((running) => (running.group === group ? [running.pid] : []));
}

function groupOf(pid: number): number | undefined {
  return runningProcesses().find((running) => running.pid === pid)?.group;
}

/** For what announces itself to nobody, as the end of a process that is not ours. */
async function eventually(check: () => boolean): Promise<void> {
  while (!check()) await systemClock.sleep(20);
}

function connected(endpoint: string): Promise<Socket> {
  const { hostname, port } = new URL(endpoint);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => resolve(socket));
    socket.once("error", reject);
  });
}

function listening(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
