/**
 * What a job file's callbacks are called with, and which calls there are still to make. They see committed state alone, and come
 * to hear of it from what etcd holds: so they decide nothing, and whoever coordinates next goes on with them. What was told is
 * written down after a call, so each event is told at least once; twice, if the coordinator was lost in between.
 */
import type { CheckpointPolicy } from "./checkpoint-policy.ts";
import { bestEpoch } from "./run-history.ts";
import type { ClusterStatus, EpochHistory } from "./status.ts";

export interface BestEpoch {
  readonly epoch: number;
  readonly step: number;
  /** The metric that decides about the best, and its value there. */
  readonly monitor: string;
  readonly value: number;
}

/** A committed epoch. */
export interface EpochEvent {
  readonly job: string;
  readonly run: number;
  readonly epoch: number;
  /** How many epochs are wanted. */
  readonly epochs: number;
  /** Steps committed when it ended. */
  readonly step: number;
  /** Named as in Keras: `loss`, `val_loss`, `accuracy`, … */
  readonly metrics: Readonly<Record<string, number>>;
  /** Whether it is the best so far. */
  readonly improved: boolean;
  /** The best epoch up to this one; null while none is. */
  readonly best: BestEpoch | null;
}

/** The end of a run. */
export interface FinishEvent {
  readonly job: string;
  readonly run: number;
  /** Completed epochs, and committed steps. */
  readonly epoch: number;
  readonly step: number;
  readonly best: BestEpoch | null;
  /** Every epoch's metrics, oldest first. */
  readonly history: readonly { readonly epoch: number; readonly metrics: Readonly<Record<string, number>> }[];
  /** Why it has ended before the last epoch that was wanted; null if it has not. */
  readonly early: string | null;
}

/** Functions that are called while a run goes on, one after the other; what they throw is logged, and changes nothing. */
export interface Callbacks {
  /** After every committed epoch. */
  readonly onEpochEnd?: (event: EpochEvent) => unknown;
  /** After a committed epoch that is the best so far; after `onEpochEnd`. */
  readonly onBest?: (event: EpochEvent) => unknown;
  /** Once the run has come to its end; not when it is stopped. */
  readonly onFinish?: (event: FinishEvent) => unknown;
}

export const callbackNames = ["onEpochEnd", "onBest", "onFinish"] as const satisfies readonly (keyof Callbacks)[];
export type CallbackName = (typeof callbackNames)[number];

/** One call, and what counts as told once it was made. */
export interface CallbackCall {
  readonly name: CallbackName;
  readonly event: EpochEvent | FinishEvent;
  readonly told: Told;
}

/** Up to where everything was told. */
export interface Told {
  readonly lineage: number;
  readonly epoch: number;
  /** Of this epoch also that it is the best so far. */
  readonly best: boolean;
  /** The end was told at this epoch; null: it was not. */
  readonly finished: number | null;
}

export interface ToldRun {
  readonly run: number;
  readonly status: Pick<ClusterStatus, "job" | "state" | "epochs" | "history" | "early"> & {
    readonly policy: CheckpointPolicy;
  };
  /** The lineage under way, and the epoch that it goes on from. */
  readonly lineage: number;
  readonly from: number;
}

/** The next call to make; null when all has been told. `told` null: nothing was told yet. */
export function nextCall(told: Told | null, { run, status, lineage, from }: ToldRun): CallbackCall | null {
  const { job, epochs, history, policy, early, state } = status;
  const nothing: Told = { lineage, epoch: 0, best: true, finished: null };
  const known = told ?? nothing;
  // What was told of a lineage counts up to where the next one began.
  const at: Told =
    known.lineage === lineage ? known : { lineage, epoch: Math.min(known.epoch, from), best: true, finished: null };
  const current = history.find(({ epoch }) => epoch === at.epoch);
  const eventOf = (record: EpochHistory): EpochEvent => ({
    ...{ job, run, epoch: record.epoch, epochs, step: record.step, metrics: record.metrics, improved: record.improved },
    best: bestOf(
      history.filter(({ epoch }) => epoch <= record.epoch),
      policy,
    ),
  });
  if (current?.improved && !at.best) return { name: "onBest", event: eventOf(current), told: { ...at, best: true } };
  const next = history.find(({ epoch }) => epoch > at.epoch);
  if (next) {
    const after: Told = { lineage, epoch: next.epoch, best: !next.improved, finished: null };
    return { name: "onEpochEnd", event: eventOf(next), told: after };
  }
  if (state !== "finished" || at.finished === at.epoch) return null;
  const last = history.at(-1);
  const event: FinishEvent = {
    ...{ job, run, epoch: last?.epoch ?? 0, step: last?.step ?? 0, best: bestOf(history, policy), early },
    history: history.map(({ epoch, metrics }) => ({ epoch, metrics })),
  };
  return { name: "onFinish", event, told: { ...at, finished: at.epoch } };
}

function bestOf(history: readonly EpochHistory[], { monitor }: CheckpointPolicy): BestEpoch | null {
  const best = bestEpoch(history);
  const value = best?.metrics[monitor];
  return best && value !== undefined ? { epoch: best.epoch, step: best.step, monitor, value } : null;
}
