/**
 * A run's history as it is told to whoever asks for it again and again: what an asker has is not told once more. Both sides
 * count epochs of an *edition*, to which epochs are added and in which none is changed.
 */
import type { EpochHistory } from "./status.ts";

/** What an asker has: the first `epochs` of this edition. */
export interface HistoryPart {
  readonly edition: string;
  readonly epochs: number;
}

/** Of whoever tells. A row is the same object as long as it is the same row. */
export class HistoryEditions {
  readonly #name: string;
  #number = 0;
  #rows: readonly EpochHistory[] = [];

  /** @param name one that no other teller has, also none that was there before it */
  constructor(name: string) {
    this.#name = name;
  }

  /** The edition that these rows are of, and from which of them on they are to be told to an asker who has `known`. */
  tell(rows: readonly EpochHistory[], known: HistoryPart): { readonly edition: string; readonly from: number } {
    if (this.#rows.some((row, i) => row !== rows[i])) this.#number++;
    this.#rows = rows;
    const edition = `${this.#name}/${this.#number}`;
    return { edition, from: known.edition === edition ? Math.min(known.epochs, rows.length) : 0 };
  }
}
