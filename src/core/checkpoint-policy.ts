import { assert } from "./errors.ts";

/**
 * Which epoch is the best one. `best` moves only to a finite value that is strictly better than the best so far: NaN
 * and the infinities never become best, not even first (a first NaN would otherwise stay best for ever, since nothing
 * compares as better); a metric that is absent is no value; of equal values the earlier one stays.
 */
export interface CheckpointPolicy {
  /** Name of the metric to follow, as in the epoch's metrics. */
  readonly monitor: string;
  readonly mode: "min" | "max";
}

/** The epoch (counted from 1) and the step with the best finite value of the monitored metric. */
export interface BestSoFar {
  readonly epoch: number;
  readonly step: number;
  readonly value: number;
}

/** A committed epoch that asks to become the best one. */
export interface Candidate {
  readonly epoch: number;
  readonly step: number;
  readonly metrics: Readonly<Record<string, number>>;
}

export interface Judgement {
  readonly improved: boolean;
  /** The best after this epoch: the candidate if it improved, else what was best before; null if there is none. */
  readonly best: BestSoFar | null;
  /** One line for the user, such as "val_loss 0.620 → 0.610, best saved". */
  readonly reason: string;
}

export function judge(policy: CheckpointPolicy, best: BestSoFar | null, candidate: Candidate): Judgement {
  assert(best === null || Number.isFinite(best.value), "the best value so far is finite");
  const { monitor, mode } = policy;
  const value = Object.hasOwn(candidate.metrics, monitor) ? candidate.metrics[monitor] : undefined;

  if (value === undefined) {
    const known = Object.keys(candidate.metrics).join(", ") || "none";
    return unchanged(best, `${monitor} missing (the metrics are: ${known})`);
  }
  if (!Number.isFinite(value)) return unchanged(best, `${monitor} ${formatMetric(value)}`);

  const challenger = { epoch: candidate.epoch, step: candidate.step, value };
  if (best === null) {
    return { improved: true, best: challenger, reason: `${monitor} ${formatMetric(value)}, best saved (first)` };
  }
  const [before, now] = formatPair(best.value, value);
  const better = mode === "min" ? value < best.value : value > best.value;
  if (better) return { improved: true, best: challenger, reason: `${monitor} ${before} → ${now}, best saved` };
  return {
    improved: false,
    best,
    reason: `${monitor} ${now}, best stays ${before} (epoch ${best.epoch})`,
  };
}

function unchanged(best: BestSoFar | null, finding: string): Judgement {
  const rest = best === null ? "no best yet" : `best stays ${formatMetric(best.value)} (epoch ${best.epoch})`;
  return { improved: false, best, reason: `${finding}, ${rest}` };
}

/** A metric's value for people: "0.610", "12345.6", "0.00123", "1.00e-7", "NaN". */
export function formatMetric(value: number): string {
  return formatDigits(value, 0);
}

/** Two finite values, with as many digits as it takes to tell them apart when they differ. */
function formatPair(first: number, second: number): readonly [string, string] {
  let extra = 0;
  let texts = [formatDigits(first, extra), formatDigits(second, extra)] as const;
  // Ends: 17 significant digits tell any two doubles apart, and `formatDigits` shows at least 3 + `extra`.
  while (first !== second && Number(texts[0]) === Number(texts[1])) {
    extra += 1;
    texts = [formatDigits(first, extra), formatDigits(second, extra)];
  }
  return texts;
}

/** Three significant digits and `extra` more; never fewer than three decimals below 1,000, nor than one above. */
function formatDigits(value: number, extra: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return String(value);
  if (size === 0) return (0).toFixed(3 + extra);
  if (size < 1e-4 || size >= 1e7) return value.toExponential(2 + extra);
  if (size >= 1000) return value.toFixed(1 + extra);
  const leadingZeros = size < 0.1 ? -Math.floor(Math.log10(size)) - 1 : 0;
  return value.toFixed(3 + leadingZeros + extra);
}
