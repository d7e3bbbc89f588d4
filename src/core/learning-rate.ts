/**
 * The learning rate of every update, as a function of committed state alone: of how many updates there were, and, for a
 * rate that follows a metric, of what the closed epochs have measured. So it resumes to the bit.
 */
import type { CheckpointPolicy } from "./checkpoint-policy.ts";
import { unreachable } from "./errors.ts";
import type { LearningRate, LearningRateSchedule, Span } from "./job.ts";

/** What a rate is measured against. */
export interface RateContext {
  /** Updates committed before this one. */
  readonly updates: number;
  readonly stepsPerEpoch: number;
  /** The epochs that this job trains. */
  readonly epochs: number;
  readonly plateau: PlateauState | null;
}

/** How a rate that follows a metric stands. Part of the replicated state. */
export interface PlateauState {
  /** The rate by which it has been cut so far: 1 at first. */
  readonly scale: number;
  /** The best value so far; null before the first finite one. */
  readonly best: number | null;
  /** Closed epochs without a better value, and epochs to go in which none is counted. */
  readonly waited: number;
  readonly cooldown: number;
}

export const initialPlateau: PlateauState = { scale: 1, best: null, waited: 0, cooldown: 0 };

/**
 * The rate of the update after `updates` others. During the warm-up it rises in a straight line, from 0 at the first
 * update to `initial`; what comes after begins when the warm-up is over. The formulas are Keras' (`ExponentialDecay`
 * with and without `staircase`, `CosineDecay`).
 */
export function learningRateAt(rate: LearningRate, context: RateContext): number {
  if (typeof rate === "number") return rate;
  const warmup = rate.warmup ? stepsOf(rate.warmup, context) : 0;
  if (context.updates < warmup) return (rate.initial * context.updates) / warmup;
  const done = context.updates - warmup;
  switch (rate.kind) {
    case "constant":
      return rate.initial;
    case "step":
      return rate.initial * rate.factor ** Math.floor(done / stepsOf(rate.every, context));
    case "exponential":
      return rate.initial * rate.factor ** (done / stepsOf(rate.every, context));
    case "cosine": {
      const whole = rate.over ? stepsOf(rate.over, context) : context.epochs * context.stepsPerEpoch - warmup;
      const part = whole > 0 ? Math.min(done / whole, 1) : 1;
      const final = rate.final ?? 0;
      return final + (rate.initial - final) * 0.5 * (1 + Math.cos(Math.PI * part));
    }
    case "plateau":
      return Math.max(rate.initial * (context.plateau?.scale ?? 1), Math.min(rate.initial, rate.minimum ?? 0));
    default:
      return unreachable(rate);
  }
}

/** Whether the rate depends on how many epochs the job trains, so that training longer is training otherwise. */
export function dependsOnEpochs(rate: LearningRate): boolean {
  return typeof rate !== "number" && rate.kind === "cosine" && rate.over === undefined;
}

type PlateauSchedule = Extract<LearningRateSchedule, { kind: "plateau" }>;

/**
 * How it stands after an epoch with these metrics. As Keras' `ReduceLROnPlateau`: a value is better when it improves on
 * the best by more than `minDelta`; after `patience` closed epochs without, the rate is multiplied by `factor`, and
 * counting begins again with the `cooldown`-th epoch after that. A value that is missing or not finite is never better.
 */
export function plateauAfterEpoch(
  schedule: PlateauSchedule,
  policy: CheckpointPolicy,
  state: PlateauState,
  metrics: Readonly<Record<string, number>>,
): PlateauState {
  const { patience = 10, factor = 0.1, minDelta = 1e-4, cooldown = 0 } = schedule;
  const value = metrics[schedule.monitor ?? policy.monitor];
  const sign = (schedule.mode ?? policy.mode) === "min" ? 1 : -1;
  const left = Math.max(0, state.cooldown - 1);
  // Keras' count: the epoch in which the cooldown ends is counted again.
  const rests = left > 0;
  if (Number.isFinite(value) && (state.best === null || sign * (state.best - value!) > minDelta)) {
    return { ...state, best: value!, waited: 0, cooldown: left };
  }
  const waited = rests ? 0 : state.waited + 1;
  if (waited < patience || rests) return { ...state, waited, cooldown: left };
  return { ...state, scale: state.scale * factor, waited: 0, cooldown };
}

function stepsOf(span: Span, { stepsPerEpoch }: RateContext): number {
  return "steps" in span ? span.steps : span.epochs * stepsPerEpoch;
}
