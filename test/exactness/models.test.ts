/** What a job may say of its model and its loss, on several workers: weights of classes, losses of its own, frozen layers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { RNN, SymbolicTensor, Tensor, Variable } from "@tensorflow/tfjs";
import type { JobDefinition } from "../../src/core/job.ts";
import { lossWeightOf } from "../../src/core/metric-sums.ts";
import { RandomStream } from "../../src/core/random.ts";
import { asBuiltBefore, asInCheckpoint } from "../../src/core/weight-names.ts";
import { PreparedData } from "../../src/runtime/prepared-data.ts";
import { TrainingProgram } from "../../src/runtime/training-program.ts";
import type { WeightKind } from "../../src/runtime/weight-kinds.ts";
import type { Dataset } from "../../src/ports/dataset.ts";
import { testEngine } from "../fixtures/engine.ts";
import { points, pointsJob, train } from "../fixtures/trainers.ts";

const sgd = { kind: "sgd", learningRate: 0.5 } as const;

/** Weights of 0 among them: some shards count nothing. */
const weightedFields: Partial<JobDefinition> = {
  classWeight: { 0: 0, 1: 5, 2: 0.5 },
  model: (tf, { features }) =>
    tf.sequential({
      layers: [tf.layers.dense({ units: 3, activation: "softmax", inputShape: [...features] })],
    }),
  compile: {
    optimizer: sgd,
    loss: (_tf, labels, predictions) => predictions.sub(labels).abs().pow(1.5).mean(-1),
    metrics: ["macroF1", "accuracy"],
  },
  epochs: 2,
};
const weighted = pointsJob(weightedFields);

test("promise 1: with weights of classes and a loss of the job's own the bits are the same for every number of workers", async () => {
  const alone = await train(weighted, points(103), { shards: 6, workers: 1, epochs: 2 });
  const together = await train(weighted, points(103), { shards: 6, workers: 3, epochs: 2 });
  assert.equal(together.digest, alone.digest);
  assert.deepEqual(together.progress, alone.progress);
  assert.ok(alone.progress.history.every(({ metrics }) => Number.isFinite(metrics.loss) && metrics.val_loss! > 0));
});

test("weights that the data have give the bits of the same weights by class, and both are multiplied", async () => {
  const { classWeight, ...fields } = weightedFields;
  const given = [0, 5, 0.5].map((weight, i) => [i, weight] as const);
  const data = { kind: "csv", path: "unused.csv", label: "unused", weight: "w" } as const;
  const weightedPoints = (): Dataset => {
    const plain = points(103);
    const weights = given.map(([, weight]) => weight);
    return {
      ...plain,
      read: (indices) => {
        const samples = plain.read(indices);
        return { ...samples, weight: samples.label.map((label) => weights[label]!) };
      },
    };
  };
  const settings = { shards: 6, workers: 2, epochs: 2 };
  const byClass = await train(weighted, points(103), settings);
  const ofSamples = await train(pointsJob({ ...fields, data }), weightedPoints(), settings);
  assert.equal(ofSamples.digest, byClass.digest);
  const squares = Object.fromEntries(given.map(([i, weight]) => [i, weight ** 2]));
  const bySquares = await train(pointsJob({ ...fields, classWeight: squares }), points(103), settings);
  const ofBoth = await train(pointsJob({ ...weightedFields, data }), weightedPoints(), settings);
  assert.equal(ofBoth.digest, bySquares.digest);
  assert.notEqual(ofBoth.digest, ofSamples.digest);
});

