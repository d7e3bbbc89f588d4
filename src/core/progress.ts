/**
 * How far training is, and everything that history, policy and resuming need: the part of the replicated state that is
 * no tensor. Every worker holds the same value, because each change is a function of reduced numbers alone.
 */
import type { BestSoFar, CheckpointPolicy } from "./checkpoint-policy.ts";
import { judge } from "./checkpoint-policy.ts";
import type { StatePlace } from "./state-order.ts";
import type { LearningRate } from "./job.ts";
import type { Opening } from "./origin.ts";
import { continueSampling, type LedgerRules, type Sampling } from "./ledger.ts";
import { plateauAfterEpoch, initialPlateau, learningRateAt, type PlateauState } from "./learning-rate.ts";
import { metricsOf } from "./metric-sums.ts";
import type { EpochHistory } from "./status.ts";

export interface Progress extends StatePlace {
  /** Committed steps of the epoch after those. */
  readonly stepInEpoch: number;
  /** How many samples of the epoch under way have been used: where the next step begins. All of them until it is closed. */
  readonly samples: number;
  /** Sums over those samples: what the epoch's running loss and metrics are made of. */
  readonly totals: Readonly<Record<string, number>>;
  readonly history: readonly EpochHistory[];
  readonly best: BestSoFar | null;
  /** What the samples follow from, from where on; a change between two starts adds to it. */
  readonly samplings: readonly Sampling[];
  /** How a learning rate that follows a metric stands; null for any other, and before the first epoch is closed. */
  readonly plateau: PlateauState | null;
  /** Lineages and eras that were opened on the way here, oldest first; not the first of them. */
  readonly openings: readonly Opening[];
}

/** Before the first step. */
export function initialProgress(lineage: number, era: number): Progress {
  const place = { lineage, era, step: 0, epoch: 0 };
  const counts = { stepInEpoch: 0, samples: 0 };
  return { ...place, ...counts, totals: {}, history: [], best: null, samplings: [], plateau: null, openings: [] };
}

/** Sums over samples: of one step, or of a validation pass. */
export interface Sums {
  readonly samples: number;
  readonly totals: Readonly<Record<string, number>>;
}

/** The loss and the metrics that these are the sums of. */
export function means(sums: Sums): Record<string, number> {
  return metricsOf(sums.totals, sums.samples);
}

/** `rules`: what the step's samples follow from. */
export function afterStep(progress: Progress, sums: Sums, rules: LedgerRules & { readonly data: string }): Progress {
  const { step, epoch, samples: used } = progress;
  return {
    ...progress,
    // With the step and not before it, so that a state of some step is one state, whoever may take the next step.
    samplings: continueSampling(progress.samplings ?? [], rules, { step, epoch, used }),
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
  /** Names the data that the monitored metric is measured on. */
  readonly data: string;
  readonly learningRate: LearningRate;
  readonly stepsPerEpoch: number;
  readonly epochs: number;
}

/** Closes the epoch: its history line, and whether it is the best so far. `validation` is null where there is none. */
export function afterEpoch(progress: Progress, validation: Sums | null, rules: EpochRules): Progress {
  const { policy, data, learningRate } = rules;
  const validated = validation ? Object.entries(means(validation)) : [];
  const metrics = {
    ...means(progress),
    ...Object.fromEntries(validated.map(([name, value]) => [`val_${name}`, value])),
    // That of the epoch's last update; a rate that never changes tells nothing.
    ...(typeof learningRate === "number" ? {} : { learningRate: rateOf(progress, rules, progress.step - 1) }),
  };
  const epoch = progress.epoch + 1;
  const { step } = progress;
  const { improved, best, setAside } = judge(policy, progress.best, { epoch, step, metrics, data });
  const plateau =
    typeof learningRate !== "number" && learningRate.kind === "plateau"
      ? plateauAfterEpoch(learningRate, policy, progress.plateau ?? initialPlateau, metrics)
      : null;
  return {
    ...progress,
    epoch,
    stepInEpoch: 0,
    samples: 0,
    totals: {},
    history: [...progress.history, { epoch, step, metrics, improved, ...(setAside ? { setAside } : {}) }],
    best,
    plateau,
  };
}

/** The learning rate of the update that comes after `updates` others. */
export function rateOf(progress: Progress, rules: EpochRules, updates: number): number {
  const { learningRate, stepsPerEpoch, epochs } = rules;
  return learningRateAt(learningRate, { updates, stepsPerEpoch, epochs, plateau: progress.plateau });
}
