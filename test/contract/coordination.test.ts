import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, test } from "node:test";
import { Etcd3 } from "etcd3";
import { openEtcd } from "../../src/adapters/etcd/etcd-coordination.ts";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { startProcess } from "../../src/adapters/system/child-process.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { Log } from "../../src/ports/log.ts";
import {
  type FaultyProxy,
  quietLog,
  startProxy,
  startTestEtcd,
  testLeaseMarginMs,
  useEtcd,
  withEtcd,
} from "../fixtures/etcd.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";
import { aborted, coordinationContract, Hints, put, rejectsWith, retry, until } from "./coordination.contract.ts";

/** For clients behind a link that fails: how long a call may wait. */
const impatientMs = 600;
const neverPollMs = 600_000;

// On simulated time, which runs whenever nothing else can: no slowness of the machine can end a lease.
coordinationContract("in memory", {
  ttlMs: 2_000,
  marginMs: 300,
  setUp: async () => {
    const clock = new ManualClock();
    const stop = clock.run();
    const store = new MemoryCoordination({ clock, log: quietLog, leaseMarginMs: 300 });
    return {
      connect: () => store.connect(),
      connectFaulty: async () => {
        const { log, interruptions } = watchLog();
        const client = store.connect(log);
        return { client, setLink: (link) => client.setLink(link), interruptions };
      },
      revokeUnseen: async (leaseId) => store.revoke(leaseId),
      keepWhole: async (leaseId) => void keepAlive(() => Promise.resolve(store.renew(leaseId)), clock, 500),
      compact: async () => store.compact(),
      backUp: async () => {
        const image = store.image();
        return async () => store.restore(image);
      },
      close: async () => {
        store.close();
        stop();
      },
    };
  },
});

coordinationContract("etcd", {
  // In real time: long enough that a busy machine, which may stand still for a second, does not lose a lease.
  ttlMs: 4_000,
  marginMs: testLeaseMarginMs,
  setUp: async () => {
    const etcd = await startTestEtcd();
    const proxies: FaultyProxy[] = [];
    return {
      connect: () => etcd.connect(),
      connectFaulty: async () => {
        const proxy = await startProxy(etcd.endpoint);
        proxies.push(proxy);
        const { log, interruptions } = watchLog();
        const client = etcd.connect({ endpoints: [proxy.endpoint], requestTimeoutMs: impatientMs, log });
        return { client, setLink: (link) => proxy.setLink(link), interruptions };
      },
      revokeUnseen: (leaseId) => revoke(etcd.endpoint, leaseId),
      keepWhole: async (leaseId) => {
        const client = new Etcd3({ hosts: etcd.endpoint });
        await client.leaseClient.leaseTimeToLive({ ID: leaseId });
        void keepAlive(() => renew(client, leaseId), systemClock, 500).finally(() => client.close());
      },
      compact: () => compact(etcd.endpoint),
      backUp: () => etcd.backUp(),
      close: async () => {
        await etcd.stop();
        await Promise.all(proxies.map((proxy) => proxy.close()));
      },
    };
  },
});

describe("coordination in memory", () => {
  test("time is the clock's alone: a lease ends when the clock says so, and not before", async () => {
    const clock = new ManualClock();
    const store = new MemoryCoordination({ clock, log: quietLog, leaseMarginMs: 1_000 });
    const [holder, observer] = [store.connect(), store.connect()];
    const lease = await holder.grantLease(10_000);
    await holder.transact([], [put("/member", "1", lease)]);
    await clock.advance(60_001);
    assert.ok(lease.isHeld(), "kept alive while the clock runs");
    holder.setLink("cut");
    await clock.advance(5_000);
    assert.ok(lease.isHeld());
    await clock.advance(4_500);
    assert.equal(lease.isHeld(), false);
    assert.notEqual(await observer.get("/member"), null);
    await clock.advance(1_000);
    assert.equal(await observer.get("/member"), null);
    store.close();
  });
});

