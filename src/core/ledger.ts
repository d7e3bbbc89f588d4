/**
 * Which samples an epoch uses, step by step and shard by shard: the same functions of seed, sizes and S that training
 * itself calls, so that anybody can check, without any of the training's processes, that every sample is used once.
 *
 * What they are functions of may be changed between two starts, on purpose and at a price. So the state remembers from
 * where on which rules hold, and every epoch, past or to come, is answered by those it was, or will be, trained with.
 */
import { LockstepError } from "./errors.ts";
import { encodeJson } from "./json.ts";
import { batchRange, epochOrder, type Split, shardRange, splitSamples, stepsPerEpoch } from "./sampler.ts";
import { isPlainRule, type SplitRule } from "./validation-split.ts";

export interface LedgerRules {
  readonly seed: number;
  /** All samples of the dataset, those of the validation split included. */
  readonly samples: number;
  readonly validation: SplitRule | null;
  readonly batchSize: number;
  readonly shards: number;
}

/** Where in training something begins: committed steps, completed epochs, and samples used of the epoch under way. */
export interface Place {
  readonly step: number;
  readonly epoch: number;
  readonly used: number;
}

/** From this place on training draws its samples by these rules, from the data with this digest. */
export interface Sampling extends LedgerRules, Place {
  readonly data: string;
}

export interface LedgerLine {
  /** The step's number in the whole job, from 1. */
  readonly step: number;
  readonly shard: number;
  /** Indices into the dataset, from 0, in the order of use. Empty for a shard of a small last batch. */
  readonly samples: readonly number[];
}

/** Which samples a sampling trains on, for whoever has the data at hand. */
export type SplitOf = (sampling: Sampling) => Split;

/** Without the data: of rules that need nothing of it. */
export const splitByRule: SplitOf = ({ seed, samples, validation }) => {
  if (isPlainRule(validation)) return splitSamples(seed, samples, validation);
  throw new LockstepError(
    "incompatible",
    "Which samples were held back for validation follows from data that is not here.",
    {
      hint: "Give the data that the run was trained with.",
    },
  );
};

const beginning: Place = { step: 0, epoch: 0, used: 0 };

/** The samplings, and one more if what holds from this place on is not what the last of them says. */
export function continueSampling(
  samplings: readonly Sampling[],
  rules: LedgerRules & { readonly data: string },
  { step, epoch, used }: Place,
): readonly Sampling[] {
  const { seed, samples, validation, batchSize, shards, data } = rules;
  const now = { seed, samples, validation, batchSize, shards, data };
  const last = samplings.at(-1);
  if (last && encodeJson({ ...last, ...now }) === encodeJson(last)) return samplings;
  return [...samplings, { ...now, step, epoch, used }];
}

/** `epoch` counts from 1. */
export function* ledgerOf(rules: LedgerRules, epoch: number): Generator<LedgerLine> {
  for (const { lines } of ledgerParts([{ ...rules, ...beginning, data: "" }], epoch)) yield* lines;
}

/** The parts of an epoch, from 1, in each of which one sampling holds: one, unless it changed in the epoch's middle. */
export function ledgerParts(
  samplings: readonly Sampling[],
  epoch: number,
  splitOf: SplitOf = splitByRule,
): { readonly sampling: Sampling; readonly firstStep: number; readonly lines: Generator<LedgerLine> }[] {
  const index = epoch - 1;
  const first = samplings.findLast((one) => one.epoch < index || (one.epoch === index && one.used === 0));
  if (!first) {
    throw new LockstepError(
      "incompatible",
      `What epoch ${epoch} was trained with is not recorded; it is from step ${(samplings[0]?.step ?? 0) + 1} on.`,
      { hint: "Give an epoch that began after that." },
    );
  }
  const parts = [
    { ...first, ...startOf(first, index, splitOf) },
    ...samplings.filter((one) => one.epoch === index && one.used > 0),
  ];
  return parts.map((sampling, i) => ({
    sampling,
    firstStep: sampling.step + 1,
    lines: linesOf(sampling, index, parts[i + 1]?.used ?? Number.POSITIVE_INFINITY, splitOf),
  }));
}

/** Where the epoch with this index begins, when the sampling holds from its own place up to there. */
function startOf(sampling: Sampling, index: number, splitOf: SplitOf): Place {
  if (sampling.epoch === index) return sampling;
  const training = splitOf(sampling).training.length;
  const rest = stepsPerEpoch(Math.max(0, training - sampling.used), sampling.batchSize);
  const whole = (index - sampling.epoch - 1) * stepsPerEpoch(training, sampling.batchSize);
  return { step: sampling.step + rest + whole, epoch: index, used: 0 };
}

function* linesOf(sampling: Sampling, index: number, end: number, splitOf: SplitOf): Generator<LedgerLine> {
  const { seed, batchSize, shards } = sampling;
  const { training } = splitOf(sampling);
  const order = epochOrder(seed, index, training.length);
  let { step } = sampling;
  for (let { used } = sampling; used < Math.min(end, training.length); used += batchSize) {
    const batch = batchRange(training.length, batchSize, used);
    step++;
    for (let shard = 0; shard < shards; shard++) {
      const { begin, end } = shardRange(batch, shards, shard);
      yield { step, shard, samples: Array.from(order.subarray(begin, end), (position) => training[position]!) };
    }
  }
}
