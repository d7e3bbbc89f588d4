/**
 * Whether a run is over before its last epoch because the monitored metric gets no better. A function of the committed
 * epochs and the rule alone, with no memory of its own: the epochs' metrics are in the replicated state, so every worker
 * comes to the same answer after the same epoch, and a start with another rule looks at all of them anew.
 */
import { type CheckpointPolicy, improves, measuredOn } from "./checkpoint-policy.ts";
import type { CheckpointRule } from "./job.ts";
import type { Sampling } from "./ledger.ts";
import type { EpochHistory } from "./status.ts";

export interface EarlyStopping {
  /** So many epochs in a row without improvement end the run; 0 is as 1. */
  readonly patience: number;
  /** Better by this much or less is no improvement. */
  readonly minDelta: number;
  /** The first epochs are not looked at: so many. */
  readonly startFromEpoch: number;
}

/**
 * Why the run ends with its last closed epoch, or null. As Keras' `EarlyStopping`: after `patience` epochs without a value
 * that is better than the best one before by more than `minDelta`. A value that is missing or not finite is never better.
 * Epochs whose metric was measured on other data do not count.
 */
export function stoppedEarly(
  { earlyStopping, ...policy }: CheckpointRule,
  { history, samplings }: { history: readonly EpochHistory[]; samplings: readonly Sampling[] },
): string | null {
  const last = history.at(-1);
  if (!earlyStopping || !last) return null;
  const { patience, minDelta, startFromEpoch } = earlyStopping;
  const rule: CheckpointPolicy = { monitor: policy.monitor, mode: policy.mode, minDelta };
  const from = Math.max(startFromEpoch, firstEpochOfData(policy.monitor, samplings));
  let best: { epoch: number; value: number } | null = null;
  let waited = 0;
  for (const { epoch, metrics } of history) {
    if (epoch <= from) continue;
    const value = metrics[rule.monitor] ?? Number.NaN;
    if (improves(rule, best?.value ?? null, value)) {
      best = { epoch, value };
      waited = 0;
    } else waited++;
  }
  if (waited < Math.max(1, patience)) return null;
  const finding = best
    ? `${rule.monitor} has not improved ${minDelta > 0 ? `by more than ${minDelta} ` : ""}since epoch ${best.epoch}`
    : `${rule.monitor} was never a finite number`;
  return `stopped early after epoch ${last.epoch}: ${finding}`;
}

/** How many epochs were closed when the data came that the metric is measured on now. */
function firstEpochOfData(monitor: string, samplings: readonly Sampling[]): number {
  let before: string | null = null;
  let first = 0;
  for (const sampling of samplings) {
    const data = measuredOn(monitor, sampling);
    if (data !== before) first = before === null ? 0 : sampling.epoch;
    before = data;
  }
  return first;
}
