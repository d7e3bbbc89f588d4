import assert from "node:assert/strict";
import { test } from "node:test";
import type { Generation } from "../../src/core/membership.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";
import { RecentDecisions } from "../../src/runtime/recent-decisions.ts";
import type { WorkerProgress } from "../../src/runtime/cluster-status.ts";

/** A report of a worker that is in this generation. */
function report(workerId: string, generation: number, leaseHeld = true): WorkerProgress {
  return { workerId, generation, leaseHeld, epoch: 0, step: 7, stepInEpoch: 7, samplesPerSecond: 1, metrics: {} };
}

/** What is read here of a generation: who is in it. */
function membership(generation: number, ...ids: string[]): Generation {
  return { kind: "forming", generation, members: ids.map((workerId) => ({ workerId })) } as unknown as Generation;
}

test("a worker that stands by is told to follow a generation, and one that is in it to train, each once", () => {
  const decisions = new RecentDecisions(new ManualClock());
  const told = () =>
    decisions.rows.items.map(({ process, message, fields }) => `${process} ${message} ${fields.generation}`);
  decisions.hear(report("a.1", 2), membership(2, "a.1"));
  decisions.hear(report("b.1", 2), membership(2, "a.1"));
  decisions.hear(report("b.1", 2), membership(2, "a.1"));
  assert.deepEqual(told(), ["a.1 trains 2", "b.1 follows 2"]);

  decisions.hear(report("b.1", 3), membership(2, "a.1"));
  assert.equal(told().length, 2, "nobody knows yet who is in it");
  decisions.hear(report("b.1", 3), membership(3, "a.1", "b.1"));
  decisions.hear(report("b.1", 3, false), membership(4, "a.1"));
  assert.deepEqual(told().slice(2), ["b.1 trains 3", "b.1 its lease is lost 3"]);
});
