/** Metrics as sums over samples (core/metric-sums.ts), and which of them go with which loss, label and output. */
import type { Tensor } from "@tensorflow/tfjs";
import { topKOf } from "../core/compile.ts";
import { LockstepError } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import { aucBuckets, mostMacroClasses, ofClasses } from "../core/metric-sums.ts";
import type { TensorFlow } from "../ports/engine.ts";
import { indices, inShapeOf, type LossChoice, lossOfSamples, meanOverSample, oneHotOf, totalOf } from "./losses.ts";

/** The sums of a metric over the samples, in the order of `sumNamesOf`: a scalar where it is one, else [sums]. */
export function sumsOfMetric(tf: TensorFlow, metric: string, job: LossChoice, given: Tensor, output: Tensor): Tensor {
  const { loss } = job;
  const sparse = isSparse(loss, given.shape, output.shape);
  const kind = sparse ? "sparseCategoricalCrossentropy" : loss;
  const label = inShapeOf(output, given, kind);
  const k = topKOf(metric);
  if (k !== null) return totalOf(meanOverSample(amongLargest(tf, k, classesOf(sparse, label, output), output)));
  switch (metric) {
    case "accuracy":
      return totalOf(meanOverSample(accuracy(tf, job, sparse, label, output)));
    case "binaryAccuracy":
      return totalOf(meanOverSample(sameSide(tf, job, label, output)));
    case "categoricalAccuracy":
    case "sparseCategoricalAccuracy":
      return totalOf(meanOverSample(sameClass(tf, sparse, label, output)));
    case "meanSquaredError":
    case "meanAbsoluteError":
      return totalOf(lossOfSamples(tf, plain(metric), label, output));
    case "rootMeanSquaredError":
      return totalOf(lossOfSamples(tf, plain("meanSquaredError"), label, output));
    case "perplexity": {
      const { labelSmoothing: _, ...settings } = job.lossSettings;
      return totalOf(lossOfSamples(tf, { ...job, lossSettings: settings }, label, output));
    }
    case "precision":
    case "recall":
    case "f1": {
      const [labelled, predicted] = [isYes(job, label), saysYes(job, output)];
      return tf.stack([labelled.mul(predicted), predicted, labelled].map(totalOf));
    }
    case "auc":
      return histogram(tf, isYes(job, label), probabilities(job, output));
    default: {
      const labelled = oneHotOf(tf, classesOf(sparse, label, output).toInt(), output);
      const predicted = oneHotOf(tf, output.argMax(-1).toInt(), output);
      return tf.concat([labelled.mul(predicted), predicted, labelled].map((values) => values.sum(0)));
    }
  }
}

function plain(loss: "meanSquaredError" | "meanAbsoluteError"): LossChoice {
  return { loss, lossSettings: {}, customLoss: null };
}

/** Whether labels are class numbers: as the loss has it; where it is the job's own, as the shapes have it. */
function isSparse(loss: Job["loss"], label: readonly number[], output: readonly (number | null)[]): boolean {
  if (loss !== "custom") return loss === "sparseCategoricalCrossentropy";
  const size = (shape: readonly (number | null)[]) => shape.slice(1).reduce<number>((a, b) => a * (b ?? 1), 1);
  return size(label) !== size(output);
}

/**
 * What `compile({ metrics: ["accuracy"] })` of TensorFlow.js makes of the name: single outputs, and all outputs of
 * binaryCrossentropy, are compared as yes or no; of several, the largest is what counts. Keras' "accuracy" goes by the
 * shapes alone, so that the two differ for binaryCrossentropy with several outputs.
 */
function accuracy(tf: TensorFlow, job: LossChoice, sparse: boolean, label: Tensor, output: Tensor): Tensor {
  if (isYesOrNo(job.loss) || output.shape.at(-1) === 1) return sameSide(tf, job, label, output);
  return sameClass(tf, sparse, label, output);
}

function isYesOrNo(loss: Job["loss"]): boolean {
  return loss === "binaryCrossentropy" || loss === "hinge";
}

function sameSide(tf: TensorFlow, job: LossChoice, label: Tensor, output: Tensor): Tensor {
  // A hinge's labels may be −1 and 1.
  const yes = job.loss === "hinge" ? isYes(job, label) : label;
  return tf.equal(yes, saysYes(job, output)).toFloat();
}

function sameClass(tf: TensorFlow, sparse: boolean, label: Tensor, output: Tensor): Tensor {
  return tf.equal(classesOf(sparse, label, output), output.argMax(-1)).toFloat();
}

function classesOf(sparse: boolean, label: Tensor, output: Tensor): Tensor {
  return sparse ? indices(label, output) : label.argMax(-1);
}

/** 1 where the model says yes: above 0.5, or above 0 where it gives no probabilities. */
function saysYes({ loss, lossSettings }: LossChoice, output: Tensor): Tensor {
  return output.greater(loss === "hinge" || lossSettings.fromLogits ? 0 : 0.5).toFloat();
}

function isYes({ loss }: LossChoice, label: Tensor): Tensor {
  return label.greater(loss === "hinge" ? 0 : 0.5).toFloat();
}

