/**
 * Which sample is used when: a function of (seed, epoch, step) and of the sizes, never of the workers. An epoch is one
 * random order of the training split; a global batch is the next `batchSize` samples of it (the last one may be
 * smaller); a shard is one of S contiguous slices of the batch.
 */
import { RandomStream } from "./random.ts";

export interface Range {
  readonly begin: number;
  /** Exclusive. */
  readonly end: number;
}

export function isEmpty({ begin, end }: Range): boolean {
  return begin === end;
}

/** The i-th of `parts` contiguous slices of `count` things; sizes differ by at most one, the larger ones come first. */
export function slice(count: number, parts: number, i: number): Range {
  const size = Math.floor(count / parts);
  const larger = count % parts;
  const begin = i * size + Math.min(i, larger);
  return { begin, end: begin + size + (i < larger ? 1 : 0) };
}

export interface Split {
  /** Indices into the dataset, ascending; disjoint, together all samples. */
  readonly training: Uint32Array;
  readonly validation: Uint32Array;
}

/** Held back by chance, or at the end. What else there is, is in split.ts. */
export function splitSamples(
  seed: number,
  total: number,
  validation: { readonly fraction: number; readonly take: "random" | "last" } | null,
): Split {
  const all = Uint32Array.from({ length: total }, (_, i) => i);
  if (!validation) return { training: all, validation: new Uint32Array(0) };
  const held = Math.round(total * validation.fraction);
  if (validation.take === "random") new RandomStream(seed, "split").shuffle(all);
  return { training: all.slice(0, total - held).sort(), validation: all.slice(total - held).sort() };
}

/** The epoch's order: positions into the training split. Epochs count from 0. */
export function epochOrder(seed: number, epoch: number, trainingSamples: number): Uint32Array {
  const order = Uint32Array.from({ length: trainingSamples }, (_, i) => i);
  return new RandomStream(seed, "shuffle", epoch).shuffle(order);
}

export function stepsPerEpoch(trainingSamples: number, batchSize: number): number {
  return Math.ceil(trainingSamples / batchSize);
}

/**
 * The part of the epoch's order that the next step uses, when `used` samples of it have been used. Counted in samples,
 * so that a batch size that is changed in the middle of an epoch neither repeats nor forgets one.
 */
export function batchRange(trainingSamples: number, batchSize: number, used: number): Range {
  return { begin: used, end: Math.min(used + batchSize, trainingSamples) };
}

/** The samples of one shard of one step, as positions of the epoch's order. May be empty in a small last batch. */
export function shardRange(batch: Range, shards: number, shard: number): Range {
  const part = slice(batch.end - batch.begin, shards, shard);
  return { begin: batch.begin + part.begin, end: batch.begin + part.end };
}

/** The same of all shards of some nodes of the tree, in their order, without those that are empty. */
export function stepRanges(nodes: readonly Range[], shards: number, batch: Range): Range[] {
  const numbers = nodes.flatMap(({ begin, end }) => Array.from({ length: end - begin }, (_, i) => begin + i));
  return numbers.map((shard) => shardRange(batch, shards, shard)).filter(({ begin, end }) => begin < end);
}
