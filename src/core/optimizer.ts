/**
 * What each optimizer keeps beside the weights, and the numbers it needs at a step. All of it is a function of the job
 * file and of the committed step, so that it resumes to the bit: nothing is accumulated in JavaScript.
 */
import { unreachable } from "./errors.ts";
import type { OptimizerDefinition } from "./job.ts";

/** One number for each weight, kept from step to step. */
export interface Slot {
  readonly name: string;
  readonly initialValue: number;
}

export function slotsOf(optimizer: OptimizerDefinition): readonly Slot[] {
  switch (optimizer.kind) {
    case "sgd":
      return optimizer.momentum ? [{ name: "momentum", initialValue: 0 }] : [];
    case "rmsprop":
      return [{ name: "square", initialValue: 0 }];
    case "adagrad":
      return [{ name: "square", initialValue: optimizer.initialAccumulator ?? 0.1 }];
    case "adam":
      return [
        { name: "mean", initialValue: 0 },
        { name: "square", initialValue: 0 },
      ];
    default:
      return unreachable(optimizer);
  }
}

export const defaultEpsilon = 1e-7;

/**
 * Adam's, as float32 has them: kernels take 1 − β2 of that, which differs by 1e-5 of itself from what 0.999 says, and the
 * corrections have to be made of the same numbers.
 */
export function betasOf({ beta1 = 0.9, beta2 = 0.999 }: Extract<OptimizerDefinition, { kind: "adam" }>): {
  readonly beta1: number;
  readonly beta2: number;
} {
  return { beta1: Math.fround(beta1), beta2: Math.fround(beta2) };
}

/**
 * By what the n-th update, n from 1, multiplies its direction. Adam's includes the corrections for its moments' start at
 * zero (Kingma, Ba: "Adam", 2015, section 2, the efficient form).
 */
export function rateAt(optimizer: OptimizerDefinition, learningRate: number, update: number): number {
  if (optimizer.kind !== "adam") return learningRate;
  const { beta1, beta2 } = betasOf(optimizer);
  return (learningRate * Math.sqrt(1 - beta2 ** update)) / (1 - beta1 ** update);
}
