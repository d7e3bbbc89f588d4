/**
 * How the numbers of one reduction lie in memory and on the wire. The gradients of all parameters (and the new values
 * of statistics such as batch normalization's) are one row of float32 in the model's order; losses, metrics and counts
 * are a few float64. The row is cut into buckets, the last bucket is the float64 part, and each bucket is cut into one
 * chunk for each worker, which adds that chunk up for everyone.
 */
import { bucketBytes } from "./limits.ts";
import type { Range } from "./sampler.ts";
import { slice } from "./sampler.ts";

export interface Bucket {
  readonly index: number;
  readonly kind: "float32" | "float64";
  /** Elements of the row of its kind. */
  readonly range: Range;
}

export interface BucketLayout {
  /** Number of float32 and float64 elements. */
  readonly values: number;
  readonly statistics: number;
  readonly buckets: readonly Bucket[];
}

export function bucketLayout(values: number, statistics: number): BucketLayout {
  const size = bucketBytes / Float32Array.BYTES_PER_ELEMENT;
  const buckets: Bucket[] = [];
  for (let begin = 0; begin < values; begin += size) {
    buckets.push({ index: buckets.length, kind: "float32", range: { begin, end: Math.min(begin + size, values) } });
  }
  buckets.push({ index: buckets.length, kind: "float64", range: { begin: 0, end: statistics } });
  return { values, statistics, buckets };
}

/** The buckets of a round: validation has no gradients, only statistics. */
export function bucketsOf(layout: BucketLayout, pass: 0 | 1): readonly Bucket[] {
  return pass === 0 ? layout.buckets : layout.buckets.slice(-1);
}

/** The elements of a bucket that the worker with this rank adds up. May be empty. */
export function chunkOf(bucket: Bucket, world: number, rank: number): Range {
  const part = slice(bucket.range.end - bucket.range.begin, world, rank);
  return { begin: bucket.range.begin + part.begin, end: bucket.range.begin + part.end };
}
