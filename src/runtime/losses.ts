/** Losses and metrics as one value a sample, so that sums over shards are sums over samples. */
import type { Tensor, Tensor1D, Tensor2D } from "@tensorflow/tfjs";
import { LockstepError, unreachable } from "../core/errors.ts";
import type { Job, LossName, MetricName } from "../core/job.ts";
import type { TensorFlow } from "../ports/engine.ts";

/** Keeps logarithms finite where a probability is 0 or 1. */
const tiny = 1e-7;

/** The loss of each sample, [count]; `label` and `output` are [count, …]. Probabilities in, not logits. */
export function lossOfSamples(tf: TensorFlow, loss: LossName, given: Tensor, output: Tensor): Tensor1D {
  const label = inShapeOf(output, given, loss);
  switch (loss) {
    case "categoricalCrossentropy":
      return meanOverSample(tf.metrics.categoricalCrossentropy(label, output));
    case "sparseCategoricalCrossentropy":
      return meanOverSample(tf.metrics.categoricalCrossentropy(oneHotLabel(tf, label, output), output));
    case "binaryCrossentropy": {
      const probability = output.clipByValue(tiny, 1 - tiny);
      const other = tf.sub(1, probability);
      return meanOverSample(label.mul(probability.log()).add(tf.sub(1, label).mul(other.log())).neg());
    }
    case "meanSquaredError":
      return meanOverSample(output.sub(label).square());
    case "meanAbsoluteError":
      return meanOverSample(output.sub(label).abs());
    default:
      return unreachable(loss);
  }
}

/** The metric of each sample, [count]. */
export function metricOfSamples(
  tf: TensorFlow,
  metric: MetricName,
  loss: LossName,
  label: Tensor,
  output: Tensor,
): Tensor1D {
  switch (metric) {
    case "accuracy":
      return meanOverSample(accuracy(tf, loss, inShapeOf(output, label, loss), output));
    case "meanSquaredError":
    case "meanAbsoluteError":
      return lossOfSamples(tf, metric, label, output);
    default:
      return unreachable(metric);
  }
}

/**
 * What `compile({ metrics: ["accuracy"] })` of TensorFlow.js makes of the name: single outputs, and all outputs of
 * binaryCrossentropy, are compared as yes or no; of several, the largest is what counts. Keras' "accuracy" goes by the
 * shapes alone, so that the two differ for binaryCrossentropy with several outputs.
 */
function accuracy(tf: TensorFlow, loss: LossName, label: Tensor, output: Tensor): Tensor {
  if (loss === "binaryCrossentropy" || output.shape.at(-1) === 1) {
    return tf.equal(label, output.greater(0.5).toFloat()).toFloat();
  }
  const index = loss === "sparseCategoricalCrossentropy" ? indices(label, output) : label.argMax(-1);
  return tf.equal(index, output.argMax(-1)).toFloat();
}

/** A label that has as many values as the output, in the output's shape: [n] beside [n, 1] would be spread over [n, n]. */
function inShapeOf(output: Tensor, label: Tensor, loss: LossName): Tensor {
  const fits = loss === "sparseCategoricalCrossentropy" || label.rank === output.rank;
  return fits ? label : label.reshape(output.shape);
}

function oneHotLabel(tf: TensorFlow, label: Tensor, output: Tensor): Tensor {
  // oneHot wants one dimension; its result gets the output's shape back.
  const classes = output.shape[output.shape.length - 1]!;
  return (tf.oneHot(indices(label, output).flatten(), classes) as Tensor2D).toFloat().reshape(output.shape);
}

/** Class numbers in the output's shape without its last dimension. */
function indices(label: Tensor, output: Tensor): Tensor {
  return label.toInt().reshape(output.shape.slice(0, -1));
}

function meanOverSample(values: Tensor): Tensor1D {
  const count = values.shape[0]!;
  return values.shape.length === 1 ? (values as Tensor1D) : (values.reshape([count, -1]).mean(1) as Tensor1D);
}

/** Refuses a model whose output does not go with the label, before anything starts. */
export function checkOutputShape(
  { loss, metrics }: Pick<Job, "loss" | "metrics">,
  label: readonly number[],
  output: readonly (number | null)[],
): void {
  const other = metrics.find((metric) => metric !== "accuracy");
  if (loss === "sparseCategoricalCrossentropy" && other !== undefined) {
    throw new LockstepError(
      "invalid-job",
      `The metric ${other} compares the output with a label of its shape, but ${loss} has class numbers.`,
      { hint: "Leave the metric out, or use oneHot() and categoricalCrossentropy." },
    );
  }
  const sample = output.slice(1);
  const classes = sample.at(-1) ?? 1;
  if (/ategorical/.test(loss) && classes < 2) {
    throw new LockstepError(
      "invalid-job",
      `The model has ${classes} output for ${loss}, which compares at least two classes.`,
      {
        hint: "Give the last layer one unit for each class, or use binaryCrossentropy or meanSquaredError.",
      },
    );
  }
  const expected = loss === "sparseCategoricalCrossentropy" ? sample.slice(0, -1) : sample;
  const labels = label.length === 0 ? 1 : label.reduce((a, b) => a * b);
  const outputs = expected.reduce<number>((a, b) => a * (b ?? 1), 1);
  const sameShape = loss === "sparseCategoricalCrossentropy" || label.length <= 1 || label.join() === sample.join();
  if (labels === outputs && sameShape) return;
  throw new LockstepError(
    "invalid-job",
    `The model's output for one sample has the shape [${sample.join(", ")}], but the label after pre-processing has [${label.join(", ")}], which ${loss} cannot compare.`,
    { hint: "Make the last layer as wide as the label, or change `preprocess.label` or `compile.loss`." },
  );
}
