import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openEtcd } from "../../src/adapters/etcd/etcd-coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { type EtcdMembers, startEtcdMembers } from "../../src/adapters/system/etcd-members.ts";
import type { Coordination } from "../../src/ports/coordination.ts";
import { etcdProgram, quietLog } from "../fixtures/etcd.ts";

const limit = { timeout: 120_000 };

async function start(
  folder: string,
  count: number | null,
  onExit: (index: number) => void = (index) => assert.fail(`member ${index} ended`),
): Promise<EtcdMembers> {
  const options = { program: await etcdProgram(), dataDirectory: join(folder, "etcd"), log: quietLog, guardGraceMs: 0 };
  return startEtcdMembers({ ...options, count, onExit });
}

async function withClient<T>({ endpoints }: EtcdMembers, use: (client: Coordination) => Promise<T>): Promise<T> {
  const options = { endpoints, clock: systemClock, log: quietLog, requestTimeoutMs: 10_000, leaseMarginMs: 300 };
  const client = openEtcd(options);
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

test(
  "of three members the one that leads may be killed: the others go on, and it comes back",
  limit,
  async (context) => {
    const folder = await mkdtemp(join(tmpdir(), "lockstep-members-"));
    context.after(() => rm(folder, { recursive: true, force: true }));
    let ended: (index: number) => void = () => {};
    const etcd = await start(folder, 3, (index) => ended(index));
    context.after(() => etcd.stop());
    const leader = await etcd.leader();
    assert.ok(leader !== null);
    await withClient(etcd, async (client) => {
      await client.transact([], [{ kind: "put", key: "/a", value: "1" }]);
      const exit = new Promise<number>((resolve) => {
        ended = resolve;
      });
      const { endpoint, pid } = etcd.members[leader]!;
      process.kill(pid, "SIGKILL");
      assert.equal(await exit, leader);
      for (;;) {
        const done = await client.transact([], [{ kind: "put", key: "/a", value: "2" }]).then(
          () => true,
          () => false, // between the death of the leader and the election of the next
        );
        if (done) break;
      }
      assert.notEqual(await etcd.leader(), leader);
      await etcd.members[leader]!.restart();
      assert.equal(etcd.members[leader]!.endpoint, endpoint);
      assert.notEqual(etcd.members[leader]!.pid, pid);
      assert.equal((await client.get("/a"))?.value, "2");
    });
  },
);

test("three members, started again on their data, find each other and what they held", limit, async (context) => {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-members-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const first = await start(folder, 3);
  await withClient(first, (client) => client.transact([], [{ kind: "put", key: "/kept", value: "yes" }]));
  await first.stop();
  await assert.rejects(start(folder, 1), { code: "usage", message: /has 3 members; 1 were asked for/ });
  const second = await start(folder, null);
  assert.equal(second.members.length, 3);
  assert.equal((await withClient(second, (client) => client.get("/kept")))?.value, "yes");
  await second.stop();
});

test("one member is as it always was, and does not become several", limit, async (context) => {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-members-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const one = await start(folder, null);
  assert.equal(one.members.length, 1);
  await one.stop();
  await assert.rejects(start(folder, 3), { code: "usage", message: /has 1 member; 3 were asked for/ });
});
