import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Tensor } from "@tensorflow/tfjs";
import { openDirectoryStorage } from "../../src/adapters/fs/checkpoint-storage.ts";
import { createLog } from "../../src/adapters/system/log.ts";
import type { Job, JobDefinition } from "../../src/core/job.ts";
import { decodeJson } from "../../src/core/json.ts";
import { ledgerOf } from "../../src/core/ledger.ts";
import type { Progress } from "../../src/core/progress.ts";
import type { JobRecord } from "../../src/core/records.ts";
import { splitSamples } from "../../src/core/sampler.ts";
import { splitRule } from "../../src/core/validation-split.ts";
import type { ComputeInfo } from "../../src/ports/compute.ts";
import type { Dataset } from "../../src/ports/dataset.ts";
import type { StateSnapshot } from "../../src/ports/transport.ts";
import { evaluate } from "../../src/runtime/evaluation.ts";
import { crop, flip, jitter } from "../../src/index.ts";
import { PreparedData } from "../../src/runtime/prepared-data.ts";
import { contentToSnapshot, digestOf, snapshotToContent, stateName, weightsDigestOf } from "../../src/runtime/state.ts";
import { TrainingProgram } from "../../src/runtime/training-program.ts";
import { testEngine } from "../fixtures/engine.ts";
import { testFolder } from "../fixtures/running-launch.ts";
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
    name: "augmented images",
    dataset: (samples) => ({ ...points(samples, 64), features: { shape: [8, 8, 1] } }),
    job: pointsJob({
      augment: [flip("horizontal"), crop({ padding: 2 }), jitter({ brightness: 0.2, contrast: 0.2, range: [-2, 2] })],
      model: (tf, { features }) =>
        tf.sequential({
          layers: [
            tf.layers.flatten({ inputShape: [...features] }),
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

for (const wire of ["bfloat16", "float16"] as const) {
  test(`promise 1: with gradients that travel as ${wire} the bits are the same for every number of workers`, async () => {
    const job = pointsJob({ wire });
    for (const { shards, samples } of [
      { shards: 4, samples: 127 },
      { shards: 6, samples: 103 },
    ]) {
      const exact = await train(pointsJob(), points(samples), { shards, workers: 1, epochs: 2 });
      const alone = await train(job, points(samples), { shards, workers: 1, epochs: 2 });
      assert.notEqual(alone.digest, exact.digest, "numbers are rounded though nothing travels");
      const loss = ({ progress }: typeof alone) => progress.history.at(-1)!.metrics.loss!;
      assert.ok(Math.abs(loss(alone) / loss(exact) - 1) < 0.02, `${loss(alone)} and ${loss(exact)}`);
      for (let workers = 2; workers <= shards; workers++) {
        const { digest, progress } = await train(job, points(samples), { shards, workers, epochs: 2 });
        assert.deepEqual(progress, alone.progress);
        assert.equal(digest, alone.digest, `${workers} workers`);
      }
    }
  });
}

test("promise 1: a layer that draws numbers while it validates gives the same history for every number of workers", async () => {
  const job = pointsJob({
    epochs: 2,
    // 20 validation samples in batches of 3: several of them in a shard.
    batchSize: 12,
    model: (tf, { features }) => {
      class Noise extends tf.layers.Layer {
        static readonly className = "Noise";
        override call(inputs: Tensor | Tensor[]): Tensor {
          const input = Array.isArray(inputs) ? inputs[0]! : inputs;
          return input.add(tf.randomNormal(input.shape, 0, 0.5)).add(Math.random());
        }
      }
      return tf.sequential({
        layers: [
          tf.layers.dense({ units: 8, activation: "relu", inputShape: [...features] }),
          new Noise({}),
          tf.layers.dense({ units: 3, activation: "softmax" }),
        ],
      });
    },
  });
  const histories = [];
  for (const workers of [1, 2, 4]) {
    const { progress } = await train(job, points(103), { shards: 4, workers, epochs: 2 });
    histories.push(progress.history);
  }
  assert.deepEqual(histories[1], histories[0]);
  assert.deepEqual(histories[2], histories[0]);

  const engine = await testEngine();
  const data = new PreparedData(points(103), job);
  const program = new TrainingProgram(engine, job, data.shapes);
  const test = (seed: number) => evaluate(program, data.preprocessing, points(50), { seed, shards: 4, batchSize: 12 });
  assert.deepEqual(test(1), test(1), "and so does evaluate");
  assert.notDeepEqual(test(1), test(2));
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

/** Writes a checkpoint of a state, and reads the state back from it. */
async function throughDisk(
  context: TestContext,
  job: Job,
  dataset: Dataset,
  snapshot: StateSnapshot,
): Promise<StateSnapshot> {
  const data = new PreparedData(dataset, job);
  const program = new TrainingProgram(await testEngine(), job, data.shapes);
  const info: ComputeInfo = {
    ...{
      fingerprint: { "job.seed": String(job.seed) },
      engine: "the test's",
      topology: null,
      statisticsCount: 3,
      stepsPerEpoch: 4,
    },
    ...{
      weightCount: program.weightCount,
      reducedCount: program.reducedCount,
      trainableCount: program.trainableCount,
      wire: "float32",
      slotNames: program.slotNames,
    },
    ...{ parameters: program.parameters, preprocessing: data.preprocessing },
    ...{ trainingSamples: data.trainingSamples, validationSamples: data.validationSamples },
  };
  const record: JobRecord = {
    ...{ job: job.name, run: 1, shards: 2, workers: { start: 2, min: 1, max: 2 }, budgetMs: 5000, threads: 1 },
    ...{
      fields: {},
      epochs: job.epochs,
      checkpoint: job.checkpoint,
      replicas: 0,
      mayChange: false,
      isAskedFor: false,
      start: 1,
    },
  };
  const storage = await openDirectoryStorage(
    await testFolder(context),
    createLog({ stream: process.stderr, format: "text", level: "error" }),
  );
  const weightsDigest = weightsDigestOf(snapshot, info);
  const { id } = await storage.write(
    snapshotToContent(snapshot, info, record, {
      ...{ id: "one", generation: 1, fencingToken: 1, members: ["a", "b"], equivalences: [] },
      ...{ writtenAt: "2026-01-01T00:00:00.000Z", state: stateName(snapshot), weightsDigest },
    }),
  );
  const read = contentToSnapshot(await storage.load(id), info);
  assert.equal(digestOf(read), digestOf(snapshot));
  return read;
}

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

test("promise 1: stopped in an epoch, every optimizer, schedule and clipping is to the bit 200 steps after a checkpoint, and learns", async (context) => {
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
    // Through files, as a start goes on: what a checkpoint left out would be missing here.
    const from = await throughDisk(context, job, dataset, stopped.snapshot);
    const resumed = await train(job, dataset, { ...options, workers: 1, from });
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
  const { training } = splitSamples(job.seed, dataset.length, { fraction: 0.2, take: "random" });
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
    ...{ seed: job.seed, samples: dataset.length, validation: splitRule(job.validation) },
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

test("saves by steps are the states of the undisturbed run after the same steps, for every world size", async () => {
  const saveFreq = { steps: 3 };
  const job = pointsJob({ checkpoint: { saveFreq } });
  const dataset = points(103);
  const savesOf = async (workers: number) => {
    const saved: StateSnapshot[] = [];
    const onSave = (state: StateSnapshot) => saved.push(state);
    const { digest } = await train(job, dataset, { shards: 3, workers, epochs: 2, onSave });
    return { digest, saved };
  };
  const one = await savesOf(1);
  const stepOf = ({ progress }: StateSnapshot) => decodeJson<Progress>(progress).step;
  // Of five steps an epoch; step 10 is an epoch's end, which is no save.
  assert.deepEqual(one.saved.map(stepOf), [3, 6, 9]);
  const undisturbed = await train(pointsJob(), dataset, { shards: 3, workers: 1, epochs: 2 });
  assert.equal(one.digest, undisturbed.digest, "saving changes nothing");
  for (const workers of [2, 3]) {
    const more = await savesOf(workers);
    assert.equal(more.digest, one.digest);
    assert.deepEqual(more.saved.map(digestOf), one.saved.map(digestOf));
  }
  for (const from of one.saved) {
    const resumed = await train(job, dataset, { shards: 3, workers: 2, epochs: 2, from });
    assert.equal(resumed.digest, one.digest, `from step ${stepOf(from)}`);
  }
});

test("one worker's vote for a save is all workers' save, once", async () => {
  const saved: number[] = [];
  const onSave = ({ progress }: StateSnapshot) => saved.push(decodeJson<Progress>(progress).step);
  // The last of three votes while it takes step 2, so that the vote is in step 3.
  await train(pointsJob(), points(103), { shards: 3, workers: 3, epochs: 1, onSave, saveVoteAfterStep: 2 });
  assert.deepEqual(saved, [3]);
});
