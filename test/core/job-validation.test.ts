import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LockstepError } from "../../src/core/errors.ts";
import { isJobName, validateJob } from "../../src/core/job-validation.ts";
import { computableMetrics } from "../../src/core/monitor-validation.ts";
import {
  arrow,
  columns,
  csv,
  dataset,
  flip,
  defineJob,
  idx,
  type JobDefinition,
  impute,
  jsonLines,
  npz,
  oneHot,
  parquet,
  reshape,
  scale,
  standardize,
  text,
  tfrecord,
  topK,
  vocabulary,
} from "../../src/index.ts";
import { ruleOf } from "../fixtures/checkpoint-rule.ts";

const model: JobDefinition["model"] = (tf) => tf.sequential();

const smallest = {
  name: "digits",
  data: csv("digits.csv", { label: "Class" }),
  model,
  compile: { optimizer: { kind: "adam", learningRate: 0.001 }, loss: "categoricalCrossentropy" },
  batchSize: 128,
  epochs: 40,
} as const;

/** The smallest job with one field replaced; the path may lead into objects and lists. */
function jobWith(path: string, value: unknown): unknown {
  const steps = path.split(/[.[\]]+/).filter((step) => step !== "");
  const replaced = (target: unknown, [step, ...rest]: string[]): unknown => {
    if (step === undefined) return value;
    const inside = typeof target === "object" && target !== null ? Reflect.get(target, step) : undefined;
    if (Array.isArray(target)) return target.with(Number(step), replaced(inside, rest));
    return { ...(target as object), [step]: replaced(inside, rest) }; // spreading nothing gives {}
  };
  return replaced(smallest, steps);
}

function errorOf(job: unknown): LockstepError {
  try {
    validateJob(job);
  } catch (error) {
    assert(error instanceof LockstepError);
    assert.equal(error.code, "invalid-job");
    return error;
  }
  return assert.fail("the job was accepted");
}

