/**
 * How far training is, and everything that history, policy and resuming need: the part of the replicated state that is
 * no tensor. Every worker holds the same value, because each change is a function of reduced numbers alone.
 */
import type { BestSoFar, CheckpointPolicy } from "./checkpoint-policy.ts";
import { judge } from "./checkpoint-policy.ts";
import type { StatePlace } from "./generation.ts";
import type { LearningRate } from "./job.ts";
import { afterEpochOf, initialPlateau, learningRateAt, type PlateauState } from "./learning-rate.ts";
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
  /** How a learning rate that follows a metric stands; null for any other. */
  readonly plateau: PlateauState | null;
}

/** The state's place before the first step; the rest is nothing yet. */
export function initialProgress(lineage: number, era: number): Progress {
  const nothing = { step: 0, epoch: 0, stepInEpoch: 0, samples: 0, totals: {}, history: [], best: null, plateau: null };
  return { lineage, era, ...nothing };
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

/** What closing an epoch depends on. */
export interface EpochRules {
  readonly policy: CheckpointPolicy;
  readonly learningRate: LearningRate;
  readonly stepsPerEpoch: number;
  readonly epochs: number;
}

/** Closes the epoch: its history line, and whether it is the best so far. `validation` is null where there is none. */
export function afterEpoch(progress: Progress, validation: Sums | null, rules: EpochRules): Progress {
  const { policy, learningRate } = rules;
  const validated = validation ? Object.entries(means(validation)) : [];
  const metrics = {
    ...means(progress),
    ...Object.fromEntries(validated.map(([name, value]) => [`val_${name}`, value])),
    // That of the epoch's last update; a rate that never changes tells nothing.
    ...(typeof learningRate === "number" ? {} : { learningRate: rateOf(progress, rules, progress.step - 1) }),
  };
  const epoch = progress.epoch + 1;
  const { improved, best } = judge(policy, progress.best, { epoch, step: progress.step, metrics });
  const plateau =
    typeof learningRate !== "number" && learningRate.kind === "plateau"
      ? afterEpochOf(learningRate, policy, progress.plateau ?? initialPlateau, metrics)
      : null;
  return {
    ...progress,
    epoch,
    stepInEpoch: 0,
    samples: 0,
    totals: {},
    history: [...progress.history, { epoch, metrics, improved }],
    best,
    plateau,
  };
}

/** The learning rate of the update that comes after `updates` others. */
export function rateOf(progress: Progress, rules: EpochRules, updates: number): number {
  const { learningRate, stepsPerEpoch, epochs } = rules;
  return learningRateAt(learningRate, { updates, stepsPerEpoch, epochs, plateau: progress.plateau });
}
