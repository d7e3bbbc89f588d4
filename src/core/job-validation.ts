/** Checks a job file's default export, field by field, before anything starts, and fills in the defaults. */
import { type Callbacks, callbackNames } from "./callbacks.ts";
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
  wholeNumber,
  written,
  wrongField,
} from "./field-checks.ts";
import {
  type Clip,
  type DataSource,
  type Job,
  type JobDefinition,
  type LossName,
  lossNames,
  type MetricName,
  metricNames,
  type OptimizerDefinition,
} from "./job.ts";
import { checkpointFields, checkpointRule } from "./checkpoint-validation.ts";
import { learningRateOf } from "./learning-rate-validation.ts";
import { nearestName } from "./nearest-name.ts";
import { type JobSettings, noSettings, paramsOf, type ParamValues, withFields } from "./settings.ts";
import { dataSource, testSource, withMissing } from "./source-validation.ts";
import { hasTransform } from "./transform-definition.ts";
import { transformList } from "./transform-validation.ts";
import { validationFields, validationRule } from "./validation-split.ts";
import { wireFormats } from "./wire.ts";

const jobFields = [
  "name",
  "seed",
  "data",
  "preprocess",
  "validation",
  "model",
  "compile",
  "checkpoint",
  "batchSize",
  "epochs",
  "wire",
  "test",
  "report",
  "callbacks",
];
const sectionFields: Readonly<Record<string, readonly string[]>> = {
  preprocess: ["features", "label"],
  validation: validationFields,
  compile: ["optimizer", "loss", "metrics", "clip"],
  checkpoint: checkpointFields,
};

/** What a job may be called, in words: the name becomes a folder, a part of etcd keys and a Kubernetes label. */
export const jobNameRule =
  'up to 63 letters, digits, "-", "_" and ".", the first and the last of them a letter or a digit';

export function isJobName(name: string): boolean {
  return /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(name);
}

/**
 * The job with every default filled in, with its parameters and fields as the settings say. The first wrong field is an error
 * "invalid-job" that names it by its path; a setting that there cannot be is "usage".
 */
export function validateJob(exported: unknown, settings: JobSettings = noSettings): Job {
  const { definition, params } = definitionOf(exported, settings);
  const job = fieldsOf(withFields(definition, settings.set), "", jobFields, "a job", whereItBelongs);
  const name = jobName(job.name, "name");
  const seed = optional(job.seed, "seed", wholeNumber(0)) ?? 0;
  const written = dataSource(job.data, "data");
  const preprocess = optionalSection(job.preprocess, "preprocess", "{ features, label }, each a transform or a list");
  const features = transformList(preprocess.features, "preprocess.features");
  const label = transformList(preprocess.label, "preprocess.label", { of: "label", data: written });
  // Whoever fills in what is missing need not say that something may be.
  const read = <Source extends DataSource>(source: Source) =>
    hasTransform(features, ["impute"]) ? withMissing(source) : source;
  const data = read(written);
  const validation = validationRule(job.validation, data, read);
  const model = modelFunction(job.model, "model");
  const compile = fieldsOf(job.compile, "compile", sectionFields.compile!, compileExpected, whereItBelongs);
  const metrics = metricList(compile.metrics, "compile.metrics");
  return {
    name,
    seed,
    data,
    preprocess: { features, label },
    validation,
    model,
    optimizer: optimizerDefinition(compile.optimizer, "compile.optimizer", { metrics, validation }),
    clip: optional(compile.clip, "compile.clip", clip) ?? null,
    loss: oneOf<LossName>(lossNames, tensorFlowNames)(compile.loss, "compile.loss"),
    metrics,
    checkpoint: checkpointRule(job.checkpoint, { metrics, validation }, whereItBelongs),
    batchSize: wholeNumber(1)(job.batchSize, "batchSize"),
    epochs: wholeNumber(1)(job.epochs, "epochs"),
    wire: optional(job.wire, "wire", oneOf(wireFormats)) ?? "float32",
    test: job.test === undefined ? null : read(testSource(job.test, "test", data)),
    report: optional(job.report, "report", reportFunction) ?? null,
    callbacks: optional(job.callbacks, "callbacks", callbackFunctions) ?? null,
    settings,
    params,
  };
}

