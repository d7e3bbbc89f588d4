import assert from "node:assert/strict";
import { test } from "node:test";
import {
  combinations,
  isExact,
  judgeAll,
  type Outcome,
  summarize,
  verificationText,
} from "../../src/core/verification.ts";

const finished = (weights: string, history = "[1]"): Outcome => ({
  ...{ kind: "finished", history, generations: 1, steps: 1200 },
  weightsDigest: `sha256:${weights.repeat(64)}`,
});
const combination = { workers: 2, fault: "none", workersAfter: 3 } as const;
const judged = (...outcomes: Outcome[]) => judgeAll(outcomes.map((outcome) => ({ combination, outcome })));

test("every number of workers runs undisturbed, and with faults it is disturbed in both ways too", () => {
  assert.deepEqual(
    combinations([1, 2], false).map(({ workers, fault }) => [workers, fault]),
    [
      [1, "none"],
      [2, "none"],
    ],
  );
  assert.equal(combinations([1, 2], true).length, 6);
  assert.deepEqual(combinations([1, 2], true).at(-1), { workers: 2, fault: "kill-all", workersAfter: 1 });
});

test("equal weights and histories are exact; another bit of either is not, and neither is a run that failed", () => {
  const verdicts = judged(
    finished("a"),
    finished("a"),
    finished("b"),
    finished("a", "[2]"),
    { kind: "failed", reason: "x" },
    { kind: "skipped", reason: "y" },
  );
  assert.deepEqual(
    verdicts.map(({ verdict }) => verdict),
    ["reference", "same", "other weights", "other history", "failed", "skipped"],
  );
  assert.deepEqual(summarize(verdicts), {
    ...{ run: 5, failed: 3, skipped: 1 },
    digests: [`sha256:${"a".repeat(64)}`, `sha256:${"b".repeat(64)}`],
  });
});

test("the text says that it is exact, that it is not, or that nothing is proven", () => {
  assert.match(verificationText(judged(finished("a"), finished("a")), 4), /Exact: 2 runs with 4 shards, one digest/);
  assert.match(verificationText(judged(finished("a"), finished("b")), 4), /NOT exact: 1 of 2 runs/);
  assert.match(verificationText(judged(finished("a")), 4), /Only one run finished, so there is nothing to compare/);
  const nothing = judged({ kind: "skipped", reason: "too short" });
  assert.match(verificationText(nothing, 4), /skipped: too short[\s\S]*nothing is proven/);
  const partly = judged(finished("a"), finished("a"), { kind: "skipped", reason: "too short" });
  assert.match(verificationText(partly, 4), /Not proven: 1 of 3 runs were over before anything was killed/);
});

test("one run proves nothing, nor does one in which nothing was killed; two of the same bits do", () => {
  assert.equal(isExact(summarize(judged(finished("a")))), false);
  assert.equal(isExact(summarize(judged(finished("a"), finished("a")))), true);
  assert.equal(isExact(summarize(judged(finished("a"), finished("a"), { kind: "skipped", reason: "x" }))), false);
  assert.equal(isExact(summarize(judged(finished("a"), finished("a"), finished("a", "[2]")))), false);
});
