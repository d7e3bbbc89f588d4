/** What has arrived of an all-reduce's rounds, by round and bucket. Peers may be one round ahead. */
import type { Round } from "../core/contribution.ts";
import type { Arrived } from "./row-sums.ts";

/** What has arrived for one bucket of one round. */
export interface Gathering {
  /** Partial sums of this worker's own chunk, by node; null for a node without samples. */
  readonly partials: Map<string, Arrived | null>;
  /** Of those, and of the totals, which have begun to arrive: nothing comes twice. */
  readonly begun: Set<string>;
  /** How many partial sums came from each rank. */
  readonly delivered: Map<number, number>;
  /** Whose totals are there. */
  readonly totals: Set<number>;
}

export class Gatherings {
  readonly #gatherings = new Map<string, Gathering>();

  /** Begun where there is none. */
  of(round: Round, bucket: number): Gathering {
    let gathering = this.get(round, bucket);
    if (!gathering) {
      gathering = { partials: new Map(), begun: new Set(), delivered: new Map(), totals: new Set() };
      this.#gatherings.set(keyOf(round, bucket), gathering);
    }
    return gathering;
  }

  get(round: Round, bucket: number): Gathering | undefined {
    return this.#gatherings.get(keyOf(round, bucket));
  }

  has(round: Round, bucket: number): boolean {
    return this.#gatherings.has(keyOf(round, bucket));
  }

  delete(round: Round, bucket: number): void {
    this.#gatherings.delete(keyOf(round, bucket));
  }
}

function keyOf(round: Round, bucket: number): string {
  return `${round.step}/${round.pass}/${bucket}`;
}
