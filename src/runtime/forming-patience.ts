/**
 * How long a generation may form before those who have not reported are left out. Nobody knows how long a first step takes:
 * where somebody was left out, and came back, and was left out again for the same step, nobody would ever take one. So
 * the limit doubles each time, and is as it was once that is long ago.
 */
const mostDoublings = 6;

export class FormingPatience {
  readonly #limitMs: number;
  #doublings = 0;
  #lateAtMs = Number.NEGATIVE_INFINITY;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  limitMs(nowMs: number): number {
    const limitMs = this.#limitMs * 2 ** this.#doublings;
    if (nowMs - this.#lateAtMs <= 4 * limitMs) return limitMs;
    this.#doublings = 0;
    return this.#limitMs;
  }

  /** Somebody was left out for not having reported. */
  late(nowMs: number): void {
    this.#doublings = Math.min(this.#doublings + 1, mostDoublings);
    this.#lateAtMs = nowMs;
  }
}
