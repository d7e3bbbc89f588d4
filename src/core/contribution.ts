import type { Range } from "./sampler.ts";

/** One reduction over the whole generation: that of a training step (pass 0), or of the validation after it (pass 1). */
export interface Round {
  /** The step that is being computed, counted from 0, or the number of steps after which validation runs. */
  readonly step: number;
  readonly pass: 0 | 1;
}

/** The order of rounds: an epoch's validation comes after its last step, which has a number less. */
export function compareRounds(a: Round, b: Round): number {
  return a.step - b.step || b.pass - a.pass;
}

/** Gradients and the like, and the few numbers beside them. */
export interface Reduction {
  readonly values: Float32Array;
  readonly statistics: Float64Array;
}

/** One partial sum of a worker: the node of the tree, and its numbers; null for a node without samples. */
export interface Contribution {
  readonly node: Range;
  readonly sum: Reduction | null;
}
