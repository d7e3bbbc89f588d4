/** The numbers of a bucket, in memory and as they travel. */
import { type Bucket, bytesOfOne } from "../core/bucket-layout.ts";
import type { Reduction } from "../core/contribution.ts";
import { doublesIn, floatsIn, shortsIn } from "../core/row-memory.ts";
import type { Range } from "../core/sampler.ts";
import { isShort } from "../core/wire.ts";
import type { Arrived, Numbers } from "./row-sums.ts";

/** The row that the bucket is a part of. */
export function rowOf(bucket: Bucket, reduction: Reduction): Numbers {
  return bucket.kind === "float64" ? reduction.statistics : reduction.values;
}

/** The numbers that lie in these bytes, which are aligned for them, in the form in which they travel. */
export function numbersOf({ kind }: Pick<Bucket, "kind">, bytes: Uint8Array): Arrived {
  if (isShort(kind)) return shortsIn(bytes);
  return kind === "float32" ? floatsIn(bytes) : doublesIn(bytes);
}

export function bytesOf(bucket: Bucket, chunk: Range): number {
  return (chunk.end - chunk.begin) * bytesOfOne(bucket.kind);
}

export function bytesIn(numbers: Numbers): Uint8Array {
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
}

export function nameOf(node: Range): string {
  return `${node.begin}-${node.end}`;
}

export function rowKey(bucket: number, node: Range): string {
  return `${bucket}/${nameOf(node)}`;
}

export function totalsKey(bucket: number): string {
  return `${bucket}/total`;
}
