/** Memory for partial sums that arrive, used again by the next generation. */
import type { RowMemory } from "../core/row-memory.ts";

/** Rows begin at multiples of this, as any number must. */
const alignment = 64;

export class Staging {
  readonly #memory: RowMemory;
  readonly #slabs: Uint8Array[] = [];
  #slab = 0;
  #at = 0;

  constructor(memory: RowMemory) {
    this.#memory = memory;
  }

  /** Everything that was taken is free again; so much will be wanted, in pieces. */
  begin(pieces: readonly number[]): void {
    this.#slab = 0;
    this.#at = 0;
    // What does not fit into the memory that is there gets one new piece.
    let missing = 0;
    for (const piece of pieces) if (!this.#fit(piece)) missing += aligned(piece);
    if (missing > 0) this.#slabs.push(this.#memory.allocate(missing));
    this.#slab = 0;
    this.#at = 0;
  }

  /** One of the pieces that `begin` was told of, in that order. */
  take(sizeBytes: number): Uint8Array {
    const piece = this.#fit(sizeBytes);
    if (!piece) throw new RangeError("more is taken than was asked for");
    return piece;
  }

  #fit(sizeBytes: number): Uint8Array | null {
    for (; this.#slab < this.#slabs.length; this.#slab++, this.#at = 0) {
      const slab = this.#slabs[this.#slab]!;
      if (this.#at + sizeBytes > slab.byteLength) continue;
      const piece = slab.subarray(this.#at, this.#at + sizeBytes);
      this.#at = aligned(this.#at + sizeBytes);
      return piece;
    }
    return null;
  }
}

function aligned(sizeBytes: number): number {
  return Math.ceil(sizeBytes / alignment) * alignment;
}
