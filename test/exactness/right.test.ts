/**
 * Right, not only equal: what comes out of the shards agrees with a plain loop over whole batches that is written down
 * here, and with Keras (test/fixtures/keras), from the same initial weights on the same batches.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { NamedTensorMap, Optimizer, Scalar, Tensor, Variable } from "@tensorflow/tfjs";
import type { Job } from "../../src/core/job.ts";
import { initialPlateau, learningRateAt, plateauAfterEpoch } from "../../src/core/learning-rate.ts";
import { means } from "../../src/core/progress.ts";
import { RandomStream } from "../../src/core/random.ts";
import { epochOrder } from "../../src/core/sampler.ts";
import type { LayersModel, TensorFlow } from "../../src/ports/engine.ts";
import { PreparedData } from "../../src/runtime/prepared-data.ts";
import { seeded } from "../../src/ports/seeded.ts";
import { testEngine } from "../fixtures/engine.ts";
import { dataset, rightCases, stepsToCompare } from "../fixtures/right-cases.ts";
import { train } from "../fixtures/trainers.ts";

/** After some step: the weights in the model's order, and means over the epoch so far. */
interface Result {
  readonly weights: ArrayLike<number>;
  readonly metrics: Readonly<Record<string, number>>;
}

interface KerasResult extends Readonly<Record<string, unknown>> {
  readonly weights: readonly number[];
}

const keras = JSON.parse(readFileSync(new URL("../fixtures/keras/reference.json", import.meta.url), "utf8")) as {
  madeBy: string;
  cases: Record<string, Record<string, KerasResult>>; // written by reference.py
};

/** Of the cases' models: 6 features, 8 units, 3 outputs or a single one, with biases. */
const weightCount = (outputs: number) => (6 + 1) * 8 + (8 + 1) * outputs;

