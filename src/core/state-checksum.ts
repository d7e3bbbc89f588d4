/**
 * A cheap checksum of the state, which every few steps travels with each shard's contribution: so a replica whose state is
 * not the others' is found within the epoch, and the step at which it is found is applied by nobody. What it contributed to
 * steps before that is in everybody's state, which is why all go back to what was published. Checksums are compared by their
 * sums alone: of n whole numbers all are equal if and only if n · Σc² = (Σc)².
 */

/** The sums of c⁰, c¹ and c² over the shards that were computed. */
export interface ChecksumSums {
  readonly count: number;
  readonly sum: number;
  readonly squares: number;
}

/** A checksum is taken at every so many steps: of a big state more seldom, so that it costs well below a hundredth of a step. */
export function checksumEvery(valueCount: number): number {
  return Math.max(16, Math.ceil(valueCount / 65_536));
}

/**
 * Of all bits of these numbers. Two states that differ in one number differ in 32 bits before they are folded into as many as
 * S allows: n · Σc² has to stay below 2^53.
 */
export function checksumOf(values: Float32Array, shards: number): number {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  let hash = 0x811c9dc5;
  for (let i = 0; i < words.length; i++) hash = Math.imul(hash ^ words[i]!, 0x01000193);
  // The low bits of a product know nothing of the high ones of what was multiplied.
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  return hash >>> (32 - checksumBits(shards));
}

export function checksumBits(shards: number): number {
  return Math.min(20, Math.floor((52 - 2 * Math.ceil(Math.log2(shards))) / 2));
}

export function areEqual({ count, sum, squares }: ChecksumSums): boolean {
  return count * squares === sum * sum;
}
