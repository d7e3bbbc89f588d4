/**
 * Which samples an epoch uses, step by step and shard by shard: the same functions of seed, sizes and S that training
 * itself calls, so that anybody can check, without any of the training's processes, that every sample is used once.
 */
import type { Job } from "./job.ts";
import { batchRange, epochOrder, shardRange, splitSamples, stepsPerEpoch } from "./sampler.ts";

export interface LedgerRules {
  readonly seed: number;
  /** All samples of the dataset, those of the validation split included. */
  readonly samples: number;
  readonly validation: Job["validation"];
  readonly batchSize: number;
  readonly shards: number;
}

export interface LedgerLine {
  /** The step's number in the whole job, from 1. */
  readonly step: number;
  readonly shard: number;
  /** Indices into the dataset, from 0, in the order of use. Empty for a shard of a small last batch. */
  readonly samples: readonly number[];
}

/** `epoch` counts from 1. */
export function* ledgerOf(rules: LedgerRules, epoch: number): Generator<LedgerLine> {
  const { seed, batchSize, shards } = rules;
  const { training } = splitSamples(seed, rules.samples, rules.validation);
  const order = epochOrder(seed, epoch - 1, training.length);
  const steps = stepsPerEpoch(training.length, batchSize);
  for (let i = 0; i < steps; i++) {
    const batch = batchRange(training.length, batchSize, i * batchSize);
    for (let shard = 0; shard < shards; shard++) {
      const { begin, end } = shardRange(batch, shards, shard);
      const samples = Array.from(order.subarray(begin, end), (position) => training[position]!);
      yield { step: (epoch - 1) * steps + i + 1, shard, samples };
    }
  }
}