/** The norm of the difference, over the norm of what is expected. */
function distance(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.equal(actual.length, expected.length);
  let [difference, size] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

function assertNear(actual: Result, expected: Result, what: string): void {
  const off = distance(actual.weights, expected.weights);
  assert.ok(off < 1e-5, `${what}: the weights are off by ${off}`);
  assert.deepEqual(Object.keys(actual.metrics).sort(), Object.keys(expected.metrics).sort(), what);
  for (const [name, value] of Object.entries(expected.metrics)) {
    const wrong = Math.abs(actual.metrics[name]! - value) / Math.abs(value);
    assert.ok(wrong < 1e-5, `${what}: ${name} is ${actual.metrics[name]}, expected ${value}`);
  }
}

function outputsOf({ loss, preprocess: { label } }: Job): number {
  return loss.startsWith("sparse") || label.some(({ kind }) => kind === "one-hot") ? 3 : 1;
}

/** What lockstep makes of a job, with S shards on W workers. */
async function distributed(job: Job, shards: number, workers: number, steps: number): Promise<Result> {
  const last = steps === stepsToCompare.at(-1);
  const options = { shards, workers, epochs: job.epochs, ...(last ? {} : { stopAfterSteps: steps }) };
  const { snapshot, progress } = await train(job, dataset, options);
  assert.equal(progress.step, steps);
  const weights = snapshot.values.subarray(0, weightCount(outputsOf(job)));
  if (!last) return { weights, metrics: means(progress) };
  const { learningRate: _, ...metrics } = progress.history.at(-1)!.metrics;
  return { weights, metrics: Object.fromEntries(Object.entries(metrics).filter(([name]) => !name.startsWith("val_"))) };
}

/** The same training as anybody would write it with TensorFlow.js alone: one process, whole batches. */
async function plain(job: Job): Promise<Map<number, Result>> {
  const { tf } = await testEngine();
  const data = new PreparedData(dataset, job);
  const model = seeded(new RandomStream(job.seed, "initial-weights"), () => job.model(tf, data.shapes));
  const variables = model.weights.map((weight) => weight.read() as Variable);
  const update = updateOf(tf, job);
  const results = new Map<number, Result>();
  const stepsPerEpoch = data.trainingSamples / job.batchSize;
  const { learningRate } = job.optimizer;
  let plateau = initialPlateau;
  let totals: Record<string, number> = {};
  for (let step = 0; step < job.epochs * stepsPerEpoch; step++) {
    const epoch = Math.floor(step / stepsPerEpoch);
    const begin = (step % stepsPerEpoch) * job.batchSize;
    const order = epochOrder(job.seed, epoch, data.trainingSamples).subarray(begin, begin + job.batchSize);
    const batch = data.training(order);
    const seen: Readonly<Record<string, number>> = begin === 0 ? {} : totals;
    totals = tf.tidy(() => {
      const x = tf.tensor2d(batch.features, [batch.count, 6]);
      const y = job.loss.startsWith("sparse")
        ? tf.oneHot(tf.tensor1d([...batch.label], "int32"), 3).toFloat()
        : tf.tensor2d(batch.label, [batch.count, outputsOf(job)]);
      const values: Record<string, number> = {};
      const { value, grads } = tf.variableGrads(() => {
        const output = model.apply(x, { training: true }) as Tensor;
        for (const name of job.metrics) values[name] = metricOf(tf, job, name, y, output).mean().dataSync()[0]!;
        return lossOf(tf, job, model, y, output);
      }, variables);
      values.loss = value.dataSync()[0]!;
      const context = { updates: step, stepsPerEpoch, epochs: job.epochs, plateau };
      const rate = learningRateAt(learningRate, context);
      update(step + 1, rate, variables, clippedGradients(tf, job, grads));
      return Object.fromEntries(
        Object.entries(values).map(([name, mean]) => [name, mean * batch.count + (seen[name] ?? 0)]),
      );
    });
    const isLastOfEpoch = begin + batch.count === data.trainingSamples;
    if (isLastOfEpoch && typeof learningRate !== "number" && learningRate.kind === "plateau") {
      plateau = plateauAfterEpoch(
        learningRate,
        job.checkpoint,
        plateau,
        means({ samples: begin + batch.count, totals }),
      );
    }
    if (!stepsToCompare.some((count) => count === step + 1)) continue;
    results.set(step + 1, {
      weights: variables.flatMap((variable) => [...variable.dataSync()]),
      metrics: means({ samples: begin + batch.count, totals }),
    });
  }
  model.dispose();
  return results;
}

type Update = (number: number, rate: number, variables: readonly Variable[], gradients: NamedTensorMap) => void;

/** TensorFlow.js' own optimizers, but for Adam, of which it has a form that differs from Keras' in the first steps. */
function updateOf(tf: TensorFlow, { optimizer }: Job): Update {
  const apply = (own: Optimizer): Update => {
    return (_, rate, _variables, gradients) => {
      // Plain SGD keeps its rate in a tensor too; the others read the field at every update.
      if ("setLearningRate" in own) (own as { setLearningRate(rate: number): void }).setLearningRate(rate);
      else Object.assign(own, { learningRate: rate });
      own.applyGradients(gradients);
    };
  };
  switch (optimizer.kind) {
    case "sgd":
      return apply(
        optimizer.momentum
          ? tf.train.momentum(0.1, optimizer.momentum, optimizer.nesterov ?? false)
          : tf.train.sgd(0.1),
      );
    case "rmsprop":
      return apply(tf.train.rmsprop(0.1, 0.9, 0, 1e-7));
    case "adagrad":
      return apply(tf.train.adagrad(0.1, 0.1));
    case "adam":
      return adam(tf, optimizer.weightDecay ?? 0);
  }
}

/** Kingma and Ba's Adam in the form of their section 2's end, with decoupled decay, variable by variable. */
function adam(tf: TensorFlow, decay: number): Update {
  const moments = new Map<string, { mean: Variable; square: Variable }>();
  return (number, rate, variables, gradients) => {
    const corrected = (rate * Math.sqrt(1 - 0.999 ** number)) / (1 - 0.9 ** number);
    for (const variable of variables) {
      const gradient = gradients[variable.name]!;
      let kept = moments.get(variable.name);
      if (!kept) {
        kept = { mean: tf.variable(tf.zerosLike(gradient)), square: tf.variable(tf.zerosLike(gradient)) };
        moments.set(variable.name, kept);
      }
      kept.mean.assign(kept.mean.mul(0.9).add(gradient.mul(0.1)));
      kept.square.assign(kept.square.mul(0.999).add(gradient.square().mul(0.001)));
      const change = kept.mean.mul(corrected).div(kept.square.sqrt().add(1e-7));
      variable.assign(variable.mul(1 - rate * decay).sub(change));
    }
  };
}

function lossOf(tf: TensorFlow, job: Job, model: LayersModel, label: Tensor, output: Tensor): Scalar {
  const losses = {
    categoricalCrossentropy: tf.metrics.categoricalCrossentropy,
    sparseCategoricalCrossentropy: tf.metrics.categoricalCrossentropy,
    binaryCrossentropy: tf.metrics.binaryCrossentropy,
    meanSquaredError: tf.metrics.meanSquaredError,
    meanAbsoluteError: tf.metrics.meanAbsoluteError,
  };
  const penalties = model.calculateLosses();
  return penalties
    .reduce<Tensor>((sum, penalty) => sum.add(penalty), losses[job.loss as keyof typeof losses](label, output).mean())
    .asScalar();
}

function metricOf(tf: TensorFlow, { loss }: Job, name: Job["metrics"][number], label: Tensor, output: Tensor): Tensor {
  if (name === "meanSquaredError") return tf.metrics.meanSquaredError(label, output);
  if (name === "meanAbsoluteError") return tf.metrics.meanAbsoluteError(label, output);
  return loss === "binaryCrossentropy" || output.shape[1] === 1
    ? tf.metrics.binaryAccuracy(label, output)
    : tf.metrics.categoricalAccuracy(label, output);
}

function clippedGradients(tf: TensorFlow, { clip }: Job, grads: NamedTensorMap): NamedTensorMap {
  if (!clip) return grads;
  const limited = (gradient: Tensor): Tensor => {
    if ("value" in clip) return gradient.clipByValue(-clip.value, clip.value);
    const norm = tf.addN(Object.values(grads).map((one) => one.square().sum())).sqrt();
    return gradient.mul(clip.globalNorm).div(norm.maximum(clip.globalNorm));
  };
  return Object.fromEntries(Object.entries(grads).map(([name, gradient]) => [name, limited(gradient)]));
}

for (const { name, job } of rightCases) {
  test(`after 1, 10 and 100 steps lockstep agrees to 1e-5 with plain TensorFlow.js and with Keras: ${name}`, async () => {
    const expected = await plain(job);
    for (const steps of stepsToCompare) {
      const { weights, ...metrics } = keras.cases[name]![steps]!;
      const fromKeras: Result = { weights, metrics: metrics as Record<string, number> };
      for (const [shards, workers] of [
        [1, 1],
        [4, 2],
      ] as const) {
        const actual = await distributed(job, shards, workers, steps);
        const what = `${name}, S = ${shards}, after ${steps} steps`;
        assertNear(actual, expected.get(steps)!, `${what}, plain`);
        assertNear(actual, fromKeras, `${what}, Keras`);
      }
    }
  });
}

test("the plateau's case lowers its rate more than once, so that it shows something", async () => {
  const { job } = rightCases.find(({ name }) => name === "schedule plateau")!;
  const { progress } = await train(job, dataset, { shards: 4, workers: 1, epochs: job.epochs });
  const rates = new Set(progress.history.map(({ metrics }) => metrics.learningRate));
  assert.ok(rates.size >= 3, `rates: ${[...rates].join(", ")}`);
});

test("an all-reduce that loses a shard would be found", async () => {
  const { job } = rightCases[0]!;
  const expected = await plain(job);
  const options = { shards: 4, workers: 4, epochs: job.epochs, stopAfterSteps: 1 };
  const weightsOf = async (lost: { lostShard?: number }) =>
    (await train(job, dataset, { ...options, ...lost })).snapshot.values.subarray(0, weightCount(outputsOf(job)));
  assert.ok(distance(await weightsOf({}), expected.get(1)!.weights) < 1e-5);
  assert.ok(distance(await weightsOf({ lostShard: 2 }), expected.get(1)!.weights) > 1e-3);
});
