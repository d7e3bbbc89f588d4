/**
 * Connections and calls that were refused: each kind is counted, told when it comes for the first time, and again whenever there
 * are ten times as many. So a flood costs a few lines of log, and not one a connection.
 */
export interface Refusal {
  /** What was wrong, the same words every time. */
  readonly kind: string;
  /** Who it was: an address, or whom a certificate names. */
  readonly from: string;
  /** More about this one. */
  readonly detail: string;
}

export interface CountedRefusal extends Refusal {
  /** With it, so many of this kind. */
  readonly count: number;
}

export class Refusals {
  readonly #counts = new Map<string, number>();
  readonly #tell: (refusal: CountedRefusal) => void;

  constructor(tell: (refusal: CountedRefusal) => void) {
    this.#tell = tell;
  }

  note(refusal: Refusal): void {
    const count = (this.#counts.get(refusal.kind) ?? 0) + 1;
    this.#counts.set(refusal.kind, count);
    if (/^10*$/.test(String(count))) this.#tell({ ...refusal, count });
  }

  /** By kind. */
  get counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }
}
