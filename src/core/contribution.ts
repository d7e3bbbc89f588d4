import type { Range } from "./sampler.ts";

/** One reduction over the whole generation: that of a training step (pass 0), or of the validation after it (pass 1). */
export interface Round {
  /** The step that is being computed, counted from 0, or the number of steps after which validation runs. */
  readonly step: number;
  readonly pass: 0 | 1;
}

export function sameRound(a: Round, b: Round): boolean {
  return a.step === b.step && a.pass === b.pass;
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
  /**
   * Given where whoever reduces finishes the sum: the rows that belong to it, each of which is added to the one before it, the last one
   * first. The last of them all is a shard's as it was computed, not rounded yet.
   */
  readonly rest?: readonly Reduction[];
}

/** A round whose last shard is being computed: what is there already may be reduced meanwhile. */
export interface Opening {
  readonly round: Round;
  /** As it will be when the round is reduced; the last one that has samples is not whole yet, and has a rest. */
  readonly own: readonly Contribution[];
  readonly into: Reduction;
  /** Where the parts of the last row's values end, which are written one by one; of each: not 0 as soon as it is there. */
  readonly partEnds: readonly number[];
  readonly written: Int32Array;
}
