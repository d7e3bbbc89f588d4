import assert from "node:assert/strict";
import { test } from "node:test";
import type { OptimizerDefinition } from "../../src/core/job.ts";
import { points, pointsJob, train } from "../fixtures/trainers.ts";

test("promise 1: weights, slots and history are the same bits for every number of workers", async () => {
  for (const { shards, samples } of [
    { shards: 4, samples: 127 },
    { shards: 6, samples: 103 },
  ]) {
    const results = [];
    // 103 samples leave 82 for training: the last batch has 2 of them, fewer than there are shards.
    for (let workers = 1; workers <= shards; workers++) {
      results.push(await train(pointsJob(), points(samples), { shards, workers, epochs: 3 }));
    }
    const [alone] = results;
    assert.equal(alone!.progress.history.length, 3);
    for (const { digest, progress } of results) {
      assert.deepEqual(progress, alone!.progress);
      assert.equal(digest, alone!.digest);
    }
  }
});

test("promise 1: stopped at any step and gone on with other workers, the bits are those of the undisturbed run", async () => {
  const dataset = points(103);
  const whole = await train(pointsJob(), dataset, { shards: 4, workers: 1, epochs: 3 });
  for (const [stopAfterSteps, before, after] of [
    [1, 2, 3],
    [4, 3, 1],
    [6, 1, 4],
    [9, 4, 2],
  ] as const) {
    const stopped = await train(pointsJob(), dataset, { shards: 4, workers: before, epochs: 3, stopAfterSteps });
    assert.equal(stopped.progress.step, stopAfterSteps);
    assert.notEqual(stopped.progress.stepInEpoch, 0, "the stop is in the middle of an epoch");
    const resumed = await train(pointsJob(), dataset, { shards: 4, workers: after, epochs: 3, from: stopped.snapshot });
    assert.equal(resumed.digest, whole.digest);
  }
});

const optimizers: OptimizerDefinition[] = [
  { kind: "sgd", learningRate: 0.05 },
  { kind: "sgd", learningRate: 0.05, momentum: 0.9 },
  { kind: "sgd", learningRate: 0.05, momentum: 0.9, nesterov: true },
  { kind: "rmsprop", learningRate: 0.003 },
  { kind: "adagrad", learningRate: 0.05 },
  { kind: "adam", learningRate: 0.01 },
  { kind: "adam", learningRate: 0.01, weightDecay: 0.01 },
];

test("promise 1: every optimizer resumes to the bit, and learns", async () => {
  const dataset = points(100);
  for (const optimizer of optimizers) {
    const job = pointsJob({ compile: { optimizer, loss: "categoricalCrossentropy", metrics: ["accuracy"] } });
    const whole = await train(job, dataset, { shards: 2, workers: 1, epochs: 8 });
    const stopped = await train(job, dataset, { shards: 2, workers: 2, epochs: 8, stopAfterSteps: 7 });
    const resumed = await train(job, dataset, { shards: 2, workers: 1, epochs: 8, from: stopped.snapshot });
    assert.equal(resumed.digest, whole.digest, JSON.stringify(optimizer));
    const losses = whole.progress.history.map(({ metrics }) => metrics.loss!);
    assert.ok(losses.at(-1)! < losses[0]! * 0.9, `${JSON.stringify(optimizer)}: ${losses.join(" ")}`);
  }
});

test("one seed gives one result, another seed another, and no stray randomness gets in", async () => {
  const run = (seed: number) => train(pointsJob({ seed }), points(100), { shards: 2, workers: 1, epochs: 1 });
  const [one, again, other] = [await run(1), await run(1), await run(2)];
  assert.equal(again.digest, one.digest);
  assert.notEqual(other.digest, one.digest);
});
