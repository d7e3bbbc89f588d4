/** Metrics and losses against plain loops over the whole set that are written down here, however the set is cut. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LossName, LossSettings, MetricName } from "../../src/core/compile.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { metricsOf, sumNamesOf } from "../../src/core/metric-sums.ts";
import { RandomStream } from "../../src/core/random.ts";
import { sumTree } from "../../src/core/reduce-tree.ts";
import { slice } from "../../src/core/sampler.ts";
import type { Job } from "../../src/core/job.ts";
import type { Engine, TensorFlow } from "../../src/ports/engine.ts";
import { type LossChoice, lossOfSamples } from "../../src/runtime/losses.ts";
import { checkMetrics, sumsOfMetric } from "../../src/runtime/metrics.ts";
import { testEngine } from "../fixtures/engine.ts";
import { TrainingProgram } from "../../src/runtime/training-program.ts";
import { points, pointsJob, train, withReading } from "../fixtures/trainers.ts";

type Rows = readonly (readonly number[])[];

const samples = 61;
const classes = 5;
const random = new RandomStream(21, "report");

/** Sixteenths, so that many are equal. Nothing predicts class 3; class 4 neither occurs nor is predicted. */
const scores: Rows = Array.from({ length: samples }, () =>
  Array.from({ length: classes }, (_, i) => (i < 3 ? random.nextBelow(16) : 0) / 16),
);
const labels = Array.from({ length: samples }, () => random.nextBelow(4));
const oneHot: Rows = labels.map((label) => Array.from({ length: classes }, (_, i) => (i === label ? 1 : 0)));
/** One output: 0, 1 and 0.5 are among them. */
const chances: Rows = Array.from({ length: samples }, () => [random.nextBelow(17) / 16]);
const answers: Rows = chances.map(([chance]) => [random.nextBelow(17) / 16 < chance! ? 1 : 0]);

function chosen(loss: LossChoice["loss"], lossSettings: LossSettings = {}): LossChoice {
  return { loss, lossSettings, customLoss: null };
}

/** As the trainer adds it up: each shard in two batches, float64 from batch to batch, and the tree over the shards. */
function measured(
  tf: TensorFlow,
  metric: string,
  { loss, label, output, shards }: { loss: LossChoice; label: Rows; output: Rows; shards: number },
): number {
  const names = sumNamesOf(metric, output[0]!.length);
  const batchSums = (begin: number, end: number): Float64Array => {
    if (begin === end) return new Float64Array(names.length);
    const part = (rows: Rows) => tf.tensor2d(rows.slice(begin, end) as number[][]);
    // Class numbers come without a dimension of their own.
    const given = label[0]!.length === 1 && output[0]!.length > 1 ? part(label).flatten() : part(label);
    const sums = sumsOfMetric(tf, metric, loss, given, part(output));
    assert.equal(sums.size, names.length);
    return Float64Array.from(sums.dataSync());
  };
  const added = (a: Float64Array, b: Float64Array) => a.map((value, i) => value + b[i]!);
  const total = sumTree<Float64Array>(
    { begin: 0, end: shards },
    ({ begin, end }) => {
      if (end - begin > 1) return "descend";
      const range = slice(label.length, shards, begin);
      const middle = (range.begin + range.end) >> 1;
      return added(batchSums(range.begin, middle), batchSums(middle, range.end));
    },
    added,
  );
  const totals = Object.fromEntries(names.map((name, i) => [name, total![i]!]));
  return metricsOf(totals, label.length)[metric]!;
}

const largest = (row: readonly number[]) => row.indexOf(Math.max(...row));
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const share = (hits: readonly boolean[]) => mean(hits.map(Number));
const flat = (rows: Rows) => rows.flat();

function countsOf(yes: readonly boolean[], said: readonly boolean[]) {
  const right = yes.filter((value, i) => value && said[i]).length;
  return { right, yes: yes.filter(Boolean).length, said: said.filter(Boolean).length };
}

