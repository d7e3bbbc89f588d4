/**
 * How far training is, and everything that history, policy and resuming need: the part of the replicated state that is
 * no tensor. Every worker holds the same value, because each change is a function of reduced numbers alone.
 */
import type { BestSoFar, CheckpointPolicy } from "./checkpoint-policy.ts";
import { judge } from "./checkpoint-policy.ts";
import type { StatePlace } from "./generation.ts";
import type { EpochHistory } from "./status.ts";

export interface Progress extends StatePlace {
  /** Completed epochs. */
  readonly epoch: number;
  /** Committed steps of the epoch after those. */
  readonly stepInEpoch: number;
  /** How many samples of the epoch under way have been used: where the next step begins. All of them until it is closed. */
  readonly samples: number;
  /** Sums over those samples: `totals[name] / samples` is the epoch's running mean. */
  readonly totals: Readonly<Record<string, number>>;
  readonly history: readonly EpochHistory[];
  readonly best: BestSoFar | null;
}

export function initialProgress(lineage: number, era: number): Progress {
  return { lineage, era, step: 0, epoch: 0, stepInEpoch: 0, samples: 0, totals: {}, history: [], best: null };
}

/** Sums over samples: of one step, or of a validation pass. */
export interface Sums {
  readonly samples: number;
  readonly totals: Readonly<Record<string, number>>;
}

export function means(sums: Sums): Record<string, number> {
  return Object.fromEntries(Object.entries(sums.totals).map(([name, total]) => [name, total / sums.samples]));
}

export function afterStep(progress: Progress, sums: Sums): Progress {
  return {
    ...progress,
    step: progress.step + 1,
    stepInEpoch: progress.stepInEpoch + 1,
    samples: progress.samples + sums.samples,
    totals: Object.fromEntries(
      // No zero accumulator: the first step's sum is taken as it is.
      Object.entries(sums.totals).map(([name, sum]) => [
        name,
        name in progress.totals ? progress.totals[name]! + sum : sum,
      ]),
    ),
  };
}

/** Closes the epoch: its history line, and whether it is the best so far. `validation` is null where there is none. */
export function afterEpoch(progress: Progress, validation: Sums | null, policy: CheckpointPolicy): Progress {
  const validated = validation ? Object.entries(means(validation)) : [];
  const metrics = {
    ...means(progress),
    ...Object.fromEntries(validated.map(([name, value]) => [`val_${name}`, value])),
  };
  const epoch = progress.epoch + 1;
  const { improved, best } = judge(policy, progress.best, { epoch, step: progress.step, metrics });
  return {
    ...progress,
    epoch,
    stepInEpoch: 0,
    samples: 0,
    totals: {},
    history: [...progress.history, { epoch, metrics, improved }],
    best,
  };
}
