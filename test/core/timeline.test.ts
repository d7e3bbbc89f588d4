import assert from "node:assert/strict";
import { test } from "node:test";
import { goneAtStop } from "../../src/core/decision.ts";
import type { LogLine } from "../../src/core/log-reading.ts";
import type { Forming, Generation, Member, Running } from "../../src/core/membership.ts";
import { formedEntry, isOfStop, ranEntry, wentInOrder } from "../../src/core/timeline.ts";
import { timelineOfLog } from "../../src/core/timeline-log.ts";

const formingOf = (generation: number, ids: readonly string[], reason = "because"): Forming => ({
  ...{ kind: "forming", generation, coordinator: 1, ranIn: 1, reason },
  members: ids.map((workerId) => ({ workerId, address: workerId })),
});
const member = (workerId: string, leaving = false) => ({ workerId, leaving }) as Member; // no more is looked at

test("an entry says who came, and of everyone who went why", () => {
  const before: Generation = formingOf(1, ["a.1", "b.1", "c.1", "d.1"]);
  const entry = formedEntry(formingOf(2, ["a.1", "e.1"]), {
    before,
    evicted: [{ workerId: "b.1", reason: "cannot be reached by a.1", kind: "evicted" }],
    members: [member("a.1"), member("c.1", true), member("e.1")],
    nowMs: 5,
  });
  assert.deepEqual(entry.joined, ["e.1"]);
  assert.deepEqual(entry.left, [
    { workerId: "b.1", reason: "cannot be reached by a.1" },
    { workerId: "c.1", reason: "left in order" },
    { workerId: "d.1", reason: "is gone" },
  ]);
  assert.deepEqual([entry.formedAtMs, entry.ranAtMs, entry.source], [5, null, null]);
});

test("who goes while a run stops went in order, and the generation that the last ones form is none of the run's", () => {
  const stopping = (...left: readonly string[]) => {
    const reason = left.map((id) => `${id} ${goneAtStop}`).join(", ");
    const formed = { before: formingOf(1, ["a.1", "b.1", "c.1"]), members: [member("a.1")], nowMs: 5 };
    const evicted = left.map((workerId) => ({ workerId, reason: goneAtStop, kind: "evicted" as const }));
    return [reason, formedEntry(formingOf(2, ["a.1"], reason), { ...formed, evicted })] as const;
  };
  const [reason, entry] = stopping("b.1", "c.1");
  assert.ok(isOfStop(entry) && entry.left.every(wentInOrder));
  const line = (message: string, fields: Record<string, unknown>): LogLine => ({
    ...{ process: "coordinator", atMs: 1, message, ...fields },
  });
  const logged = timelineOfLog(
    [
      line("forming", { generation: 1, members: "a.1 b.1 c.1", reason: "the first membership" }),
      line("forming", { generation: 2, members: "a.1", reason }),
    ],
    4,
  );
  assert.deepEqual(logged.map(isOfStop), [false, true]);
  const [, mixed] = stopping("b.1");
  assert.equal(isOfStop(mixed), false, "c.1 was lost as well, and nobody says that it went in order");
});

test("once it runs an entry has shards, and the state that it went on from", () => {
  const forming = formingOf(2, ["a.1", "b.1"]);
  const formed = formedEntry(forming, { before: null, evicted: [], members: [], nowMs: 5 });
  const running = {
    ...{ kind: "running", generation: 2, paused: false, reason: forming.reason, start: 1 },
    source: { kind: "member", workerId: "a.1", state: { lineage: 1, era: 1, step: 120, epoch: 3, digest: "" } },
    members: [
      { workerId: "a.1", address: "", rank: 0, shards: { begin: 0, end: 3 } },
      { workerId: "b.1", address: "", rank: 1, shards: { begin: 3, end: 4 } },
    ],
  } as unknown as Running; // its origin is not looked at
  const entry = ranEntry(formed, running, 9);
  assert.deepEqual([entry.formedAtMs, entry.ranAtMs, entry.joined], [5, 9, ["a.1", "b.1"]]);
  assert.deepEqual([entry.source, entry.step, entry.epoch], ["a.1", 120, 3]);
  assert.deepEqual(entry.members[1], { workerId: "b.1", shards: { begin: 3, end: 4 } });
});

test("the log of a coordinator tells the same as etcd did", () => {
  const line = (atMs: number, message: string, fields: Record<string, unknown>): LogLine => ({
    ...{ process: "coordinator", atMs, message, ...fields },
  });
  const entries = timelineOfLog(
    [
      line(1, "forming", { generation: 1, members: "a.1 b.1 c.1", reason: "the first membership" }),
      line(2, "running", { generation: 1, world: 3, source: "seed", step: 0, epoch: 0 }),
      line(3, "forming", { generation: 2, members: "a.1", reason: "b.1 is gone, c.1 cannot be reached by a.1, b.1" }),
      line(4, "running", { generation: 2, world: 1, source: "a.1", step: 7, epoch: 1 }),
    ],
    4,
  );
  assert.deepEqual(entries[0]?.members[2], { workerId: "c.1", shards: { begin: 3, end: 4 } });
  const [, second] = entries;
  assert.deepEqual([second?.formedAtMs, second?.ranAtMs, second?.source, second?.step], [3, 4, "a.1", 7]);
  assert.deepEqual(second?.left, [
    { workerId: "b.1", reason: "is gone" },
    { workerId: "c.1", reason: "cannot be reached by a.1, b.1" },
  ]);
});