function binaryRates(yes: readonly boolean[], said: readonly boolean[]) {
  const counts = countsOf(yes, said);
  const precision = counts.said === 0 ? 0 : counts.right / counts.said;
  const recall = counts.yes === 0 ? 0 : counts.right / counts.yes;
  return { precision, recall, f1: precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall) };
}

/** Over the classes that are labelled or predicted. */
function macro(rate: "precision" | "recall" | "f1"): number {
  const said = scores.map(largest);
  const present = [...new Set([...labels, ...said])];
  return mean(
    present.map(
      (one) =>
        binaryRates(
          labels.map((label) => label === one),
          said.map((label) => label === one),
        )[rate],
    ),
  );
}

/** Keras': 200 thresholds, from below 0 to above 1, and the trapezoids between them. */
function areaUnderCurve(yes: readonly boolean[], chance: readonly number[]): number {
  const thresholds = Array.from({ length: 200 }, (_, i) => (i === 0 ? -1e-7 : i === 199 ? 1 + 1e-7 : i / 199));
  const rate = (threshold: number, of: boolean) => {
    const all = chance.filter((_, i) => yes[i] === of);
    return all.length === 0 ? 0 : share(all.map((value) => value > threshold));
  };
  let area = 0;
  for (let i = 0; i + 1 < thresholds.length; i++) {
    const [from, to] = [thresholds[i]!, thresholds[i + 1]!];
    area += ((rate(from, false) - rate(to, false)) * (rate(from, true) + rate(to, true))) / 2;
  }
  return area;
}

const top = (k: number) => share(scores.map((row, i) => row.filter((score) => score > row[labels[i]!]!).length < k));
const yes = flat(answers).map((answer) => answer === 1);
const said = flat(chances).map((chance) => chance > 0.5);
const manyYes = flat(oneHot).map((value) => value === 1);
const manySaid = flat(scores).map((value) => value > 0.5);
const differences = flat(answers).map((answer, i) => answer - flat(chances)[i]!);
const entropies = scores.map((row, i) => {
  const sum = row.reduce((a, b) => a + b, 0);
  return -Math.log(Math.min(1 - 1e-7, Math.max(1e-7, row[labels[i]!]! / sum)));
});

const softmax = { loss: chosen("categoricalCrossentropy"), label: oneHot, output: scores };
const numbered = {
  loss: chosen("sparseCategoricalCrossentropy"),
  label: labels.map((label) => [label]),
  output: scores,
};
const single = { loss: chosen("binaryCrossentropy"), label: answers, output: chances };
const several = { loss: chosen("binaryCrossentropy"), label: oneHot, output: scores };
const logits = {
  loss: chosen("binaryCrossentropy", { fromLogits: true }),
  label: answers,
  output: chances.map(([chance]) => [chance! - 0.5]),
};
const none = { ...single, label: answers.map(() => [0]) };
const sigmoid = (value: number) => 1 / (1 + Math.exp(-value));

