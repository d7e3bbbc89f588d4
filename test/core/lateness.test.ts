import assert from "node:assert/strict";
import { test } from "node:test";
import { isStuck, lateRanks, RunningMedian, type Waiting } from "../../src/core/lateness.ts";

const waiting = (changes: Partial<Waiting>): Waiting => ({
  sinceMs: 0,
  usualMs: 100,
  missing: [],
  owing: [],
  ...changes,
});
const budgetMs = 5000;

test("one worker is late when all others have delivered, and the budget is over", () => {
  assert.deepEqual(lateRanks(waiting({ missing: [2] }), 5000, budgetMs), []);
  assert.deepEqual(lateRanks(waiting({ missing: [2] }), 5001, budgetMs), [2]);
});

test("an honest slow step evicts nobody: it may take ten times as long as usual", () => {
  const slow = waiting({ usualMs: 2000, missing: [1] });
  assert.deepEqual(lateRanks(slow, 19_999, budgetMs), []);
  assert.deepEqual(lateRanks(slow, 20_001, budgetMs), [1]);
});

test("the first round of a generation, which may record or load things, has ten budgets", () => {
  const first = waiting({ usualMs: null, missing: [1] });
  assert.deepEqual(lateRanks(first, 49_999, budgetMs), []);
  assert.deepEqual(lateRanks(first, 50_001, budgetMs), [1]);
});

test("several are late only after twice the time, and owners of totals after three times", () => {
  assert.deepEqual(lateRanks(waiting({ missing: [1, 2] }), 9_999, budgetMs), []);
  assert.deepEqual(lateRanks(waiting({ missing: [1, 2] }), 10_001, budgetMs), [1, 2]);
  assert.deepEqual(lateRanks(waiting({ owing: [3] }), 14_999, budgetMs), []);
  assert.deepEqual(lateRanks(waiting({ owing: [3] }), 15_001, budgetMs), [3]);
});

test("a worker alone is stuck after twice that time, but not in what it does for the first time", () => {
  const stuck = (usualMs: (number | null)[], nowMs: number) => isStuck({ usualMs }, nowMs, budgetMs);
  assert.deepEqual([stuck([100], 10_000), stuck([100], 10_001)], [false, true]);
  assert.deepEqual([stuck([100, 2000], 40_000), stuck([100, 2000], 40_001)], [false, true]);
  assert.equal(stuck([100, null], 1_000_000), false);
});

test("the median is that of the last values only", () => {
  const median = new RunningMedian(3);
  assert.equal(median.value, null);
  for (const value of [1000, 1, 3, 2]) median.add(value);
  assert.equal(median.value, 2);
});
