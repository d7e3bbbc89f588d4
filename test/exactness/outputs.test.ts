/** Models with several inputs and outputs: what each takes of a sample, what they are trained for, and that it is the same bits. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SymbolicTensor, Tensor } from "@tensorflow/tfjs";
import type { CompileDefinition, Job, JobDefinition } from "../../src/core/job.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { metricsOf } from "../../src/core/metric-sums.ts";
import { RandomStream } from "../../src/core/random.ts";
import type { Dataset } from "../../src/ports/dataset.ts";
import { PreparedData } from "../../src/runtime/prepared-data.ts";
import { openPredictor } from "../../src/runtime/prediction.ts";
import { TrainingProgram } from "../../src/runtime/training-program.ts";
import { testEngine } from "../fixtures/engine.ts";
import { points, pointsJob, train } from "../fixtures/trainers.ts";

const sgd = { kind: "sgd", learningRate: 0.1 } as const;

/** Of each point: the sum of its numbers, which is no class, and its class. */
function labelledPoints(samples: number): Dataset {
  const plain = points(samples);
  const read: Dataset["read"] = (indices) => {
    const { count, features, label } = plain.read(indices);
    const sums = Array.from({ length: count }, (_, row) =>
      features.subarray(row * 6, (row + 1) * 6).reduce((sum, value) => sum + value, 0),
    );
    return { count, features, label: Float32Array.from([...label].flatMap((one, row) => [sums[row]!, one])) };
  };
  return { ...plain, label: { shape: [2] }, read, labels: (indices) => read(indices).label };
}

/** Three numbers as a sequence into a recurrent layer, and the other three as they are. */
const model: JobDefinition["model"] = (tf) => {
  const [row, rest] = [tf.input({ shape: [3, 1], name: "row" }), tf.input({ shape: [3], name: "rest" })];
  const read = tf.layers.simpleRNN({ units: 4 }).apply(row) as SymbolicTensor;
  const both = tf.layers.concatenate().apply([read, rest]) as SymbolicTensor;
  const size = tf.layers.dense({ units: 1, name: "size" }).apply(both) as SymbolicTensor;
  const kind = tf.layers.dense({ units: 3, activation: "softmax", name: "kind" }).apply(both) as SymbolicTensor;
  return tf.model({ inputs: [row, rest], outputs: [size, kind] });
};

// In another order than the model's.
const outputs = {
  kind: { loss: "sparseCategoricalCrossentropy", metrics: ["accuracy", "macroF1"] },
  size: { loss: "meanSquaredError", lossWeight: 0.25, metrics: ["rootMeanSquaredError"] },
} as const;

const fields: Partial<JobDefinition> = {
  preprocess: {},
  model,
  compile: { optimizer: sgd, outputs },
  checkpoint: { monitor: "val_kind_accuracy" },
  epochs: 2,
};
const job = pointsJob(fields);

test("promise 1: a model of two inputs and two outputs has the same bits for every number of workers, and learns", async () => {
  assert.equal(job.checkpoint.mode, "max");
  const alone = await train(job, labelledPoints(103), { shards: 6, workers: 1, epochs: 2 });
  const together = await train(job, labelledPoints(103), { shards: 6, workers: 3, epochs: 2 });
  assert.equal(together.digest, alone.digest);
  assert.deepEqual(together.progress, alone.progress);
  const [first, last] = alone.progress.history.map(({ metrics }) => metrics);
  const names = ["loss", "size_loss", "size_rootMeanSquaredError", "kind_loss", "kind_accuracy", "kind_macroF1"];
  assert.deepEqual(Object.keys(first!).sort(), [...names, ...names.map((name) => `val_${name}`)].sort());
  assert.ok(last!.val_loss! < first!.val_loss!);
});