const cases: readonly [string, string, Omit<Parameters<typeof measured>[2], "shards">, number][] = [
  ["accuracy", "accuracy", softmax, share(scores.map((row, i) => largest(row) === labels[i]))],
  ["of class numbers", "accuracy", numbered, share(scores.map((row, i) => largest(row) === labels[i]))],
  ["", "categoricalAccuracy", softmax, share(scores.map((row, i) => largest(row) === labels[i]))],
  ["", "sparseCategoricalAccuracy", numbered, share(scores.map((row, i) => largest(row) === labels[i]))],
  ["", "binaryAccuracy", single, share(yes.map((value, i) => value === said[i]))],
  ["with ties", "top2Accuracy", softmax, top(2)],
  ["of class numbers", "top3Accuracy", numbered, top(3)],
  ["", "precision", single, binaryRates(yes, said).precision],
  ["", "recall", single, binaryRates(yes, said).recall],
  ["", "f1", single, binaryRates(yes, said).f1],
  ["of several outputs", "f1", several, binaryRates(manyYes, manySaid).f1],
  ["of logits", "precision", logits, binaryRates(yes, said).precision],
  ["without any yes", "precision", none, 0],
  ["without any yes", "recall", none, 0],
  ["without any yes", "f1", none, 0],
  ["", "macroPrecision", softmax, macro("precision")],
  ["of class numbers", "macroRecall", numbered, macro("recall")],
  ["", "macroF1", softmax, macro("f1")],
  ["", "auc", single, areaUnderCurve(yes, flat(chances))],
  ["of several outputs", "auc", several, areaUnderCurve(manyYes, flat(scores))],
  ["of logits", "auc", logits, areaUnderCurve(yes, flat(logits.output).map(sigmoid))],
  ["without any yes", "auc", none, 0],
  ["", "meanAbsoluteError", single, mean(differences.map(Math.abs))],
  ["", "meanSquaredError", single, mean(differences.map((value) => value ** 2))],
  ["", "rootMeanSquaredError", single, Math.sqrt(mean(differences.map((value) => value ** 2)))],
  ["", "perplexity", softmax, Math.exp(mean(entropies))],
  [
    "whatever is smoothed",
    "perplexity",
    { ...numbered, loss: chosen("sparseCategoricalCrossentropy", { labelSmoothing: 0.2 }) },
    Math.exp(mean(entropies)),
  ],
];

test("a metric is the whole set's, for any number of shards, with ties and with empty classes", async () => {
  const { tf } = await testEngine();
  // A row of zeros has no softmax: it would be divided by 0.
  assert.ok(scores.every((row) => row.some((score) => score > 0)));
  for (const [what, metric, given, expected] of cases) {
    for (const shards of [1, 3, 8, 64]) {
      const value = measured(tf, metric, { ...given, shards });
      const off = Math.abs(value - expected);
      assert.ok(
        off <= 1e-6 * Math.max(1, expected),
        `${metric} ${what}: ${value} on ${shards} shards, expected ${expected}`,
      );
    }
  }
});

/** The sums of steps and of validation, over batches of several sizes. */
function programSums(engine: Engine, job: Job, { label, output }: { label: Rows; output: Rows }) {
  // Class numbers come without a dimension of their own.
  const labelShape = label[0]!.length === 1 && output[0]!.length > 1 ? [] : [label[0]!.length];
  const program = new TrainingProgram(engine, job, { features: [output[0]!.length], label: labelShape });
  const row = new Float32Array(program.weightCount);
  return [7, label.length, 7].flatMap((count) => {
    const first = (rows: Rows) => Float32Array.from(flat(rows.slice(0, count)));
    const batch = { count, features: first(output), label: first(label) };
    return (["gradients", "validation"] as const).map((part) => {
      const sums = new Float64Array(program.sumNames.length);
      const random = new RandomStream(1, "step");
      if (part === "gradients") program.gradients(batch, random, row, sums);
      else program.validate(batch, random, sums);
      return { part, count, sums: Object.fromEntries(program.sumNames.map((name, i) => [name, sums[i]!])) };
    });
  });
}

