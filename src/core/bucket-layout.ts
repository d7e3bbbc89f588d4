/**
 * How the numbers of one reduction lie in memory and on the wire. The gradients of all parameters, and behind them the new values
 * of statistics such as batch normalization's, are one row of float32 in the model's order; losses, metrics and counts
 * are a few float64. The row is cut into buckets, of which each large parameter begins one; the last bucket is the float64 part, and
 * each is cut into one chunk for each worker, which adds that chunk up for everyone. Only gradients travel in the job's wire format.
 */
import { bucketBytes } from "./limits.ts";
import type { Range } from "./sampler.ts";
import { slice } from "./sampler.ts";
import type { WireFormat } from "./wire.ts";

/** A part of the row is large when it fills so much of a bucket. */
const largePart = 1 / 8;

export interface Bucket {
  readonly index: number;
  /** In what form its numbers travel. Those of 16 bits are float32 in memory, and rounded. */
  readonly kind: WireFormat | "float64";
  /** Elements of the row of float64, or else of float32. */
  readonly range: Range;
}

export interface BucketLayout {
  /** Number of float32 and float64 elements. */
  readonly values: number;
  readonly statistics: number;
  readonly buckets: readonly Bucket[];
}

/** Numbers of the values, and how they come to be. */
export interface ReducedValues {
  readonly count: number;
  /** How many of them are gradients, which come first, and in what form those travel. */
  readonly gradients: { readonly count: number; readonly wire: WireFormat };
  /** Where the parts end that are computed one by one, the last one first: one part a weight. */
  readonly partEnds: readonly number[];
}

/** Values that are one part, and travel as they are. */
export function plainValues(count: number): ReducedValues {
  return { count, gradients: { count, wire: "float32" }, partEnds: [count] };
}

export function bucketLayout({ count, gradients, partEnds }: ReducedValues, statistics: number): BucketLayout {
  const buckets: Bucket[] = [];
  const parts = partEnds.map((end, i) => ({ begin: partEnds[i - 1] ?? 0, end }));
  const cut = (kind: WireFormat, from: number, to: number) => {
    const size = bucketBytes / bytesOfOne(kind);
    // Parts come from the last one to the first, and a bucket is there when all of its parts are: so a large one waits for none before it.
    const large = parts.filter(({ begin, end }) => end - begin >= size * largePart && from < begin && begin < to);
    let begin = from;
    for (const border of [...large.map((part) => part.begin), to]) {
      while (begin < border) {
        const end = Math.min(begin + size, border);
        buckets.push({ index: buckets.length, kind, range: { begin, end } });
        begin = end;
      }
    }
  };
  // What travels in one form needs no border between its parts.
  const border = gradients.wire === "float32" ? 0 : gradients.count;
  cut(gradients.wire, 0, border);
  cut("float32", border, count);
  buckets.push({ index: buckets.length, kind: "float64", range: { begin: 0, end: statistics } });
  return { values: count, statistics, buckets };
}

export function bytesOfOne(kind: Bucket["kind"]): number {
  if (kind === "float64") return Float64Array.BYTES_PER_ELEMENT;
  return kind === "float32" ? Float32Array.BYTES_PER_ELEMENT : Uint16Array.BYTES_PER_ELEMENT;
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
