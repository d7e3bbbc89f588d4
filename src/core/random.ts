/**
 * Counter-based random numbers: the n-th number of a stream is a function of (seed, purpose, a, b, c, n) alone. So any
 * worker can draw the numbers of any shard of any step without having drawn the ones before, and two streams never
 * share a number. The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011): ten rounds of two multiplications and exclusive ors over a 128-bit counter.
 */
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const ROUNDS = 10;

/** What a stream's numbers are for; part of the counter, so that purposes never share numbers. */
const purposes = {
  "initial-weights": 1,
  split: 2,
  shuffle: 3,
  step: 4,
  report: 5,
  validation: 6,
  evaluation: 7,
  "job-file": 8,
  recording: 9,
  augmentation: 10,
} as const;
export type Purpose = keyof typeof purposes;

/** One block of four 32-bit numbers. `key` and `counter` are read, `out` is written. */
export function philox(key: readonly [number, number], counter: Uint32Array, out: Uint32Array): void {
  let [k0, k1] = key;
  let c0 = counter[0]!;
  let c1 = counter[1]!;
  let c2 = counter[2]!;
  let c3 = counter[3]!;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0);
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** The upper 32 bits of the product of two unsigned 32-bit numbers. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const other = aLow * bHigh + (middle & 0xffff);
  return aHigh * bHigh + Math.floor(middle / 0x10000) + (other >>> 16) + (other >= 0x100000000 ? 0x10000 : 0);
}

export class RandomStream {
  readonly #key: readonly [number, number];
  readonly #counter: Uint32Array;
  readonly #block = new Uint32Array(4);
  #next = 4;

  /**
   * `a` and `b`, whole numbers below 2^32, and `c`, below 2^24, name the stream within its purpose, as epoch, or step and
   * shard, or step, shard and batch.
   */
  constructor(seed: number, purpose: Purpose, a = 0, b = 0, c = 0) {
    this.#key = [seed >>> 0, Math.floor(seed / 0x100000000) >>> 0];
    // These two share a word with the upper bits of the draw index, which 2^32 blocks of one stream never reach.
    this.#counter = Uint32Array.of(0, (purposes[purpose] << 24) | c, a, b);
  }

  /** A whole number in [0, 2^32). */
  nextUint32(): number {
    if (this.#next === 4) {
      philox(this.#key, this.#counter, this.#block);
      this.#counter[0]!++;
      if (this.#counter[0] === 0) this.#counter[1]!++;
      this.#next = 0;
    }
    return this.#block[this.#next++]!;
  }

  /** A number in [0, 1) with 53 random bits, as `Math.random` gives. */
  nextFloat(): number {
    return ((this.nextUint32() >>> 5) * 0x4000000 + (this.nextUint32() >>> 6)) / 0x20000000000000;
  }

  /** A whole number in [0, bound), each equally likely; bound is at most 2^32. */
  nextBelow(bound: number): number {
    const limit = 0x100000000 - (0x100000000 % bound);
    for (;;) {
      const drawn = this.nextUint32();
      if (drawn < limit) return drawn % bound;
    }
  }

  /** Puts the values into a random order, each order equally likely (Fisher–Yates). */
  shuffle(values: Uint32Array): Uint32Array {
    for (let i = values.length - 1; i > 0; i--) {
      const j = this.nextBelow(i + 1);
      const kept = values[i]!;
      values[i] = values[j]!;
      values[j] = kept;
    }
    return values;
  }
}