test("a recorded step, and recorded validation, count every metric as their ops do, the buckets of auc one by one", async (context) => {
  if ((await testEngine()).description.kind !== "native") return context.skip("this machine has no native engine");
  const opByOp = await testEngine({ fresh: true });
  const recorded = await testEngine({ fresh: true });
  const bySource = new Map(cases.map(([, , source]) => [source, cases.filter(([, , given]) => given === source)]));
  for (const [source, some] of bySource) {
    const job = pointsJob({
      // Its output is what it is given: sixteenths, of which some lie on a bucket's end.
      model: (tf, { features: [units] }) => {
        const kernelInitializer = tf.initializers.identity({ gain: 1 });
        const dense = { units: units!, inputShape: [units!], useBias: false, kernelInitializer };
        return tf.sequential({ layers: [tf.layers.dense(dense)] });
      },
      compile: {
        optimizer: { kind: "sgd", learningRate: 0.1 },
        loss: { kind: source.loss.loss as LossName, ...source.loss.lossSettings },
        metrics: some.map(([, metric]) => metric as MetricName),
      },
    });
    const found = programSums(recorded, job, source);
    const wanted = programSums(opByOp, withReading(job), source);
    for (const [i, { part, count, sums }] of wanted.entries()) {
      for (const [name, sum] of Object.entries(sums)) {
        const off = Math.abs(found[i]!.sums[name]! - sum);
        // Counts are whole numbers: they are equal.
        assert.ok(
          off <= 1e-5 * Math.max(1, sum),
          `${name} of ${part} with ${count}: ${found[i]!.sums[name]}, not ${sum}`,
        );
      }
      if (count < samples) continue;
      const values = metricsOf(found[i]!.sums, samples);
      for (const [what, metric, , expected] of some) {
        const off = Math.abs(values[metric]! - expected);
        assert.ok(
          off <= 1e-5 * Math.max(1, expected),
          `${metric} ${what} of ${part}: ${values[metric]}, not ${expected}`,
        );
      }
    }
  }
  assert.deepEqual([recorded.description.step, opByOp.description.step], ["recorded", "op-by-op"]);
});

const numbers: Rows = [
  [0.2, -3, 0.5],
  [1.5, 0, -0.25],
];
const targets: Rows = [
  [0, 1, 0],
  [1, 0, 0],
];
const each = (f: (label: number, output: number) => number): number[] =>
  targets.map((row, i) => mean(row.map((label, j) => f(label, numbers[i]![j]!))));
const crossEntropyOfLogits = (smooth: number) =>
  targets.map((row, i) => {
    const whole = numbers[i]!.reduce((sum, value) => sum + Math.exp(value), 0);
    const part = (label: number) => label * (1 - smooth) + smooth / 3;
    return -row.reduce((sum, label, j) => sum + part(label) * Math.log(Math.exp(numbers[i]![j]!) / whole), 0);
  });

const lossCases: readonly [LossName, LossSettings, readonly number[]][] = [
  ["huber", {}, each((y, x) => (Math.abs(x - y) <= 1 ? 0.5 * (x - y) ** 2 : Math.abs(x - y) - 0.5))],
  [
    "huber",
    { delta: 0.25 },
    each((y, x) => (Math.abs(x - y) <= 0.25 ? 0.5 * (x - y) ** 2 : 0.25 * Math.abs(x - y) - 0.5 * 0.25 ** 2)),
  ],
  ["logCosh", {}, each((y, x) => Math.log(Math.cosh(x - y)))],
  ["hinge", {}, each((y, x) => Math.max(0, 1 - (y > 0 ? 1 : -1) * x))],
  [
    "kullbackLeiblerDivergence",
    {},
    targets.map((row, i) =>
      row.reduce((sum, label, j) => {
        const [y, x] = [label, numbers[i]![j]!].map((value) => Math.min(1, Math.max(1e-7, value)));
        return sum + y! * Math.log(y! / x!);
      }, 0),
    ),
  ],
  ["categoricalCrossentropy", { fromLogits: true }, crossEntropyOfLogits(0)],
  ["categoricalCrossentropy", { fromLogits: true, labelSmoothing: 0.1 }, crossEntropyOfLogits(0.1)],
  [
    "binaryCrossentropy",
    { fromLogits: true, labelSmoothing: 0.2 },
    each((y, x) => {
      const label = y * 0.8 + 0.1;
      return -label * Math.log(sigmoid(x)) - (1 - label) * Math.log(1 - sigmoid(x));
    }),
  ],
];

