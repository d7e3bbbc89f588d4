/** What a worker does next, as far as too rare a seed would have to show it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Generation } from "../../src/core/membership.ts";
import { nextOf, type WorkerNow } from "../../src/runtime/next.ts";
import type { RunState } from "../../src/runtime/run-view.ts";

const member = (workerId: string) => ({ workerId, address: `${workerId}:1` });
const forming = (generation: number, ...ids: string[]): RunState["generation"] => ({
  value: { kind: "forming", generation, members: ids.map(member) } as unknown as Generation, // the rest is of no interest
  createRevision: 1,
  modRevision: 1,
});
const state = (generation: RunState["generation"], others: Partial<RunState> = {}): RunState => ({
  ...{ generation, leader: null, origin: null, latest: null, best: null, refusal: null, failed: null },
  ...{ stop: false, done: false, wishes: {} as RunState["wishes"] },
  ...others,
});
const newcomer: WorkerNow = {
  ...{ workerId: "w1", seen: 0, wasMember: false, isLeaving: false, hasState: false, hasTrained: false },
};

test("who is asked to leave goes at once, but not with a state that etcd has forgotten and nobody else may have", () => {
  const leaving = { ...newcomer, isLeaving: true };
  assert.equal(nextOf(state(forming(3, "w2")), { ...leaving, seen: 3, hasTrained: true })?.kind, "drained");
  // etcd was put back to a time before generation 3: what was trained in it may be held here alone.
  assert.equal(nextOf(state(forming(2, "w2")), { ...leaving, seen: 3, hasTrained: true }), null);
  assert.equal(nextOf(state(null), { ...leaving, seen: 3, hasTrained: true }), null);
  assert.equal(nextOf(state(forming(2, "w2")), { ...leaving, seen: 3, hasTrained: false })?.kind, "drained");
});

test("a generation below one that was read of stands for nothing, also for a stop", () => {
  assert.equal(nextOf(state(forming(2, "w1")), { ...newcomer, seen: 3 }), null);
  assert.equal(nextOf(state(forming(3, "w1")), { ...newcomer, seen: 3 })?.kind, "member");
  assert.equal(nextOf(state(forming(2, "w1"), { stop: true }), { ...newcomer, seen: 3 })?.kind, "stopped");
});