describe("coordination on etcd", { timeout: 120_000 }, () => {
  const etcd = useEtcd();

  test("etcd killed and started again on its data: calls fail soon, then the same client goes on and hints", async () => {
    const client = etcd().connect();
    await client.transact([], [put("/crash/a", "1")]);
    const before = await client.get("/crash/a");
    const hints = new Hints();
    const watch = client.watch("/crash/", neverPollMs, hints.count);
    await hints.next();
    const exit = await etcd().kill();
    assert.equal(exit.signal, "SIGKILL");
    const startMs = performance.now();
    const error = await rejectsWith("coordination-unavailable", client.get("/crash/a"));
    await rejectsWith("coordination-unavailable", client.transact([], [put("/crash/a", "2")]));
    assert.ok(performance.now() - startMs < 5_000, "within the time for one request");
    assert.match(error.message, new RegExp(`${etcd().endpoint}.*get "/crash/a"`));
    assert.ok(error.hint);
    const hinted = hints.next();
    await etcd().server.restart();
    await hinted;
    assert.deepEqual(await retry(() => client.get("/crash/a")), before);
    const changed = hints.next();
    assert.ok((await client.transact([], [put("/crash/a", "3")])).succeeded);
    await changed;
    watch.close();
  });

  test("a lease outlives a crash of etcd that is shorter than its TTL", async () => {
    const client = etcd().connect();
    const lease = await client.grantLease(10_000);
    await client.transact([], [put("/crash/member", "1", lease)]);
    await etcd().kill();
    await etcd().server.restart();
    const entry = await retry(() => client.get("/crash/member"));
    assert.equal(entry?.leaseId, lease.id);
    assert.ok(lease.isHeld());
    await lease.revoke();
    assert.equal(await client.get("/crash/member"), null);
  });

  test("an etcd that is stopped and silent makes calls fail at their deadline", async () => {
    const client = etcd().connect({ requestTimeoutMs: impatientMs });
    await client.get("/silent");
    process.kill(etcd().server.pid, "SIGSTOP");
    await untilStopped(etcd().server.pid);
    try {
      for (let call = 0; call < 2; call += 1) {
        const startMs = performance.now();
        await rejectsWith("coordination-unavailable", client.get("/silent"));
        const tookMs = performance.now() - startMs;
        assert.ok(tookMs > impatientMs * 0.9 && tookMs < impatientMs + 2_000, `${tookMs} ms`);
      }
    } finally {
      process.kill(etcd().server.pid, "SIGCONT");
    }
    assert.equal(await retry(() => client.get("/silent")), null);
  });

  test("a connection cut in the middle of a transaction leaves its outcome open, never reads as a failed condition", async () => {
    const proxy = await startProxy(etcd().endpoint);
    const client = etcd().connect({ endpoints: [proxy.endpoint] });
    const observer = etcd().connect();
    await client.get("/cut/a");
    proxy.setLink("loses-replies");
    const create = client.transact([{ kind: "absent", key: "/cut/a" }], [put("/cut/a", "nonce")]);
    const failed = rejectsWith("coordination-unavailable", create);
    await until(observer, "/cut/", async () => (await observer.get("/cut/a")) !== null);
    proxy.setLink("whole");
    const error = await failed;
    assert.match(error.message, /unknown/);
    assert.equal((await retry(() => client.get("/cut/a")))?.value, "nonce");
    await proxy.close();
  });

  test("other endpoints are tried when one is down or silent, for transactions too", async () => {
    const silent = await startProxy(etcd().endpoint);
    silent.setLink("cut");
    const nobody = await startProxy(etcd().endpoint);
    await nobody.close();
    const endpoints = [nobody.endpoint, silent.endpoint, etcd().endpoint];
    const client = etcd().connect({ endpoints, requestTimeoutMs: 2_000 });
    assert.ok((await client.transact([], [put("/endpoints/a", "1")])).succeeded);
    await silent.close();
  });

  test("another etcd in the place of the one that answered is noticed, however far it is", async () => {
    await withEtcd(async (other) => {
      const [client, elsewhere] = [other.connect({ endpoints: [other.endpoint, etcd().endpoint] }), etcd().connect()];
      await client.get("/other");
      const { revision } = await client.list("/other");
      for (let written = 0; written <= revision; written++) await elsewhere.transact([], [put("/other", "1")]);
      await other.kill();
      assert.equal((await retry(() => client.get("/other")))?.value, "1");
      assert.deepEqual([client.rollbacks, elsewhere.rollbacks], [1, 0]);
    });
  });

  test("when no endpoint answers, the error names each of them", async () => {
    const nobody = await startProxy(etcd().endpoint);
    const alsoNobody = await startProxy(etcd().endpoint);
    await Promise.all([nobody.close(), alsoNobody.close()]);
    const client = etcd().connect({ endpoints: [nobody.endpoint, alsoNobody.endpoint] });
    const error = await rejectsWith("coordination-unavailable", client.transact([], [put("/a", "1")]));
    assert.ok(error.message.includes(nobody.endpoint) && error.message.includes(alsoNobody.endpoint), error.message);
    assert.doesNotMatch(error.message, /unknown/, "a request that was not sent has changed nothing");
  });

  test("what is no endpoint is refused by name", () => {
    for (const endpoint of ["localhost:2379", "ftp://a:1", "", "http://"]) {
      const options = {
        endpoints: [endpoint],
        clock: systemClock,
        log: quietLog,
        requestTimeoutMs: 1,
        leaseMarginMs: 1,
      };
      assert.throws(() => openEtcd(options), { code: "usage" }, endpoint);
    }
  });

  test("a lease that etcd ended unseen is lost with the first put that it refuses", async () => {
    const client = etcd().connect();
    const lease = await client.grantLease(60_000);
    await revoke(etcd().endpoint, lease.id);
    await rejectsWith("fenced-off", client.transact([], [put("/gone/a", "1", lease)]));
    assert.equal(lease.isHeld(), false);
    await aborted(lease.lost);
  });

  test("a holder that was stopped for longer than its TTL does not hold for a moment after it wakes", async (context) => {
    const observer = etcd().connect();
    const messages = new Messages();
    const holder = await startNode(holderProgram(etcd().endpoint), messages.receive);
    context.after(() => holder.kill("SIGKILL"));
    assert.deepEqual(await messages.next(), { held: true });
    holder.send({ go: true });
    assert.deepEqual(await messages.next(), { watching: true });
    holder.kill("SIGSTOP");
    await until(observer, "/stopped/", async () => (await observer.get("/stopped/member")) === null);
    holder.kill("SIGCONT");
    assert.deepEqual(await messages.next(), { heldBefore: true, heldAfter: false, lost: true });
    assert.deepEqual(await holder.exited, { code: 0, signal: null });
  });

  test("a process that closes its client ends by itself", async (context) => {
    const lines: string[] = [];
    const program = await startNode(closingProgram(etcd().endpoint), undefined, (line) => lines.push(line));
    context.after(() => program.kill("SIGKILL"));
    assert.deepEqual(await program.exited, { code: 0, signal: null }, lines.join("\n"));
    assert.deepEqual(lines, ["closed"]);
  });
});

