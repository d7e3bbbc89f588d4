/** The timeline in etcd: in the transactions of the decisions that it tells of, and bounded. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import type { Decision } from "../../src/core/decision.ts";
import { keysOf } from "../../src/core/keys.ts";
import type { Forming, Running } from "../../src/core/membership.ts";
import { timelineLength } from "../../src/core/timeline.ts";
import type { Log } from "../../src/ports/log.ts";
import type { RunReading } from "../../src/runtime/run-reading.ts";
import { readTimeline, Timeline } from "../../src/runtime/timeline.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, with: () => quiet };
const keys = keysOf("digits", 1);
const nobody = { generation: null, members: [] } as unknown as RunReading; // no more is looked at

const form = (generation: number) =>
  ({ kind: "form", evicted: [], forming: formingOf(generation) }) as unknown as Decision; // no more is looked at
const formingOf = (generation: number): Forming => ({
  ...{ kind: "forming", generation, coordinator: 1, ranIn: 1, reason: `reason ${generation}` },
  members: [{ workerId: "a.1", address: "" }],
});
const run = (generation: number) =>
  ({ kind: "run", reason: "", running: runningOf(generation) }) as unknown as Decision; // no more is looked at
const runningOf = (generation: number) =>
  ({
    ...{ kind: "running", generation, paused: false, reason: `reason ${generation}`, source: { kind: "seed" } },
    members: [{ workerId: "a.1", address: "", rank: 0, shards: { begin: 0, end: 2 } }],
  }) as unknown as Running; // no more is looked at

test("of the generations the newest 500 are kept, each with when it was formed and when it ran", async (context) => {
  const store = new MemoryCoordination({ clock: new ManualClock(), log: quiet, leaseMarginMs: 1 });
  context.after(() => store.close());
  const coordination = store.connect();
  const timeline = new Timeline(keys);
  for (let generation = 1; generation <= timelineLength + 3; generation += 1) {
    for (const [decision, nowMs] of [
      [form(generation), 10 * generation],
      [run(generation), 10 * generation + 5],
    ] as const) {
      await coordination.transact([], timeline.operationsOf(decision, nobody, nowMs));
    }
  }
  const entries = await readTimeline(coordination, keys);
  assert.equal((await coordination.list(keys.timeline)).entries.length, timelineLength);
  assert.deepEqual([entries[0]?.generation, entries.at(-1)?.generation], [4, timelineLength + 3]);
  assert.deepEqual(entries[0], {
    ...{ generation: 4, formedAtMs: 40, ranAtMs: 45, reason: "reason 4", source: "seed", step: 0, epoch: 0 },
    ...{ members: [{ workerId: "a.1", shards: { begin: 0, end: 2 } }], joined: ["a.1"], left: [], paused: false },
  });
});

test("the coordinator, which reads all that is under the run's prefix again and again, does not read the timeline", () => {
  assert.ok(!keys.timelineEntry(1).startsWith(keys.prefix));
});