describe("a valid job", () => {
  it("gets every default filled in", () => {
    assert.deepEqual(validateJob(smallest), {
      name: "digits",
      seed: 0,
      data: { kind: "csv", path: "digits.csv", label: "Class" },
      preprocess: { features: [], label: [] },
      augment: [],
      validation: null,
      model,
      optimizer: { kind: "adam", learningRate: 0.001 },
      loss: "categoricalCrossentropy",
      lossSettings: {},
      initialWeights: null,
      customLoss: null,
      step: null,
      outputs: null,
      metrics: [],
      clip: null,
      classWeight: null,
      checkpoint: ruleOf({ monitor: "loss", mode: "min" }),
      batchSize: 128,
      epochs: 40,
      wire: "float32",
      test: null,
      report: null,
      callbacks: null,
      settings: { set: {}, params: {} },
      params: null,
    });
  });

  it("keeps everything it says", () => {
    const report = () => "done";
    const definition = defineJob({
      ...smallest,
      seed: 7,
      data: text("texts/*.txt", { window: 32, stride: 3 }),
      preprocess: { features: [vocabulary(), oneHot()], label: [vocabulary(), reshape([1]), oneHot()] },
      augment: [flip("vertical")],
      validation: { fraction: 0.2, take: "last" },
      compile: {
        clip: { globalNorm: 1 },
        optimizer: { kind: "sgd", learningRate: 0.1, momentum: 0.9, nesterov: true },
        loss: "categoricalCrossentropy",
        metrics: ["accuracy"],
      },
      checkpoint: { monitor: "val_accuracy", mode: "max" },
      wire: "bfloat16",
      test: text(["test.txt"], { window: 32, stride: 1 }),
      report,
    });
    assert.deepEqual(validateJob(definition), {
      name: "digits",
      seed: 7,
      data: { kind: "text", paths: ["texts/*.txt"], window: 32, stride: 3 },
      preprocess: {
        features: [{ kind: "vocabulary" }, { kind: "one-hot" }],
        label: [{ kind: "vocabulary" }, { kind: "reshape", shape: [1] }, { kind: "one-hot" }],
      },
      augment: [{ kind: "flip", direction: "vertical" }],
      validation: { fraction: 0.2, take: "last" },
      model,
      optimizer: { kind: "sgd", learningRate: 0.1, momentum: 0.9, nesterov: true },
      loss: "categoricalCrossentropy",
      lossSettings: {},
      initialWeights: null,
      customLoss: null,
      step: null,
      outputs: null,
      metrics: ["accuracy"],
      clip: { globalNorm: 1 },
      classWeight: null,
      checkpoint: ruleOf({ monitor: "val_accuracy", mode: "max" }),
      batchSize: 128,
      epochs: 40,
      wire: "bfloat16",
      test: { kind: "text", paths: ["test.txt"], window: 32, stride: 1 },
      report,
      callbacks: null,
      settings: { set: {}, params: {} },
      params: null,
    });
  });

  it("knows whether more or less is better of every metric it computes", () => {
    const metrics = ["accuracy", "meanSquaredError", "meanAbsoluteError", topK(5), "perplexity", "macroF1", "auc"];
    const modes = ["loss", "val_loss", ...metrics, "val_rootMeanSquaredError"].map((monitor) => {
      const compile = { ...smallest.compile, metrics: [...metrics, "rootMeanSquaredError"] };
      const checkpoint = { monitor, mode: "auto" };
      return validateJob({ ...smallest, compile, validation: { fraction: 0.5 }, checkpoint }).checkpoint.mode;
    });
    assert.deepEqual(modes, ["min", "min", "max", "min", "min", "max", "min", "max", "max", "min"]);
  });

  it("has a plateau with a monitor of its own go by what is better of that, and not of the checkpoint's", () => {
    const rateOf = (checkpoint: object, schedule: object) => {
      const optimizer = { kind: "adam", learningRate: { kind: "plateau", initial: 1, ...schedule } };
      const compile = { ...smallest.compile, metrics: ["accuracy"], optimizer };
      return validateJob({ ...smallest, compile, validation: { fraction: 0.5 }, checkpoint }).optimizer.learningRate;
    };
    const [byAccuracy, byLoss] = [{ monitor: "val_accuracy" }, { monitor: "val_loss" }];
    const plateau = { kind: "plateau", initial: 1 };
    assert.deepEqual(rateOf(byAccuracy, byLoss), { ...plateau, ...byLoss, mode: "min" });
    assert.deepEqual(rateOf(byLoss, byAccuracy), { ...plateau, ...byAccuracy, mode: "max" });
    assert.deepEqual(rateOf(byAccuracy, { ...byLoss, mode: "max" }), { ...plateau, ...byLoss, mode: "max" });
    // What a run has in its record already stays as it is where it means the same.
    assert.deepEqual(rateOf(byLoss, { monitor: "loss" }), { ...plateau, monitor: "loss" });
    assert.deepEqual(rateOf(byAccuracy, {}), plateau);
  });

  it("refuses classWeight beside several outputs, since nobody knows whose classes it names", () => {
    const compile = { optimizer: smallest.compile.optimizer, outputs: { y: { loss: "huber" } } };
    const { message } = errorOf({ ...smallest, compile, classWeight: "balanced" });
    assert.equal(
      message,
      'classWeight is "balanced"; expected none beside compile.outputs, of which each may have classes of its own.',
    );
  });

  it("asks what is better of a metric of the job's own that a plateau monitors", () => {
    const learningRate = { kind: "plateau", initial: 1, monitor: "distance" };
    const step = () => ({ loss: {} });
    const compile = { optimizer: { kind: "adam", learningRate }, step, metrics: ["distance"] };
    const { message } = errorOf({ ...smallest, compile, checkpoint: { monitor: "loss" } });
    assert.equal(
      message,
      'compile.optimizer.learningRate.mode is missing; expected "min" or "max": nobody knows whether more or less distance is better.',
    );
  });

  it("keeps best, latest and the one before it by default, and with saveBestOnly not even that one", () => {
    const keepOf = (checkpoint: object) => validateJob({ ...smallest, checkpoint }).checkpoint.keep;
    assert.deepEqual(keepOf({}), { last: 2, best: 1, everyHours: null });
    assert.deepEqual(keepOf({ saveBestOnly: true }), { last: 1, best: 1, everyHours: null });
    assert.deepEqual(keepOf({ saveBestOnly: true, keep: { best: 3 } }), { last: 1, best: 3, everyHours: null });
    assert.deepEqual(keepOf({ keep: { last: 5, everyHours: 0.5 } }), { last: 5, best: 1, everyHours: 0.5 });
  });

  it("follows val_loss by default where it has a validation split", () => {
    const job = validateJob({ ...smallest, validation: { fraction: 0.5 } });
    assert.deepEqual(job.checkpoint, ruleOf({ monitor: "val_loss", mode: "min" }));
    assert.deepEqual(job.validation, { fraction: 0.5, take: "random" });
  });

  it("may hold back groups of every kind of table, and of nothing else", () => {
    const named = { features: ["x"], label: "y" };
    const validation = { fraction: 0.5, column: "patient" };
    const sources = [csv("a", { label: "y" }), jsonLines({ path: "a", ...named })];
    for (const data of [...sources, parquet("a", named), arrow("a", named), tfrecord("a", named)]) {
      const job = validateJob({ ...smallest, data, validation });
      assert.deepEqual(job.validation, { fraction: 0.5, by: "group", column: "patient" });
    }
    assert.throws(() => validateJob({ ...smallest, data: text("a", { window: 1, stride: 1 }), validation }), {
      message:
        'validation.column is "patient"; expected it for the columns of csv(), jsonLines(), parquet(), arrow() or tfrecord().',
      hint: "Other data have no columns: leave column out, or hold back rows: [from, to].",
    });
  });

  it("may say `undefined` for whatever may be left out", () => {
    const undefinedFields = { seed: undefined, preprocess: undefined, validation: undefined, test: undefined };
    assert.deepEqual(validateJob({ ...smallest, ...undefinedFields, report: undefined }), validateJob(smallest));
  });

  for (const optimizer of [
    { kind: "sgd", learningRate: 1e-6 },
    { kind: "rmsprop", learningRate: 1, rho: 0, epsilon: 1e-9 },
    { kind: "adagrad", learningRate: 0.5, initialAccumulator: 0, epsilon: 1 },
    { kind: "adam", learningRate: 0.5, beta1: 0, beta2: 0.9999, epsilon: 1e-8, weightDecay: 0 },
  ]) {
    it(`takes every setting of ${optimizer.kind}`, () => {
      assert.deepEqual(validateJob(jobWith("compile.optimizer", optimizer)).optimizer, optimizer);
    });
  }

  it("computes loss and metrics, and with validation those of the validation split", () => {
    const metrics = ["accuracy"] as const;
    assert.deepEqual(computableMetrics({ metrics, validation: null }), ["loss", "accuracy"]);
    assert.deepEqual(computableMetrics({ metrics, validation: { fraction: 0.1, take: "last" } }), [
      "loss",
      "accuracy",
      "val_loss",
      "val_accuracy",
    ]);
  });

  for (const [name, isName] of [
    ["a", true],
    ["digits-2.final_B", true],
    ["x".repeat(63), true],
    ["x".repeat(64), false],
    ["", false],
    [".", false],
    ["..", false],
    [".hidden", false],
    ["-flag", false],
    ["end-", false],
    ["a/b", false],
    ["a b", false],
    ["ä", false],
    ["a\n", false],
  ] as const) {
    it(`${isName ? "may" : "may not"} be named ${JSON.stringify(name)}`, () => assert.equal(isJobName(name), isName));
  }
});