test("a step goes by the sum of w · loss over the sum of w, however the batch is cut", async () => {
  const engine = await testEngine();
  const { tf } = engine;
  const kernelRegularizer = tf.regularizers.l2({ l2: 0.01 });
  const job = pointsJob({
    ...weightedFields,
    model: (_tf, { features }) =>
      tf.sequential({
        layers: [tf.layers.dense({ units: 3, activation: "softmax", inputShape: [...features], kernelRegularizer })],
      }),
  });
  const data = new PreparedData(points(60), job);
  const program = new TrainingProgram(engine, job, data.shapes);
  const before = program.save();
  const row = new Float32Array(program.reducedCount);
  const sums = new Float64Array(program.sumNames.length);
  const [total, totals] = [new Float32Array(row.length), new Float64Array(sums.length)];
  for (const [begin, end] of [
    [0, 3],
    [3, 4],
    [4, 20],
  ] as const) {
    const positions = Uint32Array.from({ length: end - begin }, (_, i) => begin + i);
    program.gradients(data.training(positions), new RandomStream(1, "step"), row, sums);
    for (const [i, value] of row.entries()) total[i]! += value;
    for (const [i, value] of sums.entries()) totals[i]! += value;
  }
  const weight = lossWeightOf({
    samples: 20,
    totals: Object.fromEntries(program.sumNames.map((name, i) => [name, totals[i]!])),
  });
  program.update(total, 20, { number: 1, learningRate: 0.5, weight });

  const batch = data.training(Uint32Array.from({ length: 20 }, (_, i) => i));
  const weights = Array.from({ length: 20 }, (_, i) => [0, 5, 0.5][batch.label.subarray(3 * i, 3 * i + 3).indexOf(1)]!);
  assert.deepEqual([...batch.weight!], weights);
  const [kernel, bias] = [
    tf.variable(tf.tensor2d(before.slice(0, 18), [6, 3])),
    tf.variable(tf.tensor1d(before.slice(18, 21))),
  ];
  const { value, grads } = tf.variableGrads(() => {
    const output = tf.softmax(tf.tensor2d(batch.features, [20, 6]).matMul(kernel).add(bias));
    const losses = output
      .sub(tf.tensor2d(batch.label, [20, 3]))
      .abs()
      .pow(1.5)
      .mean(-1);
    const whole = weights.reduce((a, b) => a + b);
    return losses.mul(tf.tensor1d(weights)).sum().div(whole).add(kernel.square().sum().mul(0.01)).asScalar();
  }, [kernel, bias]);
  assert.ok(Math.abs(totals[0]! / weight - value.dataSync()[0]!) < 1e-5);
  const gradient = [kernel, bias].flatMap((variable: Variable) => [...grads[variable.name]!.dataSync()]);
  for (const [i, after] of program.save().entries()) {
    const expected = before[i]! - 0.5 * gradient[i]!;
    assert.ok(Math.abs(after - expected) < 1e-5, `${i}: ${after}, expected ${expected}`);
  }

  program.update(new Float32Array(row.length), 20, { number: 2, learningRate: 0.5, weight: 0 });
  assert.ok(program.save().every(Number.isFinite), "a batch that counts nothing changes nothing");
});

test("balanced classes count the same in all, and what is no class is refused", async () => {
  const data = new PreparedData(points(60), pointsJob({ classWeight: "balanced" }));
  const all = data.training(Uint32Array.from({ length: data.trainingSamples }, (_, i) => i));
  const counted = [0, 0, 0];
  for (const [i, weight] of all.weight!.entries()) counted[all.label.subarray(3 * i, 3 * i + 3).indexOf(1)]! += weight;
  for (const sum of counted) assert.ok(Math.abs(sum - data.trainingSamples / 3) < 1e-4, `${sum}`);
  assert.equal(data.validation({ begin: 0, end: 2 }).weight, undefined);
  assert.throws(
    () => new PreparedData(points(60), pointsJob({ classWeight: { 3: 2 } })),
    /names the class 3, which no/,
  );
  const halves = { preprocess: { label: { kind: "scale", factor: 0.5 } }, classWeight: "balanced" } as const;
  assert.throws(() => new PreparedData(points(60), pointsJob(halves)), /a label after pre-processing is 0\.5/);
  const measured = {
    preprocess: {
      label: [
        { kind: "one-hot", classes: 3 },
        { kind: "scale", factor: 2 },
      ],
    },
  } as const;
  assert.throws(
    () => new PreparedData(points(60), pointsJob({ ...measured, classWeight: "balanced" })),
    /one class a sample, but a label after pre-processing is \[[02], [02], [02]\]; expected a part for each class, 1 in all/,
  );
  assert.throws(
    () => new PreparedData(points(60), pointsJob({ classWeight: { 0: 0, 1: 0, 2: 0 } })),
    /makes all samples of the training split count nothing/,
  );
});

