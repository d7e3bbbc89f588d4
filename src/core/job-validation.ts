/** Checks a job file's default export, field by field, before anything starts, and fills in the defaults. */
import { type Callbacks, callbackNames } from "./callbacks.ts";
import { augmentationList } from "./augmentation.ts";
import {
  type Check,
  fieldsOf,
  filledText,
  isPlainObject,
  joined,
  oneOf,
  optional,
  wholeNumber,
  wrongField,
} from "./field-checks.ts";
import type { DataSource, Job, JobDefinition } from "./job.ts";
import { checkpointFields, checkpointRule } from "./checkpoint-validation.ts";
import { classWeight, compileFields, compileSection } from "./compile-validation.ts";
import { withOwnMode } from "./learning-rate-validation.ts";
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
  "augment",
  "validation",
  "model",
  "initialWeights",
  "compile",
  "classWeight",
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
  compile: compileFields,
  checkpoint: checkpointFields,
};

/** What a job may be called, in words: the name becomes a folder, a part of etcd keys and a Kubernetes label. */
const jobNameRule = 'up to 63 letters, digits, "-", "_" and ".", the first and the last of them a letter or a digit';

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
  const compile = compileSection(job.compile, validation, whereItBelongs);
  const { metrics, outputs } = compile;
  const checkpoint = checkpointRule(job.checkpoint, { metrics, outputs, validation }, whereItBelongs);
  return {
    name,
    seed,
    data,
    preprocess: { features, label },
    augment: optional(job.augment, "augment", augmentationList) ?? [],
    validation,
    model,
    initialWeights: optional(job.initialWeights, "initialWeights", filledText("a path")) ?? null,
    ...compile,
    optimizer: withOwnMode(compile.optimizer, checkpoint, outputs),
    classWeight: optional(job.classWeight, "classWeight", (value, path) => classWeight(value, path, outputs)) ?? null,
    checkpoint,
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
