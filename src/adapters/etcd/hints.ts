import { assert } from "../../core/errors.ts";
import type { Clock } from "../../ports/clock.ts";

export interface HintsOptions {
  readonly clock: Clock;
  /** The longest time between two hints. */
  readonly pollMs: number;
  readonly onHint: () => void;
  /** Ends the hints. */
  readonly signal: AbortSignal;
}

/** Returns a function that gives a hint, and gives one by itself whenever none came for `pollMs`. */
export function startHints({ clock, pollMs, onHint, signal }: HintsOptions): () => void {
  assert(pollMs > 0, `a watch polls at intervals above 0 ms, not ${pollMs}`);
  let lastHintMs = clock.monotonicMs();
  const hint = (): void => {
    if (signal.aborted) return;
    lastHintMs = clock.monotonicMs();
    onHint();
  };
  const poll = async (): Promise<void> => {
    while (!signal.aborted) {
      const restMs = lastHintMs + pollMs - clock.monotonicMs();
      if (restMs <= 0) hint();
      else await clock.sleep(restMs, signal).catch(() => undefined);
    }
  };
  void poll();
  return hint;
}