/** The signal takes effect some time after it was sent, and later on a busy machine. */
async function untilStopped(pid: number): Promise<void> {
  const state = (): string => execFileSync("ps", ["-o", "stat=", "-p", String(pid)], { encoding: "utf8" });
  while (!state().startsWith("T")) await systemClock.sleep(5);
}

/** Renews until there is nothing left to renew. */
async function keepAlive(renewOnce: () => Promise<number>, clock: Clock, everyMs: number): Promise<void> {
  while ((await renewOnce()) > 0) await clock.sleep(everyMs);
}

async function renew(client: Etcd3, leaseId: string): Promise<number> {
  const stream = await client.leaseClient.leaseKeepAlive();
  return new Promise((resolve, reject) => {
    stream.on("error", reject);
    stream.on("data", ({ TTL }) => {
      resolve(Number(TTL));
      stream.end();
    });
    stream.write({ ID: leaseId });
  });
}

async function revoke(endpoint: string, leaseId: string): Promise<void> {
  const client = new Etcd3({ hosts: endpoint });
  await client.leaseClient.leaseRevoke({ ID: leaseId });
  client.close();
}

async function compact(endpoint: string): Promise<void> {
  const client = new Etcd3({ hosts: endpoint });
  const { header } = await client.kv.range({ key: Buffer.from("/") });
  await client.kv.compact({ revision: header.revision, physical: true });
  client.close();
}