test("loss and metrics are those of a plain loop over the samples, with and without weights", async () => {
  const engine = await testEngine();
  const { tf } = engine;
  const data = { kind: "csv", path: "unused.csv", label: "unused", weight: "w" } as const;
  for (const weights of [null, Float32Array.of(1, 0, 2, 0.5, 1)]) {
    const given = pointsJob({ ...fields, ...(weights && { data }) });
    const samples = labelledPoints(5).read(Uint32Array.of(0, 1, 2, 3, 4));
    const program = new TrainingProgram(engine, given, { features: [6], label: [2] });
    const sums = new Float64Array(program.sumNames.length);
    program.validate({ ...samples, ...(weights && { weight: weights }) }, new RandomStream(1, "validation"), sums);
    const told = metricsOf(Object.fromEntries(program.sumNames.map((name, i) => [name, sums[i]!])), 5);

    const rows = tf.tensor2d(samples.features, [5, 6]);
    program.useWeights();
    const [size, kind] = program.model.apply([
      rows.slice([0, 0], [5, 3]).reshape([5, 3, 1]),
      rows.slice([0, 3], [5, 3]),
    ]) as [Tensor, Tensor];
    const [sizes, chances] = [[...size.dataSync()], kind.arraySync() as number[][]];
    const wanted = Array.from({ length: 5 }, (_, i) => ({
      size: samples.label[2 * i]!,
      kind: samples.label[2 * i + 1]!,
    }));
    const mean = (values: readonly number[], by = new Float32Array(5).fill(1)) =>
      values.reduce((sum, value, i) => sum + value * by[i]!, 0) / by.reduce((a, b) => a + b, 0);
    const squares = wanted.map((one, i) => (one.size - sizes[i]!) ** 2);
    const entropies = wanted.map((one, i) => -Math.log(chances[i]![one.kind]!));
    const right = wanted.map((one, i) => Number(chances[i]!.indexOf(Math.max(...chances[i]!)) === one.kind));
    const by = weights ?? undefined;
    const expected = {
      size_loss: mean(squares, by),
      size_rootMeanSquaredError: Math.sqrt(mean(squares)),
      kind_loss: mean(entropies, by),
      kind_accuracy: mean(right),
      loss: 0.25 * mean(squares, by) + mean(entropies, by),
    };
    for (const [name, value] of Object.entries(expected)) {
      assert.ok(Math.abs(told[name]! - value) < 1e-5, `${name}: ${told[name]}, expected ${value}`);
    }
  }
});

test("what is predicted is each output, under its name", async () => {
  const engine = await testEngine();
  const program = new TrainingProgram(engine, job, { features: [6], label: [2] });
  const rows = labelledPoints(3).read(Uint32Array.of(0, 1, 2)).features;
  program.useWeights();
  const { preprocessing } = new PreparedData(labelledPoints(20), job);
  const predictor = openPredictor(engine, program.model, preprocessing.features, job);
  assert.deepEqual(predictor.outputs, [
    { name: "size", size: 1 },
    { name: "kind", size: 3 },
  ]);
  const made = predictor.predict(rows, 3);
  assert.equal(made.length, 12);
  for (let row = 0; row < 3; row++) {
    const [, ...chances] = made.subarray(4 * row, 4 * row + 4);
    assert.ok(Math.abs(chances.reduce((sum, one) => sum + one, 0) - 1) < 1e-6);
  }
  for (const [i, value] of predictor.predict(rows.subarray(6, 12), 1).entries()) {
    assert.ok(Math.abs(value - made[4 + i]!) < 1e-5, "a row of several is what it is alone");
  }
});

test("a label of another form than its output is compared number by number, also where there is one output", async () => {
  const engine = await testEngine();
  const given = pointsJob({
    ...fields,
    model: (tf, { features }) =>
      tf.sequential({
        layers: [
          tf.layers.dense({ units: 3, inputShape: [...features] }),
          tf.layers.reshape({ targetShape: [1, 3], name: "row" }),
        ],
      }),
    compile: { optimizer: sgd, outputs: { row: { loss: "meanAbsoluteError" } } },
    checkpoint: {},
  });
  // [3, 1] beside [1, 3] would be spread over [3, 3].
  const program = new TrainingProgram(engine, given, { features: [6], label: [3, 1] });
  const features = Float32Array.of(1, -2, 3, -4, 5, -6);
  const label = Float32Array.of(1, 20, 300);
  program.useWeights();
  const made = program.model.apply(engine.tf.tensor2d(features, [1, 6])) as Tensor;
  const expected = [...made.dataSync()].reduce((sum, value, i) => sum + Math.abs(value - label[i]!) / 3, 0);
  const sums = new Float64Array(program.sumNames.length);
  program.validate({ count: 1, features, label }, new RandomStream(1, "validation"), sums);
  assert.ok(Math.abs(sums[0]! - expected) < 1e-3, `${sums[0]}, expected ${expected}`);
});

