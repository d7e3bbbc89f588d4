import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeJson, encodeJson } from "../../src/core/json.ts";
import {
  afterEpoch,
  afterStep,
  type EpochRules,
  initialProgress,
  means,
  type Progress,
  rateOf,
} from "../../src/core/progress.ts";

const rules: EpochRules = {
  policy: { monitor: "val_loss", mode: "min" },
  data: "d",
  learningRate: 0.1,
  stepsPerEpoch: 2,
  epochs: 5,
};

const sampling = {
  seed: 1,
  samples: 8,
  validation: { fraction: 0.25, take: "last" },
  batchSize: 4,
  shards: 2,
  data: "d",
} as const;

/** One epoch of two steps whose validation loss is the one given. */
function epochWith(progress: Progress, validationLoss: number): Progress {
  const first = afterStep(progress, { samples: 4, totals: { loss: 2, accuracy: 3 } }, sampling);
  const second = afterStep(first, { samples: 2, totals: { loss: 1, accuracy: 0 } }, sampling);
  return afterEpoch(second, { samples: 2, totals: { loss: 2 * validationLoss } }, rules);
}

test("a run begins with nothing done and nothing best, at the place it was given", () => {
  const begun = initialProgress(2, 5);
  assert.deepEqual(begun, {
    lineage: 2,
    era: 5,
    step: 0,
    epoch: 0,
    stepInEpoch: 0,
    samples: 0,
    totals: {},
    history: [],
    best: null,
    samplings: [],
    plateau: null,
    openings: [],
  });
});

test("an epoch's metrics are means over its samples, not over its steps", () => {
  const { history } = epochWith(initialProgress(1, 1), 0.25);
  assert.deepEqual(history, [
    { epoch: 1, step: 2, metrics: { loss: 0.5, accuracy: 0.5, val_loss: 0.25 }, improved: true },
  ]);
});

test("steps count on through epochs; the sums of an epoch end with it", () => {
  const mid = afterStep(initialProgress(1, 1), { samples: 4, totals: { loss: 2 } }, sampling);
  assert.deepEqual([mid.step, mid.stepInEpoch, mid.epoch, mid.samples], [1, 1, 0, 4]);
  const ended = epochWith(initialProgress(1, 1), 1);
  assert.deepEqual([ended.step, ended.stepInEpoch, ended.epoch, ended.samples], [2, 0, 1, 0]);
  assert.deepEqual(ended.totals, {});
  const next = afterStep(ended, { samples: 1, totals: { loss: 8 } }, sampling);
  assert.deepEqual([next.step, next.stepInEpoch, next.totals.loss], [3, 1, 8]);
});

test("the best epoch is remembered through worse ones, NaN and equals, and moves to a better one", () => {
  let progress = initialProgress(1, 1);
  const improved: boolean[] = [];
  for (const loss of [3, Number.NaN, 4, 3, 2]) {
    progress = epochWith(progress, loss);
    improved.push(progress.history.at(-1)!.improved);
  }
  assert.deepEqual(improved, [true, false, false, false, true]);
  assert.deepEqual(progress.best, {
    epoch: 5,
    step: 10,
    value: 2,
    of: { monitor: "val_loss", mode: "min", data: "d" },
  });
  assert.deepEqual(
    progress.history.map(({ epoch }) => epoch),
    [1, 2, 3, 4, 5],
  );
});

test("without a validation split there are no val_ metrics, and the policy judges what there is", () => {
  const stepped = afterStep(initialProgress(1, 1), { samples: 2, totals: { loss: 1 } }, sampling);
  const ended = afterEpoch(stepped, null, { ...rules, policy: { monitor: "loss", mode: "min" } });
  assert.deepEqual(ended.history, [{ epoch: 1, step: 1, metrics: { loss: 0.5 }, improved: true }]);
});

test("the first step's sum is taken as it is: no zero is added to it, which would turn −0 into 0", () => {
  const { totals } = afterStep(initialProgress(1, 1), { samples: 1, totals: { loss: -0 } }, sampling);
  assert.ok(Object.is(totals.loss, -0));
});

test("progress that was written down in the middle of an epoch goes on to the same end, to the bit", () => {
  const mid = afterStep(
    epochWith(initialProgress(1, 1), 0.1),
    { samples: 3, totals: { loss: 0.1, accuracy: 0.7 } },
    sampling,
  );
  const resumed = decodeJson<Progress>(encodeJson(mid));
  const goOn = (from: Progress) =>
    epochWith(afterStep(from, { samples: 3, totals: { loss: 0.2, accuracy: 0.1 } }, sampling), Number.NaN);
  assert.equal(encodeJson(goOn(resumed)), encodeJson(goOn(mid)));
});

test("progress is never changed in place: what was kept of an earlier step stays what it was", () => {
  const mid = afterStep(initialProgress(1, 1), { samples: 1, totals: { loss: 1 } }, sampling);
  const kept = encodeJson(mid);
  epochWith(mid, 1);
  assert.equal(encodeJson(mid), kept);
});

test("a mean of sums is each total over the samples", () => {
  assert.deepEqual(means({ samples: 4, totals: { loss: 1, accuracy: 3 } }), { loss: 0.25, accuracy: 0.75 });
});

test("a rate that changes is in the history, and one that follows a metric is cut by what the epochs have measured", () => {
  const learningRate = { kind: "plateau", initial: 0.1, factor: 0.5, patience: 2 } as const;
  const following: EpochRules = { ...rules, learningRate };
  let progress = initialProgress(1, 1);
  for (const loss of [3, 3, Number.NaN, 3, 2]) {
    const stepped = afterStep(progress, { samples: 1, totals: { loss: 1 } }, sampling);
    progress = afterEpoch(stepped, { samples: 1, totals: { loss } }, following);
  }
  assert.deepEqual(
    progress.history.map(({ metrics }) => metrics.learningRate),
    [0.1, 0.1, 0.1, 0.05, 0.05],
  );
  assert.equal(rateOf(decodeJson<Progress>(encodeJson(progress)), following, progress.step), 0.05);
});