test("losses are Keras' formulas, one number a sample", async () => {
  const { tf } = await testEngine();
  for (const [loss, settings, expected] of lossCases) {
    const [label, output] = [tf.tensor2d(targets as number[][]), tf.tensor2d(numbers as number[][])];
    const values = lossOfSamples(tf, chosen(loss, settings), label, output).dataSync();
    assert.equal(values.length, expected.length);
    for (const [i, value] of values.entries()) {
      const off = Math.abs(value - expected[i]!) / Math.max(1, Math.abs(expected[i]!));
      assert.ok(off < 1e-5, `${loss} ${JSON.stringify(settings)}: ${value}, expected ${expected[i]}`);
    }
  }
  const far = lossOfSamples(tf, chosen("logCosh"), tf.zeros([1, 1]), tf.fill([1, 1], 1e4)).dataSync()[0]!;
  assert.ok(Math.abs(far - (1e4 - Math.LN2)) < 1, "a large error does not overflow");
});

test("a metric that does not go with loss, label or outputs is refused with what to use", () => {
  const refused = (metric: string, loss: LossChoice["loss"], label: readonly number[], output: readonly number[]) => {
    try {
      checkMetrics({ loss, metrics: [metric] }, label, output);
    } catch (error) {
      assert.ok(error instanceof LockstepError && error.code === "invalid-job");
      return `${error.message} ${error.hint}`;
    }
    return "accepted";
  };
  assert.match(refused("precision", "categoricalCrossentropy", [3], [3]), /has 3 outputs .*"macroPrecision"/);
  assert.match(refused("macroF1", "binaryCrossentropy", [], [1]), /has 1 output for .*"f1"/);
  assert.match(refused("top3Accuracy", "categoricalCrossentropy", [3], [3]), /always be 1/);
  assert.match(refused("perplexity", "meanSquaredError", [3], [3]), /exponential of a cross-entropy/);
  assert.match(refused("auc", "hinge", [], [1]), /probabilities/);
  assert.match(refused("sparseCategoricalAccuracy", "categoricalCrossentropy", [3], [3]), /"categoricalAccuracy"/);
  assert.match(refused("categoricalAccuracy", "sparseCategoricalCrossentropy", [], [3]), /"sparseCategoricalAccuracy"/);
  assert.match(refused("meanSquaredError", "sparseCategoricalCrossentropy", [], [3]), /has class numbers/);
  assert.match(refused("macroRecall", "sparseCategoricalCrossentropy", [], [1001]), /1000 classes at most/);
  assert.equal(refused("macroRecall", "sparseCategoricalCrossentropy", [], [1000]), "accepted");
  assert.equal(refused("precision", "binaryCrossentropy", [3], [3]), "accepted");
});

test("promise 1: metrics made of many sums are the same bits for every number of workers", async () => {
  const job = pointsJob({
    compile: {
      optimizer: { kind: "sgd", learningRate: 0.05 },
      loss: { kind: "categoricalCrossentropy", labelSmoothing: 0.1 },
      metrics: ["accuracy", "macroF1", "top2Accuracy", "perplexity", "rootMeanSquaredError"],
    },
    epochs: 1,
  });
  const alone = await train(job, points(103), { shards: 6, workers: 1, epochs: 1 });
  const together = await train(job, points(103), { shards: 6, workers: 3, epochs: 1 });
  assert.equal(together.digest, alone.digest);
  assert.deepEqual(together.progress, alone.progress);
  const { metrics } = alone.progress.history[0]!;
  const names = ["loss", "accuracy", "macroF1", "top2Accuracy", "perplexity", "rootMeanSquaredError"];
  assert.deepEqual(Object.keys(metrics).sort(), [...names, ...names.map((name) => `val_${name}`)].sort());
  for (const [name, value] of Object.entries(metrics))
    assert.ok(Number.isFinite(value) && value > 0, `${name}: ${value}`);
});
