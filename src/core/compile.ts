/** What a job's `compile` may say of its loss and its metrics. */
import type * as tfjs from "@tensorflow/tfjs";

type TensorFlow = typeof tfjs;
export type Tensor = tfjs.Tensor;

export const lossNames = [
  "categoricalCrossentropy",
  "sparseCategoricalCrossentropy",
  "binaryCrossentropy",
  "meanSquaredError",
  "meanAbsoluteError",
  "huber",
  "logCosh",
  "kullbackLeiblerDivergence",
  "hinge",
] as const;
export type LossName = (typeof lossNames)[number];

/** What a loss can be told besides its name; each belongs to some of them. */
export interface LossSettings {
  /** Of the cross-entropies: the model's outputs are logits, without softmax or sigmoid. */
  readonly fromLogits?: boolean;
  /** Of the cross-entropies: this part of each label, from 0 to below 1, is spread evenly over all classes. */
  readonly labelSmoothing?: number;
  /** Of huber: from this error on it grows linearly. Default 1. */
  readonly delta?: number;
}

export type LossDefinition = LossName | ({ readonly kind: LossName } & LossSettings) | CustomLoss;

/**
 * The loss of each sample, of shape [count], as a function of the pre-processed labels and the model's outputs, both
 * [count, …]. One sample's loss may depend on nothing but that sample.
 */
export type CustomLoss = (tf: TensorFlow, labels: Tensor, predictions: Tensor) => Tensor;

/** What one output of a model that has several is trained for. */
export interface OutputDefinition {
  readonly loss: LossDefinition;
  /** What its loss is multiplied by where the outputs' losses are added up. Default 1. */
  readonly lossWeight?: number;
  readonly metrics?: readonly MetricName[];
}

/** With every default filled in. */
export interface OutputRule {
  /** Of the layer that gives it. */
  readonly name: string;
  readonly loss: LossName | "custom";
  readonly lossSettings: LossSettings;
  readonly customLoss: CustomLoss | null;
  readonly lossWeight: number;
  readonly metrics: readonly string[];
}

/** Under what names an output's loss and metrics are told, as in Keras. */
export function metricsOfOutput({ name, metrics }: OutputRule): readonly string[] {
  return ["loss", ...metrics].map((metric) => `${name}_${metric}`);
}

/** Everything between a batch and its loss. */
export type StepFunction = (context: StepContext) => StepResult;

export interface StepContext {
  readonly tf: TensorFlow;
  readonly model: tfjs.LayersModel;
  /** Both are [count, …], after pre-processing. */
  readonly batch: { readonly features: Tensor; readonly label: Tensor };
  /** False while validating. To be handed on: `model.apply(batch.features, { training })`. */
  readonly training: boolean;
}

export interface StepResult {
  /** Of each sample: [count]. */
  readonly loss: Tensor;
  /** By the names that `compile.metrics` lists, each [count]; what is shown is the mean over all samples. */
  readonly metrics?: Readonly<Record<string, Tensor>>;
}

/**
 * "accuracy" is what TensorFlow.js' `compile` makes of it: of single outputs, and of all outputs of binaryCrossentropy,
 * whether they are on the label's side of 0.5; else whether the largest output is the label's class.
 */
export const metricNames = [
  "accuracy",
  "meanSquaredError",
  "meanAbsoluteError",
  "binaryAccuracy",
  "categoricalAccuracy",
  "sparseCategoricalAccuracy",
  "rootMeanSquaredError",
  "precision",
  "recall",
  "f1",
  "macroPrecision",
  "macroRecall",
  "macroF1",
  "auc",
  "perplexity",
] as const;

/** `top5Accuracy` is what `topK(5)` gives: the label's class is among the five largest outputs. */
export type MetricName = (typeof metricNames)[number] | `top${number}Accuracy`;

/** k of `topKAccuracy`; null for any other name. */
export function topKOf(metric: string): number | null {
  const digits = /^top([1-9]\d{0,5})Accuracy$/.exec(metric)?.[1];
  return digits === undefined ? null : Number(digits);
}

export function isMetricName(name: string): name is MetricName {
  return metricNames.some((known) => known === name) || topKOf(name) !== null;
}

/**
 * What "auto" means: whether more or less of a metric is better. Null for a name that only the job knows.
 * @param outputs of the job, whose names are in front of their metrics'
 */
export function betterOf(name: string, outputs: readonly OutputRule[] | null): "min" | "max" | null {
  const output = outputs?.find((one) => metricsOfOutput(one).includes(name));
  const metric = output ? name.slice(output.name.length + 1) : name;
  if (metric === "loss" || metric === "perplexity" || /^(root)?mean(Squared|Absolute)Error$/i.test(metric))
    return "min";
  return isMetricName(metric) ? "max" : null;
}
