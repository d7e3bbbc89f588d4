/**
 * How fast a run takes steps, from where it was when: the mean over the last minute, with all pauses between steps in it. Validation
 * and checkpoints recur every epoch, so what is left is foretold with them.
 */
import type { ClusterState, RunProgress } from "./status.ts";

/** Where the run was, oldest first; a new one at most once a second, none older than a minute but one. */
export type Pace = readonly { readonly atMs: number; readonly step: number }[];

const windowMs = 60_000;
const apartMs = 1000;
/** Of less nobody can tell anything. */
const leastMs = 3000;

/** @param step the highest that was committed, as far as is known at `nowMs`, which never goes back */
export function withStep(pace: Pace, step: number, nowMs: number): Pace {
  const last = pace.at(-1);
  // A run that goes back begins anew; a worker that lags behind says nothing new.
  if (last && step < last.step - lag) return [{ atMs: nowMs, step }];
  if (last && (step <= last.step || nowMs - last.atMs < apartMs)) return pace;
  const since = pace.findLastIndex(({ atMs }) => nowMs - atMs >= windowMs);
  return [...pace.slice(Math.max(0, since)), { atMs: nowMs, step }];
}

/** Nobody can be more than one step ahead; reports may be a little older. */
const lag = 10;

/** Null while too little is known. */
export function stepsPerSecond(pace: Pace, nowMs: number): number | null {
  const [first, last] = [pace[0], pace.at(-1)];
  if (!first || !last || last.step === first.step || last.atMs - first.atMs < leastMs) return null;
  // What has lasted longer than a step slows it down.
  const pauseMs = Math.max(0, nowMs - last.atMs - (last.atMs - first.atMs) / (last.step - first.step) - apartMs);
  return (last.step - first.step) / ((last.atMs - first.atMs + pauseMs) / 1000);
}

export interface RunExtent {
  readonly state: ClusterState;
  readonly step: number;
  readonly epoch: number;
  readonly epochs: number;
  /** 0 where no worker has said it. */
  readonly stepsPerEpoch: number;
}

/** @param updatedAt when a worker has reported last, in ISO 8601; null before the first */
export function runProgress(
  { state, step, epoch, epochs, stepsPerEpoch }: RunExtent,
  speed: number | null,
  updatedAt: string | null,
): RunProgress {
  const all = epochs * stepsPerEpoch;
  const fraction = all > 0 ? step / all : epoch / epochs;
  const left = Math.max(0, all - step);
  const foretold = state === "training" && all > 0 && speed !== null ? Math.round((left / speed) * 10) / 10 : null;
  return {
    percent: Math.floor(Math.min(1, fraction) * 1000) / 10,
    remainingSeconds: state === "finished" ? 0 : foretold,
    updatedAt,
  };
}
