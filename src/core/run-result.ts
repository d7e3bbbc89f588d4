import { exactnessOf } from "./records.ts";
import type { EpochHistory } from "./status.ts";

/** What a run of `launch` came to. */
export interface RunResult {
  readonly job: string;
  /** Completed epochs, and steps committed since the beginning. */
  readonly epochs: number;
  readonly steps: number;
  /** "sha256:…" of the weights of `latest`. */
  readonly weightsDigest: string;
  /** The metric that decides about `best`. */
  readonly monitor: string;
  /** Better by this much or less is no improvement. */
  readonly minDelta: number;
  /** Null if the monitored metric was never a finite number. */
  readonly best: ResultCheckpoint | null;
  readonly latest: ResultCheckpoint;
  readonly history: readonly EpochRecord[];
  /** Metrics of `best` and of `latest` on the test data, under the job file's names; null without test data. */
  readonly test: Readonly<Record<string, number>> | null;
  readonly testLatest: Readonly<Record<string, number>> | null;
  /** Why the run has ended before the last epoch that was asked for; null if it has not. */
  readonly early: string | null;
  /** Why the weights are only equivalent to those of an undisturbed run; empty while they are bit-exact. */
  readonly equivalences: readonly string[];
  /** How many memberships the run went through. */
  readonly generations: number;
  /** The run's folder. */
  readonly directory: string;
  /** What the job file's `report` returned. */
  readonly report: string | null;
  /** Path of the loss curve. */
  readonly curve: string | null;
  /** How long this `launch` took. */
  readonly seconds: number;
  /** What goes on with the run, for the commands that the summary suggests. */
  readonly goOn?: GoOn;
}

/** The words of a launch that goes on with a run as it was launched. */
export interface GoOn {
  /** The job file and the options, as they were given; without --epochs, and what was meant for one start alone. */
  readonly words: readonly string[];
  /** --epochs, where it was given. */
  readonly epochs: string | null;
}

export interface ResultCheckpoint {
  readonly epoch: number;
  readonly step: number;
  readonly monitor: string;
  /** Null in the middle of an epoch, where the metric has no value. */
  readonly value: number | null;
  readonly path: string;
}

/** `{ epoch, loss, val_loss, … }`: an epoch's metrics beside its number. */
export type EpochRecord = Readonly<{ epoch: number } & Record<string, number>>;

/** History as results carry it: the metrics in Keras' order, nothing that is no function of committed state. */
export function epochRecords(history: readonly EpochHistory[]): EpochRecord[] {
  return history.map(({ epoch, metrics }) => ({ epoch, ...Object.fromEntries(orderedMetrics(metrics)) }));
}

/**
 * A run's last JSON line. Numbers that JSON has no word for (NaN, the infinities) become null.
 * Without the report, the files and the time, which are for people.
 */
export function finishedEvent(result: RunResult): Record<string, unknown> {
  const { job, epochs, steps, weightsDigest, best, latest, history, test, testLatest, generations } = result;
  const { early, equivalences } = result;
  return {
    ...{ event: "finished", job, epochs, steps, weightsDigest },
    best: best && checkpointFields(best),
    latest: checkpointFields(latest),
    ...{ history, test, testLatest, generations, early },
    ...{ exactness: exactnessOf(equivalences), equivalences },
  };
}

function checkpointFields({ epoch, step, monitor, value, path }: ResultCheckpoint): ResultCheckpoint {
  return { epoch, step, monitor, value, path };
}

/** Metrics as Keras lists them: the loss, the others as given, then the same for validation. */
export function orderedMetrics(metrics: Readonly<Record<string, number>>): [name: string, value: number][] {
  const place = (name: string): number => (name.startsWith("val_") ? 2 : 0) + (/^(val_)?loss$/.test(name) ? 0 : 1);
  return Object.entries(metrics).sort(([a], [b]) => place(a) - place(b));
}
