/**
 * A worker's sum whose last row is still being computed: which buckets of it are written already, and how such a bucket is finished.
 * It comes to the same bits as a sum that `ShardSums` finishes.
 */
import type { Bucket, BucketLayout } from "../core/bucket-layout.ts";
import type { Contribution } from "../core/contribution.ts";
import type { Place, RowMemory } from "../core/row-memory.ts";
import type { Range } from "../core/sampler.ts";
import { isShort } from "../core/wire.ts";
import { rowOf } from "./bucket-rows.ts";
import type { Numbers } from "./row-sums.ts";

/** The parts of the row of values that each bucket has numbers of, where parts end at `partEnds`. */
export function partsOfBuckets({ buckets }: BucketLayout, partEnds: readonly number[]): Map<Bucket, Range> {
  const partAt = (element: number) => partEnds.findIndex((end) => element < end);
  const ofValues = buckets.filter(({ kind }) => kind !== "float64");
  return new Map(
    ofValues.map((bucket) => {
      const { begin, end } = bucket.range;
      return [bucket, { begin: partAt(begin), end: partAt(end - 1) + 1 }];
    }),
  );
}

/** Takes those out whose parts are all there. Another thread writes them, and says so only afterwards. */
export function takeWritten(waiting: Map<Bucket, Range>, written: Int32Array): Bucket[] {
  const isThere = ({ begin, end }: Range) => {
    for (let part = begin; part < end; part++) if (Atomics.load(written, part) === 0) return false;
    return true;
  };
  const there = [...waiting].filter(([, parts]) => isThere(parts)).map(([bucket]) => bucket);
  for (const bucket of there) waiting.delete(bucket);
  return there;
}

/** Makes a bucket of the contribution's sum what it is to be; nothing where the trainer has. */
export function finishSum(bucket: Bucket, { sum, rest }: Contribution, memory: RowMemory): void {
  if (sum === null || rest === undefined) return;
  const { kind, range } = bucket;
  const rows = [sum, ...rest].map((row) => rowOf(bucket, row).subarray(range.begin, range.end));
  if (isShort(kind)) memory.roundTo(kind, rows.at(-1) as Float32Array); // as all but float64
  for (let i = rows.length - 2; i >= 0; i--) add(kind, rows[i]!, rows[i + 1]!, memory);
}

function add(kind: Bucket["kind"], into: Numbers, other: Numbers, memory: RowMemory): void {
  if (kind === "float64") {
    for (let i = 0; i < into.length; i++) into[i]! += other[i]!;
    return;
  }
  const [left, right] = [into, other].map((row) => ({ row: row as Float32Array, at: 0 })) as [Place, Place];
  if (isShort(kind)) memory.addRounded(kind, { into: left, packed: null }, left, right, into.length);
  else memory.add(left, left, right, into.length);
}
