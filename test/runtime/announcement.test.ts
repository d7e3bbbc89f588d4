/** Rule 7: what a worker has announced is there again, though etcd was put back to a time before that. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { failureBudget } from "../../src/core/failure-budget.ts";
import { decodeJson, encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import type { Member } from "../../src/core/membership.ts";
import type { JobRecord } from "../../src/core/records.ts";
import type { Coordination } from "../../src/ports/coordination.ts";
import { Announcement } from "../../src/runtime/announcement.ts";
import { quietLog } from "../fixtures/etcd.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";

const [keys, budget] = [keysOf("digits", 1), failureBudget()];
const member: Member = {
  ...{ workerId: "a.1", name: "a", address: "a:1", pid: 1, fingerprint: {}, start: 1, leaving: false, store: null },
  ...{ hasState: false, seen: 0, trainedIn: 0, stepsPerEpoch: 1, stepMs: 0, brings: [] },
};

test("rule 7: announced again, a key is as it was announced last: whether an older one was put back, or none", async (context) => {
  const clock = new ManualClock();
  const store = new MemoryCoordination({ clock, log: quietLog, leaseMarginMs: budget.leaseMarginMs });
  context.after(() => store.close());
  const none = store.image();
  let seen = 0;
  const parts = { coordination: store.connect(), keys, budget, clock, log: quietLog };
  const announcement = new Announcement(
    { ...parts, seen: () => seen, brings: async () => [], mayReturn: async () => true },
    member,
  );
  await announcement.begin();
  const early = store.image();
  await announcement.change({ hasState: true });
  for (const image of [early, { ...none, leases: early.leases }]) {
    store.restore(image);
    seen++;
    announcement.repeat({ trainedIn: 4 });
    await clock.advance(1);
    const { hasState, trainedIn, seen: told } = decodeJson<Member>(store.get(keys.member("a.1"))!.value);
    assert.deepEqual([hasState, trainedIn, told], [true, 4, seen]);
  }
  await announcement.withdraw();
});

test("a worker that was opened for one start does not ask to be let in once another is made, be it in between its look and its key", async (context) => {
  const clock = new ManualClock();
  const store = new MemoryCoordination({ clock, log: quietLog, leaseMarginMs: budget.leaseMarginMs });
  context.after(() => store.close());
  const operator = store.connect();
  const put = (start: number) =>
    operator.transact([], [{ kind: "put", key: keys.record, value: encodeJson({ start } as JobRecord) }]);
  /** Announces itself; another start is made just before the key is written. */
  const begin = async (start: number, meanwhile: number | null, trainedIn = 0) => {
    const client = store.connect();
    let isMade = meanwhile === null;
    const coordination = new Proxy(client, {
      get(target, name) {
        const own = Reflect.get(target, name) as unknown;
        if (name !== "transact") return typeof own === "function" ? own.bind(target) : own;
        return async (...words: Parameters<Coordination["transact"]>) => {
          if (!isMade) await put(meanwhile!);
          isMade = true;
          return target.transact(...words);
        };
      },
    });
    const parts = { coordination, keys, budget, clock, log: quietLog, seen: () => 0, brings: async () => [] };
    const announcement = new Announcement({ ...parts, mayReturn: async () => true }, { ...member, start, trainedIn });
    const isAnnounced = await announcement.begin();
    assert.equal(store.get(keys.member("a.1")) !== null, isAnnounced);
    if (isAnnounced) await announcement.withdraw();
    return isAnnounced;
  };
  assert.equal(await begin(1, null), true, "etcd that was put back knows of no run, and of no start");
  await put(2);
  assert.equal(await begin(2, null), true);
  assert.equal(await begin(3, null), true, "a rebuilt record may have a lower one");
  assert.equal(await begin(1, null), false);
  assert.equal(await begin(1, null, 4), true, "who has trained may be the only one who has the state");
  assert.equal(await begin(2, 2), true, "a coordinator that begins again writes the same");
  assert.equal(await begin(2, 3), false);
});