/** A log that keeps why watches were interrupted. */
function watchLog(): { log: Log; interruptions: () => readonly string[] } {
  const reasons: string[] = [];
  const debug: Log["debug"] = (message, fields) => {
    if (message === "watch interrupted") reasons.push(String(fields?.reason));
  };
  return { log: { ...quietLog, debug }, interruptions: () => reasons };
}

/** Starts a TypeScript program given as text; imports are relative to this file. */
function startNode(source: string, onMessage?: (message: unknown) => void, onLine?: (line: string) => void) {
  return startProcess({
    program: process.execPath,
    args: ["--import", "tsx", "--input-type=module", "--eval", source],
    workingDirectory: import.meta.dirname,
    ...(onMessage && { onMessage }),
    onLine: onLine ?? ((line) => process.stderr.write(`${line}\n`)),
  });
}

const imports = `
  import { openEtcd } from "../../src/adapters/etcd/etcd-coordination.ts";
  import { whenParentEnds } from "../../src/adapters/system/child-process.ts";
  import { systemClock as clock } from "../../src/adapters/system/clock.ts";
  import { createLog } from "../../src/adapters/system/log.ts";
  const log = createLog({ stream: process.stderr, format: "text", level: "error" });
  whenParentEnds(() => process.exit(1));
  const open = (endpoint) =>
    openEtcd({ endpoints: [endpoint], clock, log, requestTimeoutMs: 5000, leaseMarginMs: ${testLeaseMarginMs} });
`;

/**
 * Holds a key under a lease, then looks at the clock without a pause: it sees a gap, and asks about the lease before
 * any timer or socket of its own can have run.
 */
function holderProgram(endpoint: string): string {
  return `${imports}
    const client = open(${JSON.stringify(endpoint)});
    const lease = await client.grantLease(2000);
    await client.transact([], [{ kind: "put", key: "/stopped/member", value: "1", lease }]);
    process.send({ held: lease.isHeld() });
    process.once("message", () => {
      const heldBefore = lease.isHeld();
      const startMs = clock.monotonicMs();
      // From here on the parent may stop this process at any moment.
      process.send({ watching: true }, () => {
        let lastMs = startMs;
        for (let nowMs = startMs; nowMs - lastMs < 1000; nowMs = clock.monotonicMs()) {
          lastMs = nowMs;
          if (nowMs - startMs > 60000) process.exit(1);
        }
        process.send({ heldBefore, heldAfter: lease.isHeld(), lost: lease.lost.aborted }, () => client.close());
      });
    });
  `;
}

/** Leaves nothing out that could keep a process alive: a watch, a lease, a call under way, an endpoint that is down. */
function closingProgram(endpoint: string): string {
  return `${imports}
    const client = open(${JSON.stringify(endpoint)});
    const lease = await client.grantLease(600000);
    client.watch("/closing/", 600000, () => undefined);
    const down = open("http://127.0.0.1:1");
    down.watch("/closing/", 600000, () => undefined);
    const calls = [client.get("/closing/a"), down.get("/closing/a")];
    const closing = [client.close(), down.close()];
    await Promise.allSettled([...calls, ...closing]);
    console.log("closed");
  `;
}

/** Messages from a process, in order. */
class Messages {
  readonly #arrived: unknown[] = [];
  readonly #waiting: ((message: unknown) => void)[] = [];

  readonly receive = (message: unknown): void => {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(message);
    else this.#arrived.push(message);
  };

  next(): Promise<unknown> {
    if (this.#arrived.length > 0) return Promise.resolve(this.#arrived.shift());
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
