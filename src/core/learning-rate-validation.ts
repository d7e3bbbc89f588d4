/** Checks `compile.optimizer.learningRate`: a number, or a schedule. */
import {
  betweenZeroAndOne,
  type Check,
  fieldsOf,
  finiteNumber,
  isPlainObject,
  joined,
  notNegative,
  oneOf,
  optional,
  positive,
  wholeNumber,
  wrongField,
} from "./field-checks.ts";
import { betterOf } from "./compile.ts";
import type { Job, LearningRate, LearningRateSchedule, OptimizerDefinition, Span } from "./job.ts";
import { monitorOf } from "./monitor-validation.ts";

type Kind = LearningRateSchedule["kind"];

const kinds: readonly Kind[] = ["constant", "step", "exponential", "cosine", "plateau"];
const fieldsOfKind: Readonly<Record<Kind, readonly string[]>> = {
  constant: [],
  step: ["factor", "every"],
  exponential: ["factor", "every"],
  cosine: ["final", "over"],
  plateau: ["factor", "patience", "minDelta", "cooldown", "minimum", "monitor", "mode"],
};
const expected = 'a number above 0, or a schedule as { kind: "cosine", initial: 0.001, warmup: { epochs: 1 } }';

export function learningRateOf(value: unknown, path: string, job: Pick<Job, "metrics" | "validation">): LearningRate {
  if (!isPlainObject(value)) {
    if (typeof value !== "number") throw wrongField(path, value, expected);
    return finiteNumber(positive)(value, path);
  }
  const at = (name: string) => joined(path, name);
  const kind = oneOf(kinds, keras)(value.kind, at("kind"));
  const fields = fieldsOf(value, path, ["kind", "initial", "warmup", ...fieldsOfKind[kind]], expected);
  const initial = finiteNumber(positive)(fields.initial, at("initial"));
  const warmup = optional(fields.warmup, at("warmup"), span);
  const common = { initial, ...(warmup === undefined ? {} : { warmup }) };
  switch (kind) {
    case "constant":
      return { kind, ...common };
    case "step":
    case "exponential":
      return {
        ...{ kind, ...common },
        factor: finiteNumber(positive)(fields.factor, at("factor")),
        every: span(fields.every, at("every")),
      };
    case "cosine":
      return {
        ...{ kind, ...common },
        ...given({
          final: optional(fields.final, at("final"), finiteNumber(notNegative)),
          over: optional(fields.over, at("over"), span),
        }),
      };
    case "plateau":
      return {
        ...{ kind, ...common },
        ...given({
          factor: optional(fields.factor, at("factor"), finiteNumber(betweenZeroAndOne)),
          patience: optional(fields.patience, at("patience"), wholeNumber(1)),
          minDelta: optional(fields.minDelta, at("minDelta"), finiteNumber(notNegative)),
          cooldown: optional(fields.cooldown, at("cooldown"), wholeNumber(0)),
          minimum: optional(fields.minimum, at("minimum"), finiteNumber(notNegative)),
          monitor: optional(fields.monitor, at("monitor"), (name, place) => monitorOf(name, place, job)),
          mode: optional(fields.mode, at("mode"), oneOf<"min" | "max">(["min", "max"])),
        }),
      };
  }
}

/**
 * A plateau that monitors something else than the checkpoints do takes what is better from its own metric. Where that is what is better
 * of theirs, nothing is filled in: the fingerprints of runs stay as they were.
 */
export function withOwnMode(
  optimizer: OptimizerDefinition,
  checkpoint: Pick<Job["checkpoint"], "monitor" | "mode">,
  outputs: Job["outputs"],
): OptimizerDefinition {
  const { learningRate: rate } = optimizer;
  if (typeof rate === "number" || rate.kind !== "plateau" || rate.mode !== undefined) return optimizer;
  if (rate.monitor === undefined || rate.monitor === checkpoint.monitor) return optimizer;
  const mode = betterOf(rate.monitor.replace(/^val_/, ""), outputs);
  if (mode === null) {
    const expected = `"min" or "max": nobody knows whether more or less ${rate.monitor} is better`;
    throw wrongField("compile.optimizer.learningRate.mode", undefined, expected);
  }
  return mode === checkpoint.mode ? optimizer : { ...optimizer, learningRate: { ...rate, mode } };
}

const span: Check<Span> = (value, path) => {
  const form = "{ steps } or { epochs }, as in { epochs: 5 }";
  const hint = typeof value === "number" ? `Write { steps: ${value} } or { epochs: ${value} }.` : undefined;
  if (!isPlainObject(value)) throw wrongField(path, value, form, hint);
  const fields = fieldsOf(value, path, ["steps", "epochs"], form);
  const { steps, epochs } = fields;
  if ((steps === undefined) === (epochs === undefined)) throw wrongField(path, value, form);
  // Part of an epoch is a length too.
  if (steps === undefined) return { epochs: finiteNumber(positive)(epochs, joined(path, "epochs")) };
  return { steps: wholeNumber(1)(steps, joined(path, "steps")) };
};

/** Names that users of Keras know, for the hint. */
const keras: Readonly<Record<string, string>> = {
  ExponentialDecay: "exponential",
  CosineDecay: "cosine",
  PiecewiseConstantDecay: "step",
  ReduceLROnPlateau: "plateau",
};

/** The fields that are there. */
function given<T extends object>(fields: T): Given<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Given<T>;
}

type Given<T> = { [Name in keyof T]?: Exclude<T[Name], undefined> };
