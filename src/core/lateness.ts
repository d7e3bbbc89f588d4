/**
 * Who keeps a round of the all-reduce waiting for too long: a worker that answers everything but computes forever sends
 * no sign of it. Steps may be long, so what counts is the usual time of such rounds; and when everyone is slow, nobody
 * is late: the time begins anew with whatever arrives.
 */
import { slowStepFactor } from "./failure-budget.ts";

export interface Waiting {
  /** When this worker had contributed, or the last sum arrived since; on a monotonic clock. */
  readonly sinceMs: number;
  /** How long such a round usually takes among these workers, from the end of the one before it; null before the first, which may have to load or record things. */
  readonly usualMs: number | null;
  /** Ranks whose partial sums this worker lacks. */
  readonly missing: readonly number[];
  /** Ranks whose totals it lacks: they may be waiting for others themselves. */
  readonly owing: readonly number[];
}

/** The ranks that are late after `silentMs` of waiting; nobody while it is too early to tell. */
export function lateRanks(
  { usualMs, missing, owing }: Omit<Waiting, "sinceMs">,
  silentMs: number,
  budgetMs: number,
): readonly number[] {
  const limitMs = limitOf(usualMs, budgetMs);
  // One is late when all others have delivered; several only after twice the time, as they may just be slower.
  if (missing.length > 0) return silentMs > limitMs * Math.min(missing.length, 2) ? missing : [];
  return silentMs > limitMs * 3 ? owing : [];
}

/** A worker between two rounds. */
export interface Resting {
  /** When the last round ended, or the generation was joined. */
  readonly sinceMs: number;
  /** How long each kind of round that may come next usually takes; null for one that has not been yet. */
  readonly usualMs: readonly (number | null)[];
}

/**
 * Whether a worker that has been computing for `restingMs` will not come to an end: others would find it late before that, but there may be no
 * others. What runs for the first time may take as long as it likes.
 */
export function isStuck({ usualMs }: Omit<Resting, "sinceMs">, restingMs: number, budgetMs: number): boolean {
  const known = usualMs.filter((value) => value !== null);
  return known.length === usualMs.length && restingMs > 2 * limitOf(Math.max(...known), budgetMs);
}

function limitOf(usualMs: number | null, budgetMs: number): number {
  return usualMs === null ? slowStepFactor * budgetMs : Math.max(budgetMs, slowStepFactor * usualMs);
}

/** The middle of what was measured last, of at most `kept` values. */
export class RunningMedian {
  readonly #kept: number;
  readonly #values: number[] = [];
  #next = 0;

  constructor(kept = 31) {
    this.#kept = kept;
  }

  add(value: number): void {
    this.#values[this.#next] = value;
    this.#next = (this.#next + 1) % this.#kept;
  }

  /** Null before the first value. */
  get value(): number | null {
    const sorted = [...this.#values].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)] ?? null;
  }
}

/** How long rounds take, by pass. */
export type UsualTimes = readonly [step: RunningMedian, validation: RunningMedian];

export function usualTimes(): UsualTimes {
  return [new RunningMedian(), new RunningMedian()];
}
