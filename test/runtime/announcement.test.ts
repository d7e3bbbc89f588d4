/** Rule 7: what a worker has announced is there again, though etcd was put back to a time before that. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { failureBudget } from "../../src/core/failure-budget.ts";
import { decodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import type { Member } from "../../src/core/membership.ts";
import { Announcement } from "../../src/runtime/announcement.ts";
import { quietLog } from "../fixtures/etcd.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";

test("rule 7: announced again, a key is as it was announced last: whether an older one was put back, or none", async (context) => {
  const clock = new ManualClock();
  const [keys, budget] = [keysOf("digits", 1), failureBudget()];
  const store = new MemoryCoordination({ clock, log: quietLog, leaseMarginMs: budget.leaseMarginMs });
  context.after(() => store.close());
  const none = store.image();
  let seen = 0;
  const member: Member = {
    ...{ workerId: "a.1", name: "a", address: "a:1", pid: 1, fingerprint: {}, start: 1, leaving: false, store: null },
    ...{ hasState: false, seen: 0, trainedIn: 0, stepsPerEpoch: 1, stepMs: 0, brings: [] },
  };
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
