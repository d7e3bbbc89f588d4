/**
 * Saves by time. The leader's clock decides when one is due, and its vote travels with the next step, so that all members
 * save after the same one; a leader that goes takes its clock with it, and the next one counts from the last checkpoint.
 */
import type { Clock } from "../ports/clock.ts";
import type { RunState } from "./run-view.ts";

export class SaveClock {
  readonly #clock: Clock;
  readonly #everyMs: number;
  readonly #vote: () => void;
  #latest: number | null = null;
  #sinceMs: number;

  constructor(clock: Clock, everyMs: number, vote: () => void) {
    this.#clock = clock;
    this.#everyMs = everyMs;
    this.#vote = vote;
    this.#sinceMs = clock.monotonicMs();
  }

  /** After every reading of the run's keys. */
  look({ latest }: Pick<RunState, "latest">, leads: boolean): void {
    const nowMs = this.#clock.monotonicMs();
    if (latest && latest.modRevision !== this.#latest) {
      this.#latest = latest.modRevision;
      this.#sinceMs = nowMs;
    }
    if (!leads || nowMs - this.#sinceMs < this.#everyMs) return;
    this.#sinceMs = nowMs;
    this.#vote();
  }
}
