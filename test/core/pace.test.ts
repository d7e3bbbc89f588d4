import assert from "node:assert/strict";
import { test } from "node:test";
import { type Pace, runProgress, stepsPerSecond, withStep } from "../../src/core/pace.ts";

/** Reports ten times a second, from `fromMs` to `toMs`, of the step that is reached then. */
function reported(pace: Pace, fromMs: number, toMs: number, stepAt: (ms: number) => number): Pace {
  let now = pace;
  for (let ms = fromMs; ms <= toMs; ms += 100) now = withStep(now, stepAt(ms), ms);
  return now;
}

const about = (actual: number | null, expected: number) =>
  assert.ok(actual !== null && Math.abs(actual / expected - 1) < 0.02, `${actual}, expected ${expected}`);

test("the pace is that of the last minute: what was before is forgotten", () => {
  const slow = reported([], 0, 120_000, (ms) => Math.floor(ms / 1000));
  about(stepsPerSecond(slow, 120_000), 1);
  const fast = reported(slow, 120_100, 200_000, (ms) => 120 + Math.floor((ms - 120_000) / 100));
  about(stepsPerSecond(fast, 200_000), 10);
  assert.ok(fast.length < 70);
});

test("it is not told of three seconds or less, nor where no step was taken; a pause slows it down", () => {
  assert.equal(stepsPerSecond([], 0), null);
  const early = reported([], 0, 2500, (ms) => Math.floor(ms / 100));
  assert.equal(stepsPerSecond(early, 2500), null);
  assert.equal(
    stepsPerSecond(
      reported([], 0, 9000, () => 5),
      9000,
    ),
    null,
  );
  const steady = reported([], 0, 10_000, (ms) => Math.floor(ms / 100));
  about(stepsPerSecond(steady, 10_000), 10);
  assert.ok(stepsPerSecond(steady, 30_000)! < 4);
});

test("a run that goes back begins anew, and a worker that lags behind changes nothing", () => {
  const steady = reported([], 0, 10_000, (ms) => Math.floor(ms / 100));
  assert.equal(withStep(steady, 98, 11_100), steady);
  assert.deepEqual(withStep(steady, 40, 11_100), [{ atMs: 11_100, step: 40 }]);
});

test("progress is a share of all steps; what remains is told while it trains, and is none when it is finished", () => {
  const training = { state: "training", step: 33, epoch: 1, epochs: 4, stepsPerEpoch: 24 } as const;
  const at = "2026-01-01T00:00:00.000Z";
  assert.deepEqual(runProgress(training, 2, at), { percent: 34.3, remainingSeconds: 31.5, updatedAt: at });
  assert.equal(runProgress(training, null, null).remainingSeconds, null);
  assert.equal(runProgress({ ...training, state: "paused" }, 2, at).remainingSeconds, null);
  const finished = { ...training, state: "finished", step: 96, epoch: 4 } as const;
  assert.deepEqual(runProgress(finished, 2, at), { percent: 100, remainingSeconds: 0, updatedAt: at });
  // No worker has said yet how many steps an epoch has.
  assert.equal(runProgress({ ...finished, stepsPerEpoch: 0 }, null, null).percent, 100);
});
