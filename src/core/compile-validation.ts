/** Checks a job's `compile`: optimizer, loss, step or outputs, metrics and clipping; and the weights of classes. */
import {
  type Check,
  fieldsOf,
  finiteNumber,
  flag,
  fromZeroToBelowOne,
  isPlainObject,
  joined,
  listed,
  notNegative,
  oneOf,
  optional,
  positive,
  written,
  wrongField,
} from "./field-checks.ts";
import {
  type CustomLoss,
  isMetricName,
  type LossName,
  type LossSettings,
  lossNames,
  metricNames,
  metricsOfOutput,
  type OutputRule,
  type StepFunction,
} from "./compile.ts";
import type { ClassWeight, Clip, Job, OptimizerDefinition } from "./job.ts";
import { learningRateOf } from "./learning-rate-validation.ts";
import { nearestName } from "./nearest-name.ts";

export const compileFields = ["optimizer", "loss", "step", "outputs", "metrics", "clip"];

const compileExpected =
  '{ optimizer, loss, metrics }, as in { optimizer: { kind: "adam", learningRate: 0.001 }, loss: "meanSquaredError" }';

/** What `compile` decides of a job. */
export type Compiled = Pick<
  Job,
  "optimizer" | "clip" | "loss" | "lossSettings" | "customLoss" | "step" | "outputs" | "metrics"
>;

/** `whereItBelongs` names the place of a field that stands here by mistake. */
export function compileSection(
  value: unknown,
  validation: Job["validation"],
  whereItBelongs: (name: string) => string | null,
): Compiled {
  const fields = fieldsOf(value, "compile", compileFields, compileExpected, whereItBelongs);
  const step = optional(fields.step, "compile.step", stepFunction) ?? null;
  if (step !== null && fields.loss !== undefined) {
    throw wrongField("compile.loss", fields.loss, "none beside compile.step, which gives the loss itself");
  }
  const outputs = optional(fields.outputs, "compile.outputs", outputRules) ?? null;
  for (const name of outputs === null ? [] : (["loss", "step", "metrics"] as const)) {
    if (fields[name] === undefined) continue;
    throw wrongField(`compile.${name}`, fields[name], "none beside compile.outputs, where each output has its own");
  }
  const metrics = outputs?.flatMap(metricsOfOutput) ?? metricList(fields.metrics, "compile.metrics", step !== null);
  return {
    optimizer: optimizerDefinition(fields.optimizer, "compile.optimizer", { metrics, validation }),
    clip: optional(fields.clip, "compile.clip", clip) ?? null,
    ...(step === null && outputs === null ? lossOf(fields.loss, "compile.loss") : { ...ownLoss, customLoss: null }),
    step,
    outputs,
    metrics,
  };
}

type OptimizerKind = OptimizerDefinition["kind"];
const optimizerKinds: readonly OptimizerKind[] = ["sgd", "rmsprop", "adagrad", "adam"];
const optimizerFields: Readonly<Record<OptimizerKind, Readonly<Record<string, Check<number | boolean>>>>> = {
  sgd: { momentum: finiteNumber(fromZeroToBelowOne), nesterov: flag },
  rmsprop: { rho: finiteNumber(fromZeroToBelowOne), epsilon: finiteNumber(positive) },
  adagrad: { initialAccumulator: finiteNumber(notNegative), epsilon: finiteNumber(positive) },
  adam: {
    beta1: finiteNumber(fromZeroToBelowOne),
    beta2: finiteNumber(fromZeroToBelowOne),
    epsilon: finiteNumber(positive),
    weightDecay: finiteNumber(notNegative),
  },
};

function optimizerDefinition(
  value: unknown,
  path: string,
  job: Pick<Job, "metrics" | "validation">,
): OptimizerDefinition {
  const expected = '{ kind, learningRate, … }, as in { kind: "adam", learningRate: 0.001 }';
  if (!isPlainObject(value)) {
    const kind = typeof value === "string" ? nearestName(value, optimizerKinds) : null;
    throw wrongField(
      path,
      value,
      expected,
      kind === null ? undefined : `Write { kind: "${kind}", learningRate: 0.001 }.`,
    );
  }
  const kind = oneOf(optimizerKinds, { adamw: "adam", AdamW: "adam" })(value.kind, joined(path, "kind"));
  const checks = optimizerFields[kind];
  const fields = fieldsOf(value, path, ["kind", "learningRate", ...Object.keys(checks)], expected);
  const learningRate = learningRateOf(fields.learningRate, joined(path, "learningRate"), job);
  const settings: Record<string, number | boolean> = {};
  for (const [name, check] of Object.entries(checks)) {
    const setting = optional(fields[name], joined(path, name), check);
    if (setting !== undefined) settings[name] = setting;
  }
  if (settings.nesterov === true && !settings.momentum) {
    throw wrongField(joined(path, "momentum"), fields.momentum, "a number above 0 and below 1, since nesterov is true");
  }
  // The table above has exactly the optional fields of this kind, each checked for its type.
  return { kind, learningRate, ...settings } as OptimizerDefinition;
}

const clip: Check<Clip> = (value, path) => {
  const fields = fieldsOf(value, path, ["value", "globalNorm"], "{ value } or { globalNorm }, as in { globalNorm: 1 }");
  const [name, ...others] = (["value", "globalNorm"] as const).filter((name) => fields[name] !== undefined);
  if (!name || others.length > 0) throw wrongField(path, value, "one of { value } and { globalNorm }");
  const limit = finiteNumber(positive)(fields[name], joined(path, name));
  return name === "value" ? { value: limit } : { globalNorm: limit };
};