const frozen = pointsJob({
  model: (tf, { features }) => {
    const base = tf.sequential({
      layers: [
        tf.layers.dense({ units: 5, activation: "relu", inputShape: [...features], name: "base" }),
        tf.layers.batchNormalization({ name: "frozen-statistics" }),
      ],
    });
    base.trainable = false;
    return tf.sequential({
      layers: [
        base,
        tf.layers.dense({ units: 7, activation: "relu", name: "free" }),
        tf.layers.batchNormalization({ name: "statistics" }),
        tf.layers.dense({ units: 4, trainable: false, name: "in-between" }),
        tf.layers.dense({ units: 3, activation: "softmax", name: "head" }),
      ],
    });
  },
  epochs: 2,
});

test("promise 1: frozen layers keep their bits, have no slots and are not sent around", async () => {
  const engine = await testEngine();
  const data = new PreparedData(points(103), frozen);
  const program = new TrainingProgram(engine, frozen, data.shapes);
  const of = (kind: WeightKind) => program.parameters.filter((parameter) => parameter.kind === kind);
  const layersOf = (kind: WeightKind) => new Set(of(kind).map(({ name }) => name.split("/")[0]));
  assert.deepEqual(layersOf("trainable"), new Set(["free", "statistics", "head"]));
  assert.deepEqual(layersOf("statistic"), new Set(["statistics"]));
  assert.deepEqual(layersOf("frozen"), new Set(["base", "frozen-statistics", "in-between"]));
  const sizes = (kind: WeightKind) => of(kind).reduce((sum, { size }) => sum + size, 0);
  assert.equal(program.reducedCount, sizes("trainable") + sizes("statistic"));
  assert.equal(program.valueCount, program.weightCount + 2 * sizes("trainable"));

  const begin = program.save();
  const alone = await train(frozen, points(103), { shards: 6, workers: 1, epochs: 2 });
  const together = await train(frozen, points(103), { shards: 6, workers: 3, epochs: 2 });
  assert.equal(together.digest, alone.digest);
  for (const { name, kind, offset, size } of program.parameters) {
    const [was, is] = [begin, alone.snapshot.values].map((values) => values.subarray(offset, offset + size));
    if (kind === "frozen") assert.deepEqual(is, was, name);
    else assert.notDeepEqual(is, was, name);
  }
});

