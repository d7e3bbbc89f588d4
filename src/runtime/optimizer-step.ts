/** One update of a weight, with its slots and its gradient. */
import { unreachable } from "../core/errors.ts";
import type { Clip, OptimizerDefinition } from "../core/job.ts";
import { betasOf, defaultEpsilon } from "../core/optimizer.ts";
import type { Engine, Tensor, TensorFlow } from "../ports/engine.ts";

export interface Update {
  readonly weight: Tensor;
  readonly slots: readonly Tensor[];
}

/** Scalars: `rate` from `rateAt`, and the learning rate it was made from. */
export interface Rates {
  readonly rate: Tensor;
  readonly learningRate: Tensor;
}

/** Limits the gradients of all weights. As TensorFlow's `clip_by_value` and `clip_by_global_norm`. */
export function clipped(tf: TensorFlow, clip: Clip, gradients: readonly Tensor[]): Tensor[] {
  if ("value" in clip) return gradients.map((gradient) => gradient.clipByValue(-clip.value, clip.value));
  const squares = gradients.map((gradient) => gradient.square().sum());
  const norm = tf.sqrt(squares.reduce<Tensor>((sum, square) => sum.add(square), tf.scalar(0)));
  const factor = tf.div(clip.globalNorm, norm.maximum(clip.globalNorm));
  return gradients.map((gradient) => gradient.mul(factor));
}

/** `gradient` is the mean over the batch. The formulas are TensorFlow's. */
export function applyOptimizer(
  { tf, fused }: Pick<Engine, "tf" | "fused">,
  optimizer: OptimizerDefinition,
  { weight, slots }: Update,
  gradient: Tensor,
  { rate, learningRate }: Rates,
): Update {
  switch (optimizer.kind) {
    case "sgd": {
      if (!optimizer.momentum) return { weight: weight.sub(gradient.mul(rate)), slots: [] };
      const momentum = slots[0]!.mul(optimizer.momentum).add(gradient);
      const direction = optimizer.nesterov ? momentum.mul(optimizer.momentum).add(gradient) : momentum;
      return { weight: weight.sub(direction.mul(rate)), slots: [momentum] };
    }
    case "rmsprop": {
      const rho = optimizer.rho ?? 0.9;
      const square = slots[0]!.mul(rho).add(gradient.square().mul(1 - rho));
      const step = gradient.mul(rate).div(tf.sqrt(square.add(optimizer.epsilon ?? defaultEpsilon)));
      return { weight: weight.sub(step), slots: [square] };
    }
    case "adagrad": {
      const square = slots[0]!.add(gradient.square());
      const step = gradient.mul(rate).div(tf.sqrt(square.add(optimizer.epsilon ?? defaultEpsilon)));
      return { weight: weight.sub(step), slots: [square] };
    }
    case "adam": {
      const [mean, square] = slots as [Tensor, Tensor];
      const { epsilon = defaultEpsilon, weightDecay } = optimizer;
      const { beta1, beta2 } = betasOf(optimizer);
      const decay = weightDecay ? learningRate.mul(weightDecay) : null;
      if (fused) {
        const numbers = { rate, beta1, beta2, epsilon };
        const updated = fused.adam({ weight, mean, square }, gradient, numbers, decay);
        return { weight: updated.weight, slots: [updated.mean, updated.square] };
      }
      const nextMean = mean.add(gradient.sub(mean).mul(1 - beta1));
      const nextSquare = square.add(
        gradient
          .square()
          .sub(square)
          .mul(1 - beta2),
      );
      const step = nextMean.mul(rate).div(tf.sqrt(nextSquare).add(epsilon));
      const decayed = decay ? weight.sub(weight.mul(decay)) : weight;
      return { weight: decayed.sub(step), slots: [nextMean, nextSquare] };
    }
    default:
      return unreachable(optimizer);
  }
}
