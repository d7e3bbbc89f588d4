/** One update of all trainable weights at once: they, their slots and their gradients are one row each. */
import type { Tensor1D } from "@tensorflow/tfjs";
import { unreachable } from "../core/errors.ts";
import type { Clip, OptimizerDefinition } from "../core/job.ts";
import { defaultEpsilon } from "../core/optimizer.ts";
import type { Tensor, TensorFlow } from "../ports/engine.ts";

export interface Update {
  readonly weights: Tensor;
  readonly slots: readonly Tensor[];
}

/** Scalars: `rate` from `rateAt`, and the learning rate it was made from. */
export interface Rates {
  readonly rate: Tensor;
  readonly learningRate: Tensor;
}

/**
 * Limits a row of gradients. The global norm is summed weight by weight, in their order, so that it does not depend on
 * how a row is cut for the wire. As TensorFlow's `clip_by_global_norm`.
 */
export function clipped(
  tf: TensorFlow,
  clip: Clip,
  gradient: Tensor1D,
  parameters: readonly { readonly offset: number; readonly size: number }[],
): Tensor1D {
  if ("value" in clip) return gradient.clipByValue(-clip.value, clip.value) as Tensor1D; // keeps the shape
  const squares = parameters.map(({ offset, size }) => gradient.slice([offset], [size]).square().sum());
  const norm = tf.sqrt(squares.reduce<Tensor>((sum, square) => sum.add(square), tf.scalar(0)));
  return tf.mul<Tensor1D>(gradient, tf.div(clip.globalNorm, norm.maximum(clip.globalNorm)));
}

/** `gradient` is the mean over the batch. The formulas are TensorFlow's. */
export function applyOptimizer(
  tf: TensorFlow,
  optimizer: OptimizerDefinition,
  { weights, slots }: Update,
  gradient: Tensor1D,
  { rate, learningRate }: Rates,
): Update {
  switch (optimizer.kind) {
    case "sgd": {
      if (!optimizer.momentum) return { weights: weights.sub(gradient.mul(rate)), slots: [] };
      const momentum = slots[0]!.mul(optimizer.momentum).add(gradient);
      const direction = optimizer.nesterov ? momentum.mul(optimizer.momentum).add(gradient) : momentum;
      return { weights: weights.sub(direction.mul(rate)), slots: [momentum] };
    }
    case "rmsprop": {
      const rho = optimizer.rho ?? 0.9;
      const square = slots[0]!.mul(rho).add(gradient.square().mul(1 - rho));
      const step = gradient.mul(rate).div(tf.sqrt(square.add(optimizer.epsilon ?? defaultEpsilon)));
      return { weights: weights.sub(step), slots: [square] };
    }
    case "adagrad": {
      const square = slots[0]!.add(gradient.square());
      const step = gradient.mul(rate).div(tf.sqrt(square.add(optimizer.epsilon ?? defaultEpsilon)));
      return { weights: weights.sub(step), slots: [square] };
    }
    case "adam": {
      const mean = slots[0]!.add(gradient.sub(slots[0]!).mul(1 - (optimizer.beta1 ?? 0.9)));
      const square = slots[1]!.add(
        gradient
          .square()
          .sub(slots[1]!)
          .mul(1 - (optimizer.beta2 ?? 0.999)),
      );
      const step = mean.mul(rate).div(tf.sqrt(square).add(optimizer.epsilon ?? defaultEpsilon));
      const decayed = optimizer.weightDecay
        ? weights.sub(weights.mul(learningRate.mul(optimizer.weightDecay)))
        : weights;
      return { weights: decayed.sub(step), slots: [mean, square] };
    }
    default:
      return unreachable(optimizer);
  }
}
