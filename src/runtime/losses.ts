/** Losses as one value a sample, so that sums over shards are sums over samples; and which outputs go with which labels. */
import type { Scalar, Tensor, Tensor1D, Tensor2D } from "@tensorflow/tfjs";
import { LockstepError, unreachable } from "../core/errors.ts";
import type { LossSettings } from "../core/compile.ts";
import type { Job } from "../core/job.ts";
import type { TensorFlow } from "../ports/engine.ts";

/** Keeps logarithms finite where a probability is 0 or 1. */
const tiny = 1e-7;

/** What a loss is computed by. */
export type LossChoice = Pick<Job, "loss" | "lossSettings" | "customLoss">;

/** The loss of each sample, [count]; `label` and `output` are [count, …]. Probabilities in, unless they are said to be logits. */
export function lossOfSamples(tf: TensorFlow, chosen: LossChoice, given: Tensor, output: Tensor): Tensor1D {
  const { loss, lossSettings, customLoss } = chosen;
  if (loss === "custom") return oneOfEach(customLoss!(tf, given, output), output.shape[0]!, "compile.loss");
  const label = inShapeOf(output, given, loss);
  switch (loss) {
    case "categoricalCrossentropy":
      return meanOverSample(categorical(tf, label, output, lossSettings));
    case "sparseCategoricalCrossentropy":
      return meanOverSample(
        categorical(tf, oneHotOf(tf, indices(label, output), output).reshape(output.shape), output, lossSettings),
      );
    case "binaryCrossentropy":
      return meanOverSample(binary(tf, label, output, lossSettings));
    case "meanSquaredError":
      return meanOverSample(output.sub(label).square());
    case "meanAbsoluteError":
      return meanOverSample(output.sub(label).abs());
    case "huber": {
      const { delta = 1 } = lossSettings;
      const error = output.sub(label).abs();
      const near = error.minimum(delta);
      return meanOverSample(near.square().mul(0.5).add(error.sub(near).mul(delta)));
    }
    case "logCosh": {
      // log(cosh(x)) = |x| + log(1 + e^(−2|x|)) − log 2, which overflows nowhere.
      const error = output.sub(label).abs();
      return meanOverSample(error.add(error.mul(-2).exp().add(1).log()).sub(Math.LN2));
    }
    case "kullbackLeiblerDivergence": {
      const expected = label.clipByValue(tiny, 1);
      return meanOverSample(expected.mul(expected.div(output.clipByValue(tiny, 1)).log()).sum(-1));
    }
    case "hinge": {
      const sign = label.greater(0).toFloat().mul(2).sub(1);
      return meanOverSample(tf.sub(1, sign.mul(output)).relu());
    }
    default:
      return unreachable(loss);
  }
}

function categorical(tf: TensorFlow, label: Tensor, output: Tensor, settings: LossSettings): Tensor {
  const { fromLogits, labelSmoothing } = settings;
  const classes = output.shape.at(-1)!;
  const smooth = labelSmoothing ? label.mul(1 - labelSmoothing).add(labelSmoothing / classes) : label;
  if (fromLogits) return smooth.mul(tf.logSoftmax(output)).sum(-1).neg();
  return tf.metrics.categoricalCrossentropy(smooth, output);
}

function binary(tf: TensorFlow, label: Tensor, output: Tensor, settings: LossSettings): Tensor {
  const { fromLogits, labelSmoothing } = settings;
  const smooth = labelSmoothing ? label.mul(1 - labelSmoothing).add(labelSmoothing / 2) : label;
  if (fromLogits) {
    // −z·log σ(x) − (1−z)·log(1−σ(x)), which overflows nowhere.
    const rest = output.abs().neg().exp().add(1).log();
    return output.relu().sub(output.mul(smooth)).add(rest);
  }
  const probability = output.clipByValue(tiny, 1 - tiny);
  const other = tf.sub(1, probability);
  return smooth.mul(probability.log()).add(tf.sub(1, smooth).mul(other.log())).neg();
}

/** What a function of the job has given, if it is one number for each sample. */
export function oneOfEach(values: unknown, count: number, whose: string): Tensor1D {
  const shape = (values as Tensor | undefined)?.shape;
  if (Array.isArray(shape) && shape.length === 1 && shape[0] === count) return (values as Tensor1D).toFloat();
  const has = Array.isArray(shape) ? `a tensor of shape [${shape.join(", ")}]` : "no tensor";
  throw new LockstepError(
    "invalid-job",
    `${whose} gives ${has} for a batch of ${count}; one number for each sample was expected, [${count}].`,
    { hint: "Take the mean over every dimension but the first: values.reshape([values.shape[0], -1]).mean(1)." },
  );
}

/** A label that has as many values as the output, in the output's shape: [n] beside [n, 1] would be spread over [n, n]. */
export function inShapeOf(output: Tensor, label: Tensor, loss: Job["loss"]): Tensor {
  const fits = loss === "sparseCategoricalCrossentropy" || label.rank === output.rank;
  return fits ? label : label.reshape(output.shape);
}

/** Whole numbers as rows of 0 and a 1: [all but the output's last dimension in one, classes]. */
export function oneHotOf(tf: TensorFlow, classes: Tensor, output: Tensor): Tensor2D {
  return (tf.oneHot(classes.flatten(), output.shape.at(-1)!) as Tensor2D).toFloat();
}

export function totalOf(values: Tensor): Scalar {
  return values.sum().asScalar();
}

/** Class numbers in the output's shape without its last dimension. */
export function indices(label: Tensor, output: Tensor): Tensor {
  return label.toInt().reshape(output.shape.slice(0, -1));
}

export function meanOverSample(values: Tensor): Tensor1D {
  const count = values.shape[0]!;
  return values.shape.length === 1 ? (values as Tensor1D) : (values.reshape([count, -1]).mean(1) as Tensor1D);
}

/** Refuses a model whose output does not go with the label, before anything starts. A custom loss is asked by being called. */
export function checkOutputShape(
  { loss }: Pick<Job, "loss">,
  label: readonly number[],
  output: readonly (number | null)[],
): void {
  if (loss === "custom") return;
  const sample = output.slice(1);
  const classes = sample.at(-1) ?? 1;
  if (/ategorical|Divergence/.test(loss) && classes < 2) {
    throw new LockstepError(
      "invalid-job",
      `The model has ${classes} output for ${loss}, which compares at least two classes.`,
      {
        hint: "Give the last layer one unit for each class, or use binaryCrossentropy or meanSquaredError.",
      },
    );
  }
  const expected = loss === "sparseCategoricalCrossentropy" ? sample.slice(0, -1) : sample;
  const labels = sizeOf(label);
  const outputs = sizeOf(expected.map((size) => size ?? 1));
  const sameShape = loss === "sparseCategoricalCrossentropy" || label.length <= 1 || label.join() === sample.join();
  if (labels === outputs && sameShape) return;
  throw new LockstepError(
    "invalid-job",
    `The model's output for one sample has the shape [${sample.join(", ")}], but the label after pre-processing has [${label.join(", ")}], which ${loss} cannot compare.`,
    { hint: "Make the last layer as wide as the label, or change `preprocess.label` or `compile.loss`." },
  );
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
