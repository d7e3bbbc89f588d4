/** Checks a job's `checkpoint`: what is best, when checkpoints are written, and how many are kept. */
import {
  type Check,
  fieldsOf,
  finiteNumber,
  flag,
  positive,
  isPlainObject,
  joined,
  notNegative,
  oneOf,
  optional,
  type Range,
  wholeNumber,
  wrongField,
} from "./field-checks.ts";
import { betterOf } from "./compile.ts";
import type { EarlyStopping } from "./early-stopping.ts";
import type { CheckpointRule, Job, SaveFrequency } from "./job.ts";
import type { KeepRule } from "./retention.ts";
import { monitorOf } from "./monitor-validation.ts";

export const checkpointFields = [
  "saveFreq",
  "saveWeightsOnly",
  "keep",
  "saveBestOnly",
  "monitor",
  "mode",
  "minDelta",
  "initialValueThreshold",
  "earlyStopping",
];

const example = '{ monitor, mode, … }, as in { monitor: "val_loss", mode: "min" }';

const anyNumber: Range = { words: "a number", contains: () => true };

/** `whereItBelongs` names the place of a field that stands here by mistake. */
export function checkpointRule(
  value: unknown,
  job: Pick<Job, "metrics" | "outputs" | "validation">,
  whereItBelongs: (name: string) => string | null,
): CheckpointRule {
  const fields = fieldsOf(value ?? {}, "checkpoint", checkpointFields, example, whereItBelongs);
  const monitor =
    optional(fields.monitor, "checkpoint.monitor", (name, path) => monitorOf(name, path, job)) ??
    (job.validation === null ? "loss" : "val_loss");
  const bestOnly = optional(fields.saveBestOnly, "checkpoint.saveBestOnly", flag) ?? false;
  if (fields.saveWeightsOnly !== undefined && fields.saveWeightsOnly !== false) {
    throw wrongField(
      "checkpoint.saveWeightsOnly",
      fields.saveWeightsOnly,
      "false, or nothing: a run goes on from its checkpoints, so they hold the optimizer's state too",
      "The weights alone are a file of their own in each of them, weights.safetensors.",
    );
  }
  return {
    monitor,
    mode: modeOf(fields.mode, monitor, job.outputs),
    minDelta: optional(fields.minDelta, "checkpoint.minDelta", finiteNumber(notNegative)) ?? 0,
    initialValueThreshold:
      optional(fields.initialValueThreshold, "checkpoint.initialValueThreshold", finiteNumber(anyNumber)) ?? null,
    keep: keepRule(fields.keep, bestOnly),
    saveFreq: optional(fields.saveFreq, "checkpoint.saveFreq", (value) => saveFrequency(value, bestOnly)) ?? "epoch",
    earlyStopping: optional(fields.earlyStopping, "checkpoint.earlyStopping", earlyStopping) ?? null,
  };
}

function modeOf(value: unknown, monitor: string, outputs: Job["outputs"]): "min" | "max" {
  const mode = optional(value, "checkpoint.mode", oneOf<"min" | "max" | "auto">(["min", "max", "auto"])) ?? "auto";
  if (mode !== "auto") return mode;
  const known = betterOf(monitor.replace(/^val_/, ""), outputs);
  if (known) return known;
  throw wrongField("checkpoint.mode", value, `"min" or "max": nobody knows whether more or less ${monitor} is better`);
}

/** More saves than a run needs to go on from are the contrary of `saveBestOnly`. */
function saveFrequency(value: unknown, bestOnly: boolean): SaveFrequency {
  const path = "checkpoint.saveFreq";
  if (value === "epoch") return value;
  const expected = '"epoch", { steps } or { minutes }, as in { steps: 100 }';
  const hint = typeof value === "number" ? `Write { steps: ${value} }.` : undefined;
  if (!isPlainObject(value)) throw wrongField(path, value, expected, hint);
  const { steps, minutes } = fieldsOf(value, path, ["steps", "minutes"], expected);
  if ((steps === undefined) === (minutes === undefined)) throw wrongField(path, value, expected);
  if (bestOnly) {
    throw wrongField(path, value, '"epoch", or nothing, since saveBestOnly writes no more than best and latest need');
  }
  if (steps !== undefined) return { steps: wholeNumber(1)(steps, joined(path, "steps")) };
  return { minutes: finiteNumber(positive)(minutes, joined(path, "minutes")) };
}

/** With `saveBestOnly` only `latest` is kept beside what is best: a run could not go on without it. */
function keepRule(value: unknown, bestOnly: boolean): KeepRule {
  const path = "checkpoint.keep";
  const expected = "{ last, best, everyHours }, as in { last: 3, best: 2 }";
  const hint = typeof value === "number" ? `Write { last: ${value} }.` : undefined;
  if (value !== undefined && !isPlainObject(value)) throw wrongField(path, value, expected, hint);
  const { last, best, everyHours } = fieldsOf(value ?? {}, path, ["last", "best", "everyHours"], expected);
  const count = (field: unknown, name: string) => optional(field, joined(path, name), wholeNumber(1));
  const rule = {
    last: count(last, "last") ?? (bestOnly ? 1 : 2),
    best: count(best, "best") ?? 1,
    everyHours: optional(everyHours, joined(path, "everyHours"), finiteNumber(positive)) ?? null,
  };
  const [name, other] = rule.last > 1 ? ["last", last] : ["everyHours", everyHours];
  if (bestOnly && other !== undefined) {
    throw wrongField(joined(path, name), other, "none, since saveBestOnly keeps nothing but best and latest");
  }
  return rule;
}

const stoppingFields = ["patience", "minDelta", "restoreBest", "startFromEpoch"];

const earlyStopping: Check<EarlyStopping> = (value, path) => {
  const expected = "{ patience, … }, as in { patience: 5 }";
  const hint = typeof value === "number" ? `Write { patience: ${value} }.` : undefined;
  if (!isPlainObject(value)) throw wrongField(path, value, expected, hint);
  const fields = fieldsOf(value, path, stoppingFields, expected);
  const at = (name: string) => joined(path, name);
  if (fields.restoreBest !== undefined && fields.restoreBest !== true) {
    throw wrongField(
      at("restoreBest"),
      fields.restoreBest,
      "true, or nothing: latest always has the last epoch's weights, best the best ones, and the report is made with best",
    );
  }
  return {
    patience: wholeNumber(0)(fields.patience, at("patience")),
    minDelta: optional(fields.minDelta, at("minDelta"), finiteNumber(notNegative)) ?? 0,
    startFromEpoch: optional(fields.startFromEpoch, at("startFromEpoch"), wholeNumber(0)) ?? 0,
  };
};
