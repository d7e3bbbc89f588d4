/** One update of all trainable weights at once: they, their slots and their gradients are one row each. */
import type { Tensor1D } from "@tensorflow/tfjs";
import { unreachable } from "../core/errors.ts";
import type { OptimizerDefinition } from "../core/job.ts";
import { defaultEpsilon } from "../core/optimizer.ts";
import type { Tensor, TensorFlow } from "../ports/engine.ts";

export interface Update {
  readonly weights: Tensor;
  readonly slots: readonly Tensor[];
}

/** `gradient` is the mean over the batch; `rate` a scalar, from `rateAt`. The formulas are TensorFlow's. */
export function applyOptimizer(
  tf: TensorFlow,
  optimizer: OptimizerDefinition,
  { weights, slots }: Update,
  gradient: Tensor1D,
  rate: Tensor,
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
        ? weights.sub(weights.mul(optimizer.weightDecay * optimizer.learningRate))
        : weights;
      return { weights: decayed.sub(step), slots: [mean, square] };
    }
    default:
      return unreachable(optimizer);
  }
}