function probabilities({ lossSettings }: LossChoice, output: Tensor): Tensor {
  return lossSettings.fromLogits ? output.sigmoid() : output;
}

/** Fewer than k outputs are larger than the class's own: equals count for it, as in TensorFlow's `in_top_k`. */
function amongLargest(tf: TensorFlow, k: number, classes: Tensor, output: Tensor): Tensor {
  const flat = output.reshape([-1, output.shape.at(-1)!]);
  const own = flat.mul(oneHotOf(tf, classes.toInt(), output)).sum(-1, true);
  const rank = flat.greater(own).toFloat().sum(-1);
  return rank.less(k).toFloat().reshape(output.shape.slice(0, -1));
}

/** How many outputs lie in each bucket, of those labelled yes, and of the others. A bucket is above its lower end. */
function histogram(tf: TensorFlow, yes: Tensor, probability: Tensor): Tensor {
  const flat = probability.flatten();
  const bucket = flat
    .mul(aucBuckets)
    .ceil()
    .sub(1)
    .clipByValue(0, aucBuckets - 1);
  const counted = tf.oneHot(bucket.toInt() as Parameters<TensorFlow["oneHot"]>[0], aucBuckets).toFloat();
  const positive = counted.mul(yes.reshape([-1, 1])).sum(0);
  return tf.concat([positive, counted.sum(0).sub(positive)]);
}

/** Refuses a metric that does not go with the loss, the label and the model's output; all shapes are one sample's. */
export function checkMetrics(
  { loss, metrics }: Pick<Job, "loss" | "metrics">,
  label: readonly number[],
  output: readonly (number | null)[],
): void {
  const sparse = isSparse(loss, [1, ...label], [1, ...output]);
  for (const metric of metrics) {
    const problem = problemOf(metric, { loss, sparse, classes: output.at(-1) ?? 1 });
    if (problem === null) continue;
    throw new LockstepError("invalid-job", `The metric ${metric} ${problem[0]}.`, { hint: problem[1] });
  }
}

interface Outputs {
  readonly loss: Job["loss"];
  /** Whether labels are class numbers. */
  readonly sparse: boolean;
  readonly classes: number;
}

/** What is in the way of a metric, and what to do. */
function problemOf(metric: string, { loss, sparse, classes }: Outputs): readonly [string, string] | null {
  const oneHotHint = "Leave the metric out, or use oneHot() and categoricalCrossentropy.";
  if (metric === "accuracy") return null;
  if (metric === "perplexity") {
    if (/^(sparseC|c)ategoricalCrossentropy$/.test(loss)) return null;
    return [
      `is the exponential of a cross-entropy between classes, but the loss is ${loss}`,
      "Use it with categoricalCrossentropy or sparseCategoricalCrossentropy.",
    ];
  }
  if (ofClasses(metric)) return problemOfClasses(metric, { loss, sparse, classes });
  if (sparse) {
    return [
      `compares the output with a label of its shape, but ${loss} has class numbers`,
      hintFor(metric, oneHotHint),
    ];
  }
  if (!/^(precision|recall|f1|auc)$/.test(metric)) return null;
  if (classes > 1 && !isYesOrNo(loss) && loss !== "custom") {
    return [`goes by yes or no, but the model has ${classes} outputs for ${loss}`, hintFor(metric, oneHotHint)];
  }
  if (metric === "auc" && loss === "hinge") {
    return ["goes by probabilities, which hinge does not have", "Use binaryCrossentropy."];
  }
  return null;
}

function hintFor(metric: string, otherwise: string): string {
  if (metric === "binaryAccuracy") return 'Use "accuracy".';
  const macro = { precision: "macroPrecision", recall: "macroRecall", f1: "macroF1" }[metric];
  return macro ? `Use "${macro}", the mean over the classes.` : otherwise;
}

function problemOfClasses(metric: string, { loss, sparse, classes }: Outputs): readonly [string, string] | null {
  if (classes < 2 || isYesOrNo(loss)) {
    const micro = { macroPrecision: "precision", macroRecall: "recall", macroF1: "f1" }[metric];
    return [
      `compares several classes, of which one is right, but the model has ${classes} output${classes === 1 ? "" : "s"} for ${loss}`,
      `Use "${micro ?? "accuracy"}".`,
    ];
  }
  const k = topKOf(metric);
  if (k !== null && k >= classes) {
    return [`would always be 1, as there are ${classes} classes`, `Use topK with a number below ${classes}.`];
  }
  if (metric.startsWith("macro") && classes > mostMacroClasses) {
    return [`is counted for ${mostMacroClasses} classes at most, and the model has ${classes}`, "Leave it out."];
  }
  if (metric === "sparseCategoricalAccuracy" && !sparse) {
    return [`wants class numbers for labels, but ${loss} has one number for each class`, 'Use "categoricalAccuracy".'];
  }
  if (metric === "categoricalAccuracy" && sparse) {
    return [`wants labels of the output's shape, but ${loss} has class numbers`, 'Use "sparseCategoricalAccuracy".'];
  }
  return null;
}