test("inputs that a step feeds are not guessed", async () => {
  const engine = await testEngine();
  const step = () => assert.fail();
  const { features } = new PreparedData(labelledPoints(20), job).preprocessing;
  const program = new TrainingProgram(engine, job, { features: [6], label: [2] });
  assert.throws(
    () => openPredictor(engine, program.model, features, { seed: 1, step }),
    /The model has 2 inputs, which compile\.step alone knows how to feed\./,
  );
});

test("what does not go together is refused by a sentence before anything starts", async () => {
  const engine = await testEngine();
  const shapes = { features: [6], label: [2] };
  const compiled = (compile: CompileDefinition): Job => pointsJob({ ...fields, checkpoint: {}, compile });
  for (const [given, at, problem] of [
    [job, { ...shapes, features: [7] }, /inputs take 3 \+ 3 = 6 numbers of a sample, but the features .* \[7\]/],
    [job, { ...shapes, label: [4] }, /outputs take 1 \+ 1 = 2 numbers of a sample, but the label .* \[4\]/],
    [
      compiled({ optimizer: sgd, outputs: { size: outputs.size } }),
      shapes,
      /compile\.outputs names size, but the model's outputs are size, kind\.$/,
    ],
    [
      compiled({ optimizer: sgd, loss: "meanSquaredError" }),
      shapes,
      /The model has 2 outputs, but compile\.loss is for one\.$/,
    ],
    [
      compiled({ optimizer: sgd, outputs: { ...outputs, size: { loss: "categoricalCrossentropy" } } }),
      shapes,
      /^compile\.outputs\.size: The model has 1 output for categoricalCrossentropy/,
    ],
    [
      compiled({
        optimizer: sgd,
        outputs: { ...outputs, size: { loss: "meanSquaredError", metrics: ["perplexity"] } },
      }),
      shapes,
      /^compile\.outputs\.size: The metric perplexity is the exponential/,
    ],
    [
      pointsJob({
        ...fields,
        model: (tf) => {
          const [some, any] = [tf.input({ shape: [3] }), tf.input({ shape: [null, 1], name: "any" })];
          const both = tf.layers
            .concatenate()
            .apply([some, tf.layers.globalAveragePooling1d({}).apply(any) as SymbolicTensor]) as SymbolicTensor;
          return tf.model({ inputs: [some, any], outputs: both });
        },
      }),
      shapes,
      /The model's input any has the shape \[any, 1\], so that nobody knows/,
    ],
  ] as const) {
    assert.throws(
      () => new TrainingProgram(engine, given, at),
      (error: unknown) => {
        assert.ok(error instanceof LockstepError && error.code === "invalid-job", String(error));
        assert.match(error.message, problem);
        return true;
      },
    );
  }
  const data = new PreparedData(labelledPoints(20), job);
  const { classNumbers } = new TrainingProgram(engine, job, shapes);
  const yesOrNo = { size: { loss: "binaryCrossentropy" }, kind: { loss: "categoricalCrossentropy" } } as const;
  const chances = compiled({ optimizer: sgd, outputs: yesOrNo });
  assert.deepEqual(new TrainingProgram(engine, chances, { ...shapes, label: [4] }).classNumbers, [
    { classes: "yes or no", part: { offset: 0, size: 1, output: "size" } },
  ]);
  assert.deepEqual(classNumbers, [{ classes: 3, part: { offset: 1, size: 1, output: "kind" } }]);
  await data.checkClasses(classNumbers);
  await assert.rejects(
    data.checkClasses([{ ...classNumbers[0]!, classes: 2 }]),
    /A label of the output kind is 2 after pre-processing, and the model has the classes 0 to 1: sample \d+, counted/,
  );
});