test("promise 1: a step of the job's own, over a model with two outputs, and metrics of its own", async () => {
  const job = pointsJob({
    model: (tf, { features }) => {
      const input = tf.input({ shape: [...features] });
      const hidden = tf.layers.dense({ units: 6, activation: "tanh" }).apply(input) as ReturnType<typeof tf.input>;
      const outputs = [3, 1].map((units) => tf.layers.dense({ units }).apply(hidden) as ReturnType<typeof tf.input>);
      return tf.model({ inputs: input, outputs });
    },
    compile: {
      optimizer: sgd,
      metrics: ["distance"],
      step: ({ tf, model, batch: { features, label }, training }) => {
        const [scores, size] = model.apply(features, { training }) as [Tensor, Tensor];
        const distance = size.flatten().sub(features.mean(-1)).abs();
        const loss = tf.logSoftmax(scores).mul(label).sum(-1).neg();
        return { loss: loss.add(distance), metrics: { distance } };
      },
    },
    checkpoint: { monitor: "val_distance", mode: "min" },
    epochs: 2,
  });
  const alone = await train(job, points(103), { shards: 4, workers: 1, epochs: 2 });
  const together = await train(job, points(103), { shards: 4, workers: 2, epochs: 2 });
  assert.equal(together.digest, alone.digest);
  const [first, last] = alone.progress.history.map(({ metrics }) => metrics);
  assert.ok(last!.val_loss! < first!.val_loss! && last!.distance! > 0 && last!.distance! < last!.loss!);

  const engine = await testEngine();
  const { shapes } = new PreparedData(points(60), job);
  const { step } = job;
  for (const [changed, problem] of [
    [
      { ...job, step: (context: Parameters<NonNullable<typeof step>>[0]) => ({ loss: step!(context).loss.mean() }) },
      /gives a tensor of shape \[\] for a batch of 1/,
    ],
    [{ ...job, metrics: [] }, /gives the metric distance, which compile\.metrics does not list/],
    [{ ...job, metrics: ["distance", "other"] }, /The metric other of compile\.step gives no tensor/],
  ] as const) {
    const program = new TrainingProgram(engine, changed, shapes);
    const batch = { count: 1, features: new Float32Array(6), label: new Float32Array(3) };
    assert.throws(() => program.trace(batch, new RandomStream(0, "step")), problem);
  }
});

test("a model that is built again has the names of before, and another model under them is refused", async () => {
  const engine = await testEngine();
  const job = pointsJob();
  const { shapes } = new PreparedData(points(60), job);
  const names = new TrainingProgram(engine, job, shapes).parameters.map(({ name }) => name);
  const again = new TrainingProgram(engine, job, shapes, asBuiltBefore(names));
  assert.deepEqual(
    again.parameters.map(({ name }) => name),
    names,
  );
  assert.throws(
    () => new TrainingProgram(engine, job, shapes, asBuiltBefore(names.slice(1))),
    new RegExp(`The job's model has ${names.length} weights, and had ${names.length - 1} when it was built before`),
  );
});

test("whatever its layers are, a model that is built later is called as in the checkpoint of the process that built it first", async () => {
  const engine = await testEngine();
  const job = pointsJob({
    model: (tf, { features }) => {
      tf.layers.dense({ units: 1 }); // counted, and used nowhere
      const inner = () =>
        tf.sequential({
          layers: [tf.layers.dense({ name: "inside", units: 2, inputShape: [3] }), tf.layers.dense({ units: 3 })],
        });
      const input = tf.input({ shape: [...features] });
      const rows = tf.layers.reshape({ targetShape: [3, 2] }).apply(input);
      const lstm = tf.layers.lstm({ units: 2, returnSequences: true }) as RNN;
      const both = tf.layers.bidirectional({ layer: lstm, mergeMode: "concat" }).apply(rows);
      const each = tf.layers.timeDistributed({ layer: tf.layers.dense({ units: 2 }) }).apply(both);
      const flat = tf.layers.batchNormalization().apply(tf.layers.flatten().apply(each));
      const named = tf.layers.dense({ name: "head", units: 3 }).apply(flat);
      const output = tf.layers.softmax().apply(inner().apply(inner().apply(named)));
      return tf.model({ inputs: input, outputs: output as SymbolicTensor });
    },
  });
  const { shapes } = new PreparedData(points(60), job);
  const [first, second] = [1, 2].map(() => new TrainingProgram(engine, job, shapes).parameters.map(({ name }) => name));
  assert.notDeepEqual(second, first);
  const named = new TrainingProgram(engine, job, shapes, asInCheckpoint("a-step-1", first!));
  assert.deepEqual(
    named.parameters.map(({ name }) => name),
    first,
  );
  assert.ok(
    first!.some((name) => name.startsWith("head/")) && first!.some((name) => /LSTM\d/.test(name)),
    String(first),
  );
});
