import assert from "node:assert/strict";
import { test } from "node:test";
import { compareStates } from "../../src/core/state-order.ts";

test("states are ordered by lineage, then era, then step; of one step the closed epoch comes after the open one", () => {
  const ordered = [
    { lineage: 0, era: 0, step: 900, epoch: 9 },
    { lineage: 0, era: 1, step: 100, epoch: 0 },
    { lineage: 0, era: 1, step: 100, epoch: 1 },
    { lineage: 0, era: 1, step: 200, epoch: 1 },
    { lineage: 1, era: 0, step: 50, epoch: 0 },
  ];
  assert.deepEqual([...ordered].reverse().sort(compareStates), ordered);
  assert.equal(compareStates(ordered[0]!, { ...ordered[0]! }), 0);
});