/** A job is written out, or made by a function of its parameters. */
function definitionOf(
  value: unknown,
  { params }: JobSettings,
): { readonly definition: Readonly<Record<string, unknown>>; readonly params: ParamValues | null } {
  const expected = "a job, as defineJob({ … }) returns it";
  if (!isPlainObject(value)) throw wrongField("The default export", value, expected);
  const { defaults, make } = value;
  if (!isPlainObject(defaults) || typeof make !== "function") {
    paramsOf({}, params);
    return { definition: value, params: null };
  }
  for (const [name, one] of Object.entries(defaults)) {
    if (typeof one === "number" ? Number.isFinite(one) : typeof one === "string" || typeof one === "boolean") continue;
    throw wrongField(`The parameter ${name}`, one, "a finite number, a text, true or false as its default");
  }
  const values = paramsOf(defaults as ParamValues, params); // checked
  const definition: unknown = make(values);
  if (!isPlainObject(definition)) throw wrongField("What the function of the parameters returns", definition, "a job");
  return { definition, params: values };
}

const compileExpected =
  '{ optimizer, loss, metrics }, as in { optimizer: { kind: "adam", learningRate: 0.001 }, loss: "meanSquaredError" }';

/** Where a field that stands in the wrong object should stand. */
function whereItBelongs(name: string): string | null {
  for (const [section, names] of Object.entries(sectionFields)) {
    if (names.includes(name)) return `It belongs inside ${section}: write ${section}: { ${name}: … }.`;
  }
  return jobFields.includes(name) ? `It belongs to the job itself, beside "compile" and "data".` : null;
}

function optionalSection(value: unknown, path: string, expected: string): Readonly<Record<string, unknown>> {
  return value === undefined ? {} : fieldsOf(value, path, sectionFields[path]!, expected, whereItBelongs);
}

const jobName: Check<string> = (value, path) => {
  if (typeof value === "string" && isJobName(value)) return value;
  throw wrongField(path, value, jobNameRule);
};

// The three functions below: `typeof` proves "function" and no more; how it is called, no check can see beforehand.
const modelFunction: Check<JobDefinition["model"]> = (value, path) => {
  if (typeof value === "function") return value as JobDefinition["model"];
  const hint = "The model is built anew in every worker, so write the function that builds it.";
  throw wrongField(path, value, "a function (tf, shapes) => model", value === undefined ? undefined : hint);
};

const reportFunction: Check<NonNullable<JobDefinition["report"]>> = (value, path) => {
  if (typeof value === "function") return value as NonNullable<JobDefinition["report"]>;
  throw wrongField(path, value, "a function (context) => text");
};

const callbackFunctions: Check<Callbacks> = (value, path) => {
  const fields = fieldsOf(value, path, callbackNames, "{ onEpochEnd, onBest, onFinish }, each a function");
  for (const name of callbackNames) {
    if (fields[name] === undefined || typeof fields[name] === "function") continue;
    throw wrongField(joined(path, name), fields[name], "a function (event) => …");
  }
  return fields as Callbacks; // see modelFunction
};

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
};

function metricList(value: unknown, path: string): readonly MetricName[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) {
    const hint = typeof value === "string" ? `Write [${written(value)}].` : undefined;
    throw wrongField(path, value, `a list of ${listed(metricNames)}`, hint);
  }
  return value.map((item, index) => {
    const name = oneOf<MetricName>(metricNames, tensorFlowNames)(item, `${path}[${index}]`);
    if (value.indexOf(item) < index) throw wrongField(`${path}[${index}]`, item, "each metric once");
    return name;
  });
}