it("a metric of one of several outputs is meant by its own name", () => {
  const outputs = { kind: { loss: "categoricalCrossentropy", metrics: ["accuracy"] } };
  const compile = { optimizer: smallest.compile.optimizer, outputs };
  const job = { ...smallest, validation: { fraction: 0.5 }, compile };
  assert.equal(errorOf({ ...job, checkpoint: { monitor: "val_accuracy" } }).hint, 'Did you mean "val_kind_accuracy"?');
  assert.equal(errorOf({ ...job, checkpoint: { monitor: "accuracy" } }).hint, 'Did you mean "kind_accuracy"?');
  assert.equal(validateJob({ ...job, checkpoint: { monitor: "val_kind_accuracy" } }).checkpoint.mode, "max");
});

describe("a wrong field is named with its path, its value and what was expected", () => {
  const wholeFromOne = "expected a whole number, 1 or more.";
  const fromZeroToBelowOne = "expected a number from 0 to below 1.";
  const { optimizer } = smallest.compile;
  const cases: readonly [path: string, value: unknown, message: string, hint?: string][] = [
    ["name", undefined, "name is missing; expected up to 63 letters,"],
    ["name", "my job", 'name is "my job"; expected up to 63 letters, digits, "-", "_" and "."'],
    ["name", 7, "name is 7; expected"],
    ["seed", -1, "seed is -1; expected a whole number, 0 or more."],
    ["seed", 1.5, "seed is 1.5; expected a whole number, 0 or more."],
    ["seed", 2 ** 53, "seed is 9007199254740992; expected a whole number"],
    ["seed", 10n, "seed is 10n; expected a whole number"],
    ["seed", null, "seed is null; expected a whole number"],
    ["data", undefined, 'data is missing; expected csv("file.csv", { label: "column" })'],
    ["data", "digits.csv", 'data is "digits.csv"; expected csv(', 'Write csv("digits.csv", { label: "column" }).'],
    [
      "data.kind",
      "tsv",
      'data.kind is "tsv"; expected "csv", "text", "idx", "npy", "npz", "json-lines", "dataset", "parquet", "arrow", "tfrecord", "images" or "cifar".',
      'Did you mean "csv"?',
    ],
    ["data.path", "", 'data.path is ""; expected the path of a file.'],
    ["data.label", undefined, "data.label is missing; expected the header of the column to predict."],
    ["data.lable", "Class", "data.lable is not a field that data has.", 'Did you mean "label"?'],
    [
      "data",
      { kind: "text", paths: [], window: 4, stride: 1 },
      "data.paths is []; expected a list of one or more paths.",
    ],
    [
      "data",
      { kind: "text", paths: ["a", 1], window: 4, stride: 1 },
      "data.paths[1] is 1; expected the path of a file.",
    ],
    ["data", text("a", { window: 0, stride: 1 }), `data.window is 0; ${wholeFromOne}`],
    ["data", text("a", { window: 8, stride: 0.5 }), `data.stride is 0.5; ${wholeFromOne}`],
    ["data", { ...idx({ features: "a", labels: "b" }), labels: "" }, 'data.labels is ""; expected the path of a file.'],
    [
      "data",
      { kind: "idx", features: "a", label: "b" },
      "data.label is not a field that data has.",
      'Did you mean "labels"?',
    ],
    ["data", { ...idx({ features: "a", labels: "b" }), channels: 1 }, "data.channels is 1; expected true or false."],
    ["data.separator", "|", 'data.separator is "|"; expected ",", ";" or "\\t".'],
    [
      "data",
      { kind: "json-lines", path: "a", features: "x", label: "y" },
      'data.features is "x"; expected a list of one or more names of fields.',
      'Write ["x"].',
    ],
    [
      "data",
      jsonLines({ path: "a", features: ["x", "x"], label: "y" }),
      'data.features[1] is "x"; expected each field once.',
    ],
    [
      "data",
      jsonLines({ path: "a", features: ["x", "y"], label: "y" }),
      'data.features[1] is "y"; expected other fields than the label.',
    ],
    ["data", { kind: "npy", features: "a.npy" }, "data.label is missing; expected the path of a file."],
    [
      "data",
      npz({ path: "a.npz", features: "", label: "y" }),
      'data.features is ""; expected the name of an array in the file.',
    ],
    [
      "data",
      dataset({ name: "a", length: 0, get: () => ({ features: 1, label: 1 }) }),
      "data.length is 0; expected a whole number, from 1 to 4294967295.",
    ],
    ["data", { kind: "dataset", name: "a", length: 1, get: [] }, "data.get is []; expected a function"],
    [
      "data",
      { kind: "dataset", name: "a", length: 1, get: String, features: [0] },
      "data.features[0] is 0; expected a whole number, 1 or more.",
    ],
    ["test", text("a", { window: 8, stride: 1 }), 'test.kind is "text"; expected "csv", as in data.'],
    ["test", csv("", { label: "y" }), 'test.path is ""; expected the path of a file.'],
    ["preprocess", scale(2), "preprocess.kind is not a field that preprocess has.", "Its fields are features, label."],
    ["preprocess", "scale", 'preprocess is "scale"; expected { features, label }'],
    ["preprocess.features", scale(0), "preprocess.features.factor is 0; expected a number other than 0."],
    [
      "preprocess.features",
      [standardize(), scale(Number.NaN)],
      "preprocess.features[1].factor is NaN; expected a number",
    ],
    [
      "preprocess.features",
      scale,
      "preprocess.features is the function scale; expected scale(factor),",
      "Call it: scale().",
    ],
    ["preprocess.label", "one-hot", 'preprocess.label is "one-hot"; expected scale(factor),'],
    [
      "preprocess.label",
      { kind: "onehot" },
      'preprocess.label.kind is "onehot"; expected "scale",',
      'Did you mean "one-hot"?',
    ],
    ["preprocess.label", oneHot(1), "preprocess.label.classes is 1; expected a whole number, 2 or more."],
    [
      "preprocess.label",
      oneHot(),
      "preprocess.label.classes is missing; expected how many",
      "Write oneHot(10) for the values",
    ],
    ["preprocess.label", [vocabulary(), scale(2), oneHot()], "preprocess.label[2].classes is missing"],
    ["preprocess.features", reshape([8, 0]), `preprocess.features.shape[1] is 0; ${wholeFromOne}`],
    [
      "preprocess.features",
      { kind: "reshape", shape: 64 },
      "preprocess.features.shape is 64; expected a list of sizes",
    ],
    [
      "preprocess.features",
      { ...scale(2), classes: 3 },
      "preprocess.features.classes is not a field that preprocess.features has.",
    ],
    [
      "validation",
      0.2,
      "validation is 0.2; expected { fraction }, { fraction, take }, { fraction, stratify: true }, { fraction, column }, { rows: [from, to] }, { files } or { data }.",
      "Write validation: { fraction: 0.2 }.",
    ],
    ["validation", { rows: [0, 3], fraction: 0.2 }, "validation.fraction is 0.2; expected nothing beside rows."],
    ["validation", { rows: [3, 3] }, "validation.rows[1] is 3; expected a whole number, 4 or more."],
    [
      "validation",
      { data: text("a", { window: 1, stride: 1 }) },
      'validation.data.kind is "text"; expected "csv", as in data.',
    ],
    ["validation", { files: [] }, "validation.files is []; expected one or more paths."],
    [
      "validation",
      { fraction: 0.2, stratify: true, take: "last" },
      'validation.take is "last"; expected "random", since stratify draws from every class.',
    ],
    [
      "data",
      csv("a", { label: "y", columns: { x: "words" as "category" } }),
      'data.columns.x is "words"; expected "category", "number",',
      'Write { kind: "words", length: 100 }',
    ],
    [
      "data",
      csv("a", { label: "y", columns: { y: { kind: "words", length: 3 } } }),
      'data.columns.y is "words"; expected "category" or "number", since a label is one value.',
    ],
    [
      "data",
      parquet("a", { features: ["x"], label: "y", columns: { city: "category" } }),
      'data.columns.city is "category"; expected only the label and features: "y" or "x".',
    ],
    [
      "data",
      arrow("a", { features: ["x"], label: "y", columns: { w: "category" }, weight: "w" }),
      'data.columns.w is "category"; expected only the label and features',
    ],
    [
      "data",
      tfrecord("a", { features: ["x"], label: "y", columns: { y: { kind: "characters", length: 3 } } }),
      'data.columns.y is "characters"; expected "category" or "number", since a label is one value.',
    ],
    ["data", csv("a", { label: "y", ignore: ["y"] }), 'data.ignore[0] is "y"; expected a column that is not used.'],
    [
      "data",
      csv("a", { label: "y", missing: "NA" as never }),
      'data.missing is "NA"; expected a list of texts',
      'Write ["NA"].',
    ],
    ["preprocess.label", columns({}), "preprocess.label is { kind:"],
    ["preprocess.features", columns({ a: scale(0) }), "preprocess.features.columns.a[0].factor is 0; expected"],
    [
      "preprocess.features",
      impute("mode" as "mean"),
      'preprocess.features.with is "mode"; expected',
      'Did you mean "mostFrequent"?',
    ],
    ["validation.fraction", undefined, "validation.fraction is missing; expected a number above 0 and below 1."],
    ["validation.fraction", 0, "validation.fraction is 0; expected a number above 0 and below 1."],
    ["validation.fraction", 1, "validation.fraction is 1; expected a number above 0 and below 1."],
    ["validation.fraction", "0.2", 'validation.fraction is "0.2"; expected', "Write the number without quotes: 0.2."],
    ["validation", { fraction: 0.2, take: "end" }, 'validation.take is "end"; expected "random" or "last".'],
    ["model", undefined, "model is missing; expected a function (tf, shapes) => model."],
    [
      "model",
      new Map(),
      "model is an object of class Map; expected a function",
      "The model is built anew in every worker",
    ],
    ["compile", undefined, "compile is missing; expected { optimizer, loss, metrics }"],
    ["compile.epochs", 4, "compile.epochs is not a field that compile has.", "It belongs to the job itself"],
    ["compile.optimizer", undefined, "compile.optimizer is missing; expected { kind, learningRate, … }"],
    [
      "compile.optimizer",
      "adam",
      'compile.optimizer is "adam"; expected',
      'Write { kind: "adam", learningRate: 0.001 }.',
    ],
    ["compile.optimizer.kind", "adamw", 'compile.optimizer.kind is "adamw"; expected "sgd",', 'Did you mean "adam"?'],
    [
      "compile.optimizer.kind",
      "nadamax",
      'compile.optimizer.kind is "nadamax"; expected "sgd", "rmsprop", "adagrad" or "adam".',
    ],
    [
      "compile.optimizer.learningRate",
      undefined,
      "compile.optimizer.learningRate is missing; expected a number above 0, or a schedule",
    ],
    ["compile.optimizer.learningRate", -0.1, "compile.optimizer.learningRate is -0.1; expected a number above 0."],
    ["compile.optimizer.learningRate", 0, "compile.optimizer.learningRate is 0; expected a number above 0."],
    ["compile.optimizer.learningRate", Number.NaN, "compile.optimizer.learningRate is NaN; expected a number above 0."],
    ["compile.optimizer.learningRate", 1 / 0, "compile.optimizer.learningRate is Infinity; expected a number above 0."],
    [
      "compile.optimizer.learningRate",
      () => 0.1,
      "compile.optimizer.learningRate is a function; expected a number above 0, or a schedule",
    ],
    [
      "compile.optimizer.learningRate",
      { kind: "CosineDecay", initial: 1 },
      'compile.optimizer.learningRate.kind is "CosineDecay"; expected "constant",',
      'Did you mean "cosine"?',
    ],
    [
      "compile.optimizer.learningRate",
      { kind: "cosine" },
      "compile.optimizer.learningRate.initial is missing; expected a number above 0.",
    ],
    [
      "compile.optimizer.learningRate",
      { kind: "step", initial: 1, factor: 0.5, every: 10 },
      "compile.optimizer.learningRate.every is 10; expected { steps } or { epochs }",
      "Write { steps: 10 } or { epochs: 10 }.",
    ],
    [
      "compile.optimizer.learningRate",
      { kind: "constant", initial: 1, warmup: { steps: 1, epochs: 1 } },
      "compile.optimizer.learningRate.warmup is {",
    ],
    [
      "compile.optimizer.learningRate",
      { kind: "plateau", initial: 1, monitor: "val_loss" },
      'compile.optimizer.learningRate.monitor is "val_loss"; expected something that this job computes: "loss".',
      'Add validation: { fraction: 0.2 } to the job, or monitor "loss".',
    ],
    [
      "compile.optimizer.learningRate",
      { kind: "exponential", initial: 1, factor: 2, every: { epochs: 1 }, over: { epochs: 2 } },
      "compile.optimizer.learningRate.over is not a field",
    ],
    ["compile.clip", 1, "compile.clip is 1; expected { value } or { globalNorm }"],
    ["compile.clip", { value: 1, globalNorm: 1 }, "compile.clip is {"],
    ["compile.clip", { globalNorm: 0 }, "compile.clip.globalNorm is 0; expected a number above 0."],
    ["compile.optimizer.beta1", 1, `compile.optimizer.beta1 is 1; ${fromZeroToBelowOne}`],
    ["compile.optimizer.beta2", -0.5, `compile.optimizer.beta2 is -0.5; ${fromZeroToBelowOne}`],
    ["compile.optimizer.epsilon", 0, "compile.optimizer.epsilon is 0; expected a number above 0."],
    ["compile.optimizer.weightDecay", -1, "compile.optimizer.weightDecay is -1; expected a number, 0 or more."],
    ["compile.optimizer.momentum", 0.9, "compile.optimizer.momentum is not a field that compile.optimizer has."],
    [
      "compile.optimizer.learningrate",
      1,
      "compile.optimizer.learningrate is not a field",
      'Did you mean "learningRate"?',
    ],
    [
      "compile.optimizer",
      { kind: "sgd", learningRate: 1, nesterov: true },
      "compile.optimizer.momentum is missing; expected a number above 0 and below 1, since nesterov is true.",
    ],
    [
      "compile.optimizer",
      { kind: "sgd", learningRate: 1, nesterov: 1 },
      "compile.optimizer.nesterov is 1; expected true or false.",
    ],
    [
      "compile.optimizer",
      { kind: "sgd", learningRate: 1, momentum: 1 },
      `compile.optimizer.momentum is 1; ${fromZeroToBelowOne}`,
    ],
    [
      "compile.optimizer",
      { kind: "rmsprop", learningRate: 1, rho: 1 },
      `compile.optimizer.rho is 1; ${fromZeroToBelowOne}`,
    ],
    [
      "compile.optimizer",
      { kind: "adagrad", learningRate: 1, initialAccumulator: -1 },
      "compile.optimizer.initialAccumulator is -1; expected a number, 0 or more.",
    ],
    ["compile.loss", undefined, 'compile.loss is missing; expected "categoricalCrossentropy",'],
    ["compile.loss", "mse", 'compile.loss is "mse"; expected', 'Did you mean "meanSquaredError"?'],
    ["compile.loss", "categorical_crossentropy", "compile.loss is", 'Did you mean "categoricalCrossentropy"?'],
    ["compile.loss", { kind: "huber", delta: 0 }, "compile.loss.delta is 0; expected a number above 0."],
    ["compile.loss", { kind: "hinge", delta: 1 }, "compile.loss.delta is not a field that compile.loss has."],
    ["compile.loss", { kind: "binaryCrossentropy", labelSmoothing: 1 }, "compile.loss.labelSmoothing is 1; expected"],
    ["compile.step", () => null, 'compile.loss is "categoricalCrossentropy"; expected none beside compile.step'],
    [
      "compile.outputs",
      { y: { loss: "huber" } },
      'compile.loss is "categoricalCrossentropy"; expected none beside compile.outputs, where each output has its own.',
    ],
    [
      "compile",
      { optimizer, outputs: { y: { loss: "huber" } }, metrics: ["accuracy"] },
      'compile.metrics is ["accuracy"]; expected none beside compile.outputs',
    ],
    [
      "compile",
      { optimizer, outputs: { y: { loss: "huber" } }, step: () => null },
      "compile.step is the function step; expected none beside compile.outputs",
    ],
    ["compile", { optimizer, outputs: {} }, "compile.outputs is {}; expected an object with the loss of each output"],
    [
      "compile",
      { optimizer, outputs: { "a-b": {} } },
      "compile.outputs.a-b is {}; expected the name of an output's layer:",
    ],
    [
      "compile",
      { optimizer, outputs: { val: {} } },
      "compile.outputs.val is {}; expected the name of an output's layer:",
    ],
    ["compile", { optimizer, outputs: { y: {} } }, "compile.outputs.y.loss is missing; expected"],
    [
      "compile",
      { optimizer, outputs: { y: { loss: "mse" } } },
      'compile.outputs.y.loss is "mse"; expected',
      'Did you mean "meanSquaredError"?',
    ],
    [
      "compile",
      { optimizer, outputs: { y: { loss: "huber", lossWeight: 0 } } },
      "compile.outputs.y.lossWeight is 0; expected a number above 0.",
    ],
    [
      "compile",
      { optimizer, outputs: { y: { loss: "huber", metrics: ["acc"] } } },
      'compile.outputs.y.metrics[0] is "acc"; expected',
    ],
    ["compile.metrics", ["top0Accuracy"], 'compile.metrics[0] is "top0Accuracy"; expected'],
    ["compile.metrics", ["AUC"], 'compile.metrics[0] is "AUC"; expected', 'Did you mean "auc"?'],
    ["initialWeights", "", 'initialWeights is ""; expected a path.'],
    ["classWeight", {}, 'classWeight is {}; expected "balanced", or a number for each class'],
    ["classWeight", { spam: 2 }, "classWeight.spam is 2; expected a class's number for its name"],
    ["classWeight", { 0: -1 }, "classWeight.0 is -1; expected a number, 0 or more."],
    ["compile.metrics", "accuracy", 'compile.metrics is "accuracy"; expected a list of', 'Write ["accuracy"].'],
    ["compile.metrics", ["acc"], 'compile.metrics[0] is "acc"; expected "accuracy",', 'Did you mean "accuracy"?'],
    ["compile.metrics", ["accuracy", "accuracy"], 'compile.metrics[1] is "accuracy"; expected each metric once.'],
    [
      "checkpoint",
      { monitor: "val_loss", mode: "min" },
      'checkpoint.monitor is "val_loss"; expected something that this job computes: "loss".',
      'Add validation: { fraction: 0.2 } to the job, or monitor "loss".',
    ],
    [
      "checkpoint",
      { monitor: "accuracy", mode: "max" },
      'checkpoint.monitor is "accuracy"',
      'Add "accuracy" to compile.metrics.',
    ],
    [
      "checkpoint",
      { monitor: "val_accuracy", mode: "max" },
      'checkpoint.monitor is "val_accuracy"',
      'Add "accuracy" to compile.metrics, and validation: { fraction: 0.2 } to the job.',
    ],
    ["checkpoint", { monitor: "los", mode: "min" }, 'checkpoint.monitor is "los"', 'Did you mean "loss"?'],
    ["checkpoint", { mode: "least" }, 'checkpoint.mode is "least"; expected "min", "max" or "auto".'],
    ["checkpoint", { minDelta: -1 }, "checkpoint.minDelta is -1; expected a number, 0 or more."],
    [
      "checkpoint",
      { initialValueThreshold: Number.NaN },
      "checkpoint.initialValueThreshold is NaN; expected a number.",
    ],
    ["checkpoint", { keep: 3 }, "checkpoint.keep is 3; expected { last, best, everyHours }", "Write { last: 3 }."],
    ["checkpoint", { keep: { last: 0 } }, "checkpoint.keep.last is 0; expected a whole number, 1 or more."],
    ["checkpoint", { keep: { everyHours: 0 } }, "checkpoint.keep.everyHours is 0; expected a number above 0."],
    ["checkpoint", { keep: { worst: 1 } }, "checkpoint.keep.worst is not a field that checkpoint.keep has."],
    ["checkpoint", { saveBestOnly: "yes" }, 'checkpoint.saveBestOnly is "yes"; expected true or false.'],
    [
      "checkpoint",
      { saveBestOnly: true, keep: { last: 3 } },
      "checkpoint.keep.last is 3; expected none, since saveBestOnly keeps nothing but best and latest.",
    ],
    [
      "checkpoint",
      { saveBestOnly: true, keep: { everyHours: 2 } },
      "checkpoint.keep.everyHours is 2; expected none, since saveBestOnly keeps nothing but best and latest.",
    ],
    [
      "checkpoint",
      { saveFreq: 100 },
      'checkpoint.saveFreq is 100; expected "epoch", { steps }',
      "Write { steps: 100 }.",
    ],
    ["checkpoint", { saveFreq: { steps: 0 } }, "checkpoint.saveFreq.steps is 0; expected a whole number, 1 or more."],
    ["checkpoint", { saveFreq: { minutes: -1 } }, "checkpoint.saveFreq.minutes is -1; expected a number above 0."],
    ["checkpoint", { saveFreq: { steps: 1, minutes: 1 } }, "checkpoint.saveFreq is { steps: 1, minutes: 1 }; expected"],
    ["checkpoint", { saveFreq: {} }, 'checkpoint.saveFreq is {}; expected "epoch", { steps } or { minutes }'],
    [
      "checkpoint",
      { saveFreq: { steps: 9 }, saveBestOnly: true },
      'checkpoint.saveFreq is { steps: 9 }; expected "epoch", or nothing, since saveBestOnly',
    ],
    [
      "checkpoint",
      { saveWeightsOnly: true },
      "checkpoint.saveWeightsOnly is true; expected false, or nothing: a run goes on from its checkpoints",
      "The weights alone are a file of their own in each of them, weights.safetensors.",
    ],
    ["checkpoint", { earlyStopping: 3 }, "checkpoint.earlyStopping is 3", "Write { patience: 3 }."],
    [
      "checkpoint",
      { earlyStopping: {} },
      "checkpoint.earlyStopping.patience is missing; expected a whole number, 0 or more.",
    ],
    [
      "checkpoint",
      { earlyStopping: { patience: 2, restoreBest: false } },
      "checkpoint.earlyStopping.restoreBest is false; expected true, or nothing: latest always has",
    ],
    [
      "checkpoint",
      { earlyStopping: { patience: 2, restoreBestWeights: true } },
      "checkpoint.earlyStopping.restoreBestWeights is not a field that checkpoint.earlyStopping has.",
    ],
    ["checkpoint", "loss", 'checkpoint is "loss"; expected { monitor, mode, … }'],
    ["batchSize", 0, `batchSize is 0; ${wholeFromOne}`],
    ["batchSize", 12.5, `batchSize is 12.5; ${wholeFromOne}`],
    ["batchSize", "128", `batchSize is "128"; ${wholeFromOne}`, "Write the number without quotes: 128."],
    ["batchSize", undefined, `batchSize is missing; ${wholeFromOne}`],
    ["epochs", -3, `epochs is -3; ${wholeFromOne}`],
    ["epochs", [3], `epochs is [3]; ${wholeFromOne}`],
    ["report", "text", 'report is "text"; expected a function (context) => text.'],
    ["wire", "int8", 'wire is "int8"; expected "float32", "bfloat16" or "float16"'],
    ["batchsize", 4, "batchsize is not a field that a job has.", 'Did you mean "batchSize"?'],
    [
      "optimizer",
      "adam",
      "optimizer is not a field that a job has.",
      "It belongs inside compile: write compile: { optimizer: … }.",
    ],
    ["plugins", [], "plugins is not a field that a job has.", "Its fields are name, seed, data,"],
    ["callbacks", { onEpochStart: () => 0 }, "callbacks.onEpochStart is not a field that callbacks has."],
    ["callbacks", { onBest: "print" }, 'callbacks.onBest is "print"; expected a function (event) => ….'],
  ];
  for (const [path, value, message, hint] of cases) {
    it(message, () => {
      const error = errorOf(jobWith(path, value));
      assert.equal(error.message.slice(0, message.length), message);
      if (hint !== undefined) assert.equal(error.hint?.slice(0, hint.length), hint);
      assert.doesNotMatch(`${error.message} ${error.hint}`, /\n|\[object/);
    });
  }

  it("test.window must be that of data", () => {
    const job = jobWith("data", text("a", { window: 8, stride: 1 }));
    const error = errorOf({ ...Object(job), test: text("b", { window: 9, stride: 1 }) });
    assert.equal(error.message, "test.window is 9; expected 8, as in data.");
  });

  it("a value that is long is shortened", () => {
    assert.match(errorOf(jobWith("batchSize", "x".repeat(500))).message, /^batchSize is "x{50,60}…; expected/);
  });

  for (const [value, message] of [
    [undefined, "The default export is missing; expected a job, as defineJob({ … }) returns it."],
    [null, "The default export is null; expected a job"],
    [() => smallest, "The default export is a function; expected a job"],
    [[smallest], "The default export is [{…}]; expected a job"],
    [Promise.resolve(smallest), "The default export is an object of class Promise; expected a job"],
    [{}, "name is missing; expected"],
  ] as const) {
    it(message, () => assert.equal(errorOf(value).message.slice(0, message.length), message));
  }
});
