import assert from "node:assert/strict";
import { test } from "node:test";
import type { Job, JobDefinition } from "../../src/core/job.ts";
import { ledgerOf } from "../../src/core/ledger.ts";
import { splitSamples } from "../../src/core/sampler.ts";
import type { Dataset } from "../../src/ports/dataset.ts";
import { characters, points, pointsJob, train } from "../fixtures/trainers.ts";

interface Example {
  readonly name: string;
  readonly job: Job;
  readonly dataset: (samples: number) => Dataset;
}

const classes = (job: Partial<JobDefinition>) =>
  pointsJob({ preprocess: { label: { kind: "one-hot", classes: 12 } }, epochs: 2, ...job });

/** What people train, small: with every kind of layer whose numbers could depend on how a batch is cut. */
const examples: readonly Example[] = [
  { name: "dense, batch normalization and dropout", job: pointsJob(), dataset: points },
  {
    name: "convolution",
    dataset: (samples) => points(samples, 64),
    job: pointsJob({
      preprocess: { features: { kind: "reshape", shape: [8, 8, 1] }, label: { kind: "one-hot", classes: 3 } },
      model: (tf, { features }) =>
        tf.sequential({
          layers: [
            tf.layers.conv2d({ filters: 4, kernelSize: 3, activation: "relu", inputShape: [...features] }),
            tf.layers.maxPooling2d({ poolSize: 2 }),
            tf.layers.flatten(),
            tf.layers.dense({ units: 3, activation: "softmax" }),
          ],
        }),
    }),
  },
  {
    name: "embedding and LSTM with dropout",
    dataset: characters,
    job: classes({
      model: (tf, { features }) =>
        tf.sequential({
          layers: [
            tf.layers.embedding({ inputDim: 12, outputDim: 4, inputLength: features[0]! }),
            tf.layers.lstm({ units: 6, dropout: 0.1, recurrentDropout: 0.1 }),
            tf.layers.dense({ units: 12, activation: "softmax" }),
          ],
        }),
    }),
  },
  {
    name: "characters, one-hot",
    dataset: characters,
    job: classes({
      preprocess: {
        features: [{ kind: "vocabulary" }, { kind: "one-hot" }],
        label: { kind: "one-hot", classes: 12 },
      },
      model: (tf, { features }) =>
        tf.sequential({
          layers: [
            tf.layers.flatten({ inputShape: [...features] }),
            tf.layers.dense({ units: 16, activation: "relu" }),
            tf.layers.dense({ units: 12, activation: "softmax" }),
          ],
        }),
    }),
  },
];

for (const { name, job, dataset } of examples) {
  test(`promise 1: weights, slots and history are the same bits for every number of workers: ${name}`, async () => {
    for (const { shards, samples } of [
      { shards: 4, samples: 127 },
      // 103 samples leave 82 for training: the last batch has 2 of them, fewer than there are shards.
      { shards: 6, samples: 103 },
    ]) {
      const results = [];
      for (let workers = 1; workers <= shards; workers++) {
        results.push(await train(job, dataset(samples), { shards, workers, epochs: job.epochs }));
      }
      const [alone] = results;
      assert.equal(alone!.progress.history.length, job.epochs);
      for (const { digest, progress } of results) {
        assert.deepEqual(progress, alone!.progress);
        assert.equal(digest, alone!.digest);
      }
    }
  });
}

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

const momentum = { kind: "sgd", momentum: 0.9 } as const;
const compiles: readonly Pick<JobDefinition["compile"], "optimizer" | "clip">[] = [
  { optimizer: { kind: "sgd", learningRate: 0.05 }, clip: { globalNorm: 0.1 } },
  { optimizer: { ...momentum, learningRate: { kind: "plateau", initial: 0.05, patience: 2, minDelta: 0.01 } } },
  { optimizer: { ...momentum, nesterov: true, learningRate: 0.05 }, clip: { value: 0.01 } },
  {
    optimizer: { kind: "rmsprop", learningRate: { kind: "step", initial: 0.003, factor: 0.5, every: { epochs: 20 } } },
  },
  { optimizer: { kind: "adagrad", learningRate: 0.05 } },
  { optimizer: { kind: "adam", learningRate: { kind: "cosine", initial: 0.01, warmup: { steps: 9 } } } },
  { optimizer: { kind: "adam", learningRate: 0.01, weightDecay: 0.01 } },
];

test("promise 1: stopped in an epoch, every optimizer, schedule and clipping is to the bit 200 steps later, and learns", async () => {
  const dataset = points(100);
  const options = { shards: 2, epochs: 53 };
  for (const compile of compiles) {
    const job = pointsJob({
      model: (tf, { features }) =>
        tf.sequential({ layers: [tf.layers.dense({ units: 3, activation: "softmax", inputShape: [...features] })] }),
      compile: { ...compile, loss: "categoricalCrossentropy", metrics: ["accuracy"] },
      epochs: options.epochs,
    });
    const whole = await train(job, dataset, { ...options, workers: 1 });
    const stopped = await train(job, dataset, { ...options, workers: 2, stopAfterSteps: 10 });
    assert.notEqual(stopped.progress.stepInEpoch, 0);
    const resumed = await train(job, dataset, { ...options, workers: 1, from: stopped.snapshot });
    assert.ok(resumed.progress.step - stopped.progress.step >= 200);
    assert.equal(resumed.digest, whole.digest, JSON.stringify(compile));
    assert.deepEqual(resumed.progress, whole.progress);
    const losses = whole.progress.history.map(({ metrics }) => metrics.loss!);
    assert.ok(losses.at(-1)! < losses[0]! * 0.95, `${JSON.stringify(compile)}: ${losses[0]} … ${losses.at(-1)}`);
  }
});

test("one seed gives one result, another seed another, and no stray randomness gets in", async () => {
  const run = (seed: number) => train(pointsJob({ seed }), points(100), { shards: 2, workers: 1, epochs: 1 });
  const [one, again, other] = [await run(1), await run(1), await run(2)];
  assert.equal(again.digest, one.digest);
  assert.notEqual(other.digest, one.digest);
});

test("promise 5: what training reads is what the ledger says, through a stop and another number of workers", async () => {
  const dataset = points(103);
  const job = pointsJob({ validation: { fraction: 0.2 }, epochs: 2 });
  const { training } = splitSamples(job.seed, dataset.length, job.validation);
  const reads: number[][] = [];
  const watched: Dataset = {
    ...dataset,
    read(indices) {
      reads.push(Array.from(indices));
      return dataset.read(indices);
    },
  };
  const options = { shards: 4, epochs: 2 };
  const stopped = await train(job, watched, { ...options, workers: 2, stopAfterSteps: 7 });
  await train(job, watched, { ...options, workers: 3, from: stopped.snapshot });
  const rules = {
    ...{ seed: job.seed, samples: dataset.length, validation: job.validation },
    batchSize: job.batchSize,
  };
  const lines = [1, 2].flatMap((epoch) => [...ledgerOf({ ...rules, shards: 4 }, epoch)]);
  // Fitting looks at the whole training split; validation reads its own samples.
  const shards = reads.filter((read) => read.length < training.length && read.every((i) => training.includes(i)));
  const textOf = (samples: readonly number[]) => samples.join(" ");
  assert.deepEqual(
    shards.map(textOf).sort(),
    lines
      .map(({ samples }) => textOf(samples))
      .filter((text) => text !== "")
      .sort(),
  );
});
