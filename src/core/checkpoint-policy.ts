import { assert } from "./errors.ts";
import { describedRule, type SplitRule } from "./validation-split.ts";

/**
 * Which epoch is the best one. `best` moves only to a finite value that is better than the best so far, by more than
 * `minDelta`: NaN and the infinities never become best, not even first (a first NaN would otherwise stay best for ever,
 * since nothing compares as better); a metric that is absent is no value; of equal values the earlier one stays.
 *
 * Values are compared only when they are values of one thing: the same metric, to be as small or as large as possible,
 * measured on the same data. A best of something else is none, and a new line of bests begins.
 */
export interface CheckpointPolicy {
  /** Name of the metric to follow, as in the epoch's metrics. */
  readonly monitor: string;
  readonly mode: "min" | "max";
  /** Better by this much or less is no improvement. Default 0. */
  readonly minDelta?: number;
  /** The first best has to be better than this. Default null: any finite value will do. */
  readonly initialValueThreshold?: number | null;
}

/** What a value is a value of. */
export interface BestOf {
  readonly monitor: string;
  readonly mode: "min" | "max";
  /** Names the data that it was measured on, see `measuredOn`. */
  readonly data: string;
}

/** The epoch (counted from 1) and the step with the best finite value of the monitored metric. */
export interface BestSoFar {
  readonly epoch: number;
  readonly step: number;
  readonly value: number;
  readonly of: BestOf;
}

/** A committed epoch that asks to become the best one. */
export interface Candidate {
  readonly epoch: number;
  readonly step: number;
  readonly metrics: Readonly<Record<string, number>>;
  /** Names the data that the metrics were measured on. */
  readonly data: string;
}

export interface Judgement {
  readonly improved: boolean;
  /** The best after this epoch: the candidate if it improved, else what was best before; null if there is none. */
  readonly best: BestSoFar | null;
  /** What the best before was of, when that was something else: it counts no more. */
  readonly setAside: BestOf | null;
  /** One line for the user, such as "val_loss 0.620 → 0.610, best saved". */
  readonly reason: string;
}

/** What the policy's best is of, on this data. */
export function bestOf({ monitor, mode }: CheckpointPolicy, data: string): BestOf {
  return { monitor, mode, data };
}

export function isSameBest(a: BestOf, b: BestOf): boolean {
  return a.monitor === b.monitor && a.mode === b.mode && a.data === b.data;
}

/** What a monitored value was measured on, as text: the data, and for validation also how it was split off. */
export function measuredOn(
  monitor: string,
  { data, seed, validation }: { data: string; seed: number; validation: SplitRule | null },
): string {
  if (!monitor.startsWith("val_") || !validation) return data;
  if ("by" in validation) {
    const isDrawn = validation.by === "class" || validation.by === "group";
    const part = "fraction" in validation ? ` ${validation.fraction}` : "";
    return `${data}, ${describedRule(validation)}${part}${isDrawn ? ` by seed ${seed}` : ""}`;
  }
  const { take, fraction } = validation;
  return `${data}, ${take} ${fraction}${take === "random" ? ` by seed ${seed}` : ""}`;
}

export function judge(policy: CheckpointPolicy, best: BestSoFar | null, candidate: Candidate): Judgement {
  assert(best === null || Number.isFinite(best.value), "the best value so far is finite");
  const of = bestOf(policy, candidate.data);
  if (best === null || isSameBest(best.of, of)) return { ...compare(policy, best, candidate), setAside: null };
  const judgement = compare(policy, null, candidate);
  const reason = `${judgement.reason}; a new line of bests, since the one before was of ${describeBest(best.of, of)}`;
  return { ...judgement, reason, setAside: best.of };
}

function compare(policy: CheckpointPolicy, best: BestSoFar | null, candidate: Candidate): Omit<Judgement, "setAside"> {
  const { monitor } = policy;
  const value = Object.hasOwn(candidate.metrics, monitor) ? candidate.metrics[monitor] : undefined;

  if (value === undefined) {
    const known = Object.keys(candidate.metrics).join(", ") || "none";
    return unchanged(best, `${monitor} missing (the metrics are: ${known})`);
  }
  if (!Number.isFinite(value)) return unchanged(best, `${monitor} ${formatMetric(value)}`);

  const { epoch, step, data } = candidate;
  const challenger = { epoch, step, value, of: bestOf(policy, data) };
  const isBetter = improves(policy, best?.value ?? null, value);
  if (best === null) {
    if (!isBetter) return unchanged(null, `${monitor} ${aside(value, policy.initialValueThreshold ?? 0)}`);
    return { improved: true, best: challenger, reason: `${monitor} ${formatMetric(value)}, best saved (first)` };
  }
  const [before, now] = formatPair(best.value, value);
  if (isBetter) return { improved: true, best: challenger, reason: `${monitor} ${before} → ${now}, best saved` };
  // With minDelta a value may be better and not enough so.
  return { improved: false, best, reason: `${monitor} ${now}, best stays ${before} (epoch ${best.epoch})` };
}

function aside(value: number, threshold: number): string {
  const [limit, now] = formatPair(threshold, value);
  return `${now} is no better than the threshold ${limit}`;
}

/** Whether a finite value is better than another; without another, than the threshold. */
export function improves(policy: CheckpointPolicy, than: number | null, value: number): boolean {
  const reference = than ?? policy.initialValueThreshold ?? null;
  if (!Number.isFinite(value)) return false;
  if (reference === null) return true;
  return (policy.mode === "min" ? reference - value : value - reference) > (policy.minDelta ?? 0);
}

/**
 * Whether the published `best` moves to a boundary that is being published: rule 9. What counts is the published best, not
 * the best so far of whoever publishes: that may be the best of a run that goes on from further back, or one that was never
 * published.
 */
export function movesBest(
  policy: CheckpointPolicy,
  published: { readonly of: BestOf; readonly value: number | null } | null,
  point: { readonly of: BestOf; readonly value: number | null },
): boolean {
  if (point.value === null) return false;
  const isSame = published !== null && isSameBest(published.of, point.of);
  return improves(policy, isSame ? published.value : null, point.value);
}

/** What a best was of, for somebody who knows what it is of now. */
function describeBest(before: BestOf, now: BestOf): string {
  if (before.monitor === now.monitor && before.mode === now.mode) return `${before.monitor} on other data`;
  return `${before.monitor} (${before.mode})`;
}

function unchanged(best: BestSoFar | null, finding: string): Omit<Judgement, "setAside"> {
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
