import assert from "node:assert/strict";
import { test } from "node:test";
import { keptCheckpoints, type Keepable, type KeepRule } from "../../src/core/retention.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";

const byDefault: KeepRule = { last: 2, best: 1, everyHours: null };
const hourMs = 3_600_000;

/** Epoch n with this value, written n hours after the beginning. */
function checkpoint(epoch: number, value: number | null, more: Partial<CheckpointPointer> = {}): Keepable {
  const digests = { stateDigest: "", weightsDigest: "", manifestSha256: "" };
  const of = { monitor: "val_loss", mode: "min", data: "d" } as const;
  const place = { lineage: 1, era: 1, step: 10 * epoch, epoch, stepInEpoch: 0, generation: 1 };
  const pointer = { id: `e${epoch}`, location: "", ...place, ...digests, monitor: "val_loss", value, of, ...more };
  return { pointer, writtenAtMs: epoch * hourMs };
}

/** The ids that are kept, oldest first, with the reasons. */
function kept(
  rule: Partial<KeepRule>,
  live: readonly Keepable[],
  names: { latest?: string; best?: string; pinned?: readonly string[] } = {},
): string[] {
  const pointerOf = (id: string | undefined) => live.find(({ pointer }) => pointer.id === id)?.pointer ?? null;
  const { latest = live.at(-1)?.pointer.id, best, pinned = [] } = names;
  const holds = { latest: pointerOf(latest), best: pointerOf(best), pinned: new Set(pinned) };
  const map = keptCheckpoints({ ...byDefault, ...rule }, live, holds);
  return live.flatMap(({ pointer: { id } }) => (map.has(id) ? [`${id}: ${map.get(id)}`] : []));
}

const six = [4, 2, 3, 1, 6, 5].map((value, i) => checkpoint(i + 1, value));

test("by default best, latest and the one before it stay", () => {
  assert.deepEqual(kept({}, six, { best: "e4" }), ["e4: best", "e5: of the newest 2", "e6: latest"]);
  assert.deepEqual(kept({}, six.slice(0, 5), { best: "e4" }), ["e4: best", "e5: latest"]);
  assert.deepEqual(kept({}, []), []);
});

test("what the pointers name and what is pinned stays whatever the rule says, wherever it lies", () => {
  const names = { latest: "e5", best: "e4", pinned: ["e2"] };
  assert.deepEqual(kept({ last: 1 }, six, names), ["e2: pinned", "e4: best", "e5: latest", "e6: of the newest 1"]);
});

test("the newest so many stay, in the order of states and not of files or ids", () => {
  const shuffled = [six[3]!, six[5]!, six[0]!, six[4]!, six[2]!, six[1]!];
  assert.deepEqual(kept({ last: 3 }, shuffled, { latest: "e6" }).sort(), [
    "e4: of the newest 3",
    "e5: of the newest 3",
    "e6: latest",
  ]);
  const later = checkpoint(2, 9, { id: "back", lineage: 2 });
  assert.deepEqual(kept({}, [...six, later], { latest: "back" }), ["e6: of the newest 2", "back: latest"]);
  const open = checkpoint(5, 9, { id: "open", step: 60 });
  assert.deepEqual(kept({ last: 1 }, [open, six[5]!], { latest: "e6" }), ["e6: latest"], "the closed epoch comes last");
});

test("the best so many stay, of equal ones the earlier, of none the worse or those without a value", () => {
  const values = [2, Number.NaN, 2, 1, null, 2].map((value, i) => checkpoint(i + 1, value));
  assert.deepEqual(kept({ last: 1, best: 2 }, values, { best: "e4" }), ["e1: of the best 2", "e4: best", "e6: latest"]);
  const upwards = six.map(({ pointer, writtenAtMs }) => {
    return { pointer: { ...pointer, of: { ...pointer.of, mode: "max" as const } }, writtenAtMs };
  });
  assert.deepEqual(kept({ last: 1, best: 3 }, upwards, { best: "e5" }), [
    "e1: of the best 3",
    "e5: best",
    "e6: latest",
  ]);
});

test("the best of something else are not among the best", () => {
  const other = checkpoint(1, 0, { of: { monitor: "loss", mode: "min", data: "d" } });
  assert.deepEqual(kept({ last: 1, best: 3 }, [other, ...six.slice(1, 4)], { best: "e4" }), [
    "e2: of the best 3",
    "e3: of the best 3",
    "e4: latest",
  ]);
});

test("one in so many hours stays, for ever the same one", () => {
  const rule = { last: 1, everyHours: 2 };
  assert.deepEqual(kept(rule, six), ["e1: one in 2 h", "e3: one in 2 h", "e5: one in 2 h", "e6: latest"]);
  const left = six.filter(({ pointer: { id } }) => kept(rule, six).some((line) => line.startsWith(id)));
  const next = [...left, checkpoint(7, 1), checkpoint(8, 1)];
  assert.deepEqual(kept(rule, next), [
    "e1: one in 2 h",
    "e3: one in 2 h",
    "e5: one in 2 h",
    "e7: one in 2 h",
    "e8: latest",
  ]);
});

test("a clock that goes back keeps too little of the hours, never of the rest", () => {
  const late = { ...six[5]!, writtenAtMs: 0 };
  assert.deepEqual(kept({ last: 1, everyHours: 2 }, [...six.slice(0, 5), late]).at(-1), "e6: latest");
});