/** Names that users of Keras and TensorFlow.js know, for the hint. */
const tensorFlowNames: Readonly<Record<string, string>> = {
  mse: "meanSquaredError",
  MSE: "meanSquaredError",
  mae: "meanAbsoluteError",
  MAE: "meanAbsoluteError",
  rmse: "rootMeanSquaredError",
  RMSE: "rootMeanSquaredError",
  AUC: "auc",
  F1: "f1",
  kld: "kullbackLeiblerDivergence",
  KLDivergence: "kullbackLeiblerDivergence",
  logcosh: "logCosh",
};

const ownLoss = { loss: "custom", lossSettings: {} } as const;

const settingChecks: Readonly<Record<keyof LossSettings, Check<number | boolean>>> = {
  fromLogits: flag,
  labelSmoothing: finiteNumber(fromZeroToBelowOne),
  delta: finiteNumber(positive),
};

/** Which settings a loss has. */
function settingsOf(loss: LossName): readonly (keyof LossSettings)[] {
  if (loss.endsWith("rossentropy")) return ["fromLogits", "labelSmoothing"];
  return loss === "huber" ? ["delta"] : [];
}

function lossOf(value: unknown, path: string): Pick<Job, "loss" | "lossSettings" | "customLoss"> {
  // `typeof` proves "function" and no more; what it gives is looked at when it is called.
  if (typeof value === "function") return { ...ownLoss, customLoss: value as CustomLoss };
  if (!isPlainObject(value)) {
    return { loss: oneOf<LossName>(lossNames, tensorFlowNames)(value, path), lossSettings: {}, customLoss: null };
  }
  const loss = oneOf<LossName>(lossNames, tensorFlowNames)(value.kind, joined(path, "kind"));
  const names = settingsOf(loss);
  const fields = fieldsOf(value, path, ["kind", ...names], `{ ${["kind", ...names].join(", ")} }`);
  const settings: Record<string, number | boolean> = {};
  for (const name of names) {
    const setting = optional(fields[name], joined(path, name), settingChecks[name]);
    // What changes nothing is as if it were left out.
    if (setting !== undefined && setting !== false && setting !== 0) settings[name] = setting;
  }
  return { loss, lossSettings: settings, customLoss: null };
}

const stepFunction: Check<StepFunction> = (value, path) => {
  if (typeof value === "function") return value as StepFunction;
  throw wrongField(path, value, "a function ({ tf, model, batch, training }) => ({ loss, metrics })");
};

const outputRules: Check<readonly OutputRule[]> = (value, path) => {
  const expected = 'an object with the loss of each output, as in { price: { loss: "meanSquaredError" } }';
  if (!isPlainObject(value) || Object.keys(value).length === 0) throw wrongField(path, value, expected);
  return Object.entries(value).map(([name, given]) => {
    const place = joined(path, name);
    if (!isOwnName(name) || name === "val") {
      const names = 'the name of an output\'s layer: letters, digits and "_", a letter first; not "val" or "val_…"';
      throw wrongField(place, given, names);
    }
    const fields = fieldsOf(given, place, ["loss", "lossWeight", "metrics"], "{ loss, lossWeight, metrics }");
    return {
      name,
      ...lossOf(fields.loss, joined(place, "loss")),
      lossWeight: optional(fields.lossWeight, joined(place, "lossWeight"), finiteNumber(positive)) ?? 1,
      metrics: metricList(fields.metrics, joined(place, "metrics"), false),
    };
  });
};

/** @param isOwn whether the job's own step computes them, under names of its own */
function metricList(value: unknown, path: string, isOwn: boolean): readonly string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) {
    const hint = typeof value === "string" ? `Write [${written(value)}].` : undefined;
    throw wrongField(path, value, `a list of ${listed(metricNames)}`, hint);
  }
  return value.map((item: unknown, index) => {
    const name = (isOwn ? ownMetric : knownMetric)(item, `${path}[${index}]`);
    if (value.indexOf(item) < index) throw wrongField(`${path}[${index}]`, item, "each metric once");
    return name;
  });
}

const knownMetric: Check<string> = (value, path) => {
  if (typeof value === "string" && isMetricName(value)) return value;
  if (typeof value === "function") throw wrongField(path, value, "a name; topK is called: topK(5)");
  return oneOf([...metricNames, "topK(k)"], tensorFlowNames)(value, path);
};

const ownMetric: Check<string> = (value, path) => {
  if (typeof value === "string" && isOwnName(value) && !/^(loss|learningRate)$/.test(value)) return value;
  throw wrongField(
    path,
    value,
    'the name of a metric that compile.step gives: letters, digits and "_"; not "loss", "learningRate" or "val_…"',
  );
};

function isOwnName(name: string): boolean {
  return /^[A-Za-z]\w{0,62}$/.test(name) && !name.startsWith("val_");
}

/** How much the samples of each class count. Of several outputs nobody knows whose classes they are. */
export function classWeight(value: unknown, path: string, outputs: Job["outputs"]): ClassWeight {
  if (outputs !== null) {
    const hint = "Give the data a column that says how much each sample counts, and name it as weight.";
    throw wrongField(path, value, "none beside compile.outputs, of which each may have classes of its own", hint);
  }
  if (value === "balanced") return value;
  const expected = '"balanced", or a number for each class, as in { 0: 1, 1: 5 }';
  if (!isPlainObject(value) || Object.keys(value).length === 0) throw wrongField(path, value, expected);
  const weights = Object.entries(value).map(([name, weight]) => {
    if (!/^(0|[1-9]\d{0,8})$/.test(name)) {
      throw wrongField(joined(path, name), weight, "a class's number for its name, from 0 on, after pre-processing");
    }
    return [name, finiteNumber(notNegative)(weight, joined(path, name))] as const;
  });
  return Object.fromEntries(weights);
}
