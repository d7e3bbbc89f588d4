/**
 * The memory that a worker needs, part by part, beside what it has in use when its model is built. It is known before the first
 * step, so that a job that cannot fit is refused with the sum, instead of ending in the middle. Not in it are the outputs of a
 * model's layers while a step is computed, which only the engine knows.
 */
import { LockstepError } from "./errors.ts";
import { maxUncoveredBoundaries } from "./limits.ts";
import { formatBytes, formatCount } from "./number-format.ts";
import { largestSubtrees, shardsOfRank } from "./reduce-tree.ts";
import { isAtMultiple } from "./row-memory.ts";

export interface MemorySizes {
  /** Of the process when its model is built: for engine, job file, data and model. */
  readonly inUseBytes: number;
  /** Numbers in the state: weights and the optimizer's slots. */
  readonly valueCount: number;
  /** Numbers that a step adds up: gradients and statistics. */
  readonly reducedCount: number;
  readonly trainableCount: number;
  /** Of those that a step adds up: where the weights end, one after the other. */
  readonly partEnds: readonly number[];
  readonly shards: number;
  /** The largest world that the run may have. */
  readonly mostWorkers: number;
}

export interface MemoryPart {
  readonly what: string;
  readonly bytes: number;
}

/** All numbers are float32. */
const numberBytes = 4;
/** Of a step's gradients: as the engine hands them out, and as it takes them for the update. */
const gradientCopies = 2;
/** Points that wait for storage, the next one's, and one on its way to a newcomer. */
const stateCopies = maxUncoveredBoundaries + 2;
/** Of larger worlds only the largest is looked at: what a worker holds gets less with every other one. */
const worldsLookedAt = 64;

export function memoryParts(sizes: MemorySizes): readonly MemoryPart[] {
  const { inUseBytes, valueCount, reducedCount, trainableCount, partEnds, shards, mostWorkers } = sizes;
  const rows = Math.max(...worldsUpTo(mostWorkers).map((world) => rowsIn(shards, world)));
  return [
    { what: "in use already", bytes: inUseBytes },
    { what: "for gradients", bytes: (gradientCopies * trainableCount + unalignedIn(partEnds)) * numberBytes },
    {
      what: `for their sums (${formatCount(Math.ceil(rows))} rows)`,
      bytes: Math.ceil(rows * reducedCount) * numberBytes,
    },
    { what: `for copies of the state (${stateCopies})`, bytes: stateCopies * valueCount * numberBytes },
  ];
}

/** Numbers of weights that begin where the engine cannot write their gradients: they have rows of their own besides. */
function unalignedIn(partEnds: readonly number[]): number {
  const begins = partEnds.map((_, i) => partEnds[i - 1] ?? 0);
  return begins.reduce((sum, begin, i) => sum + (isAtMultiple(begin * numberBytes) ? 0 : partEnds[i]! - begin), 0);
}

/**
 * Rows of the model's size that one worker holds in a world: the totals, its own largest subtrees and a row for each level of
 * them, and its part of what comes from the others.
 */
function rowsIn(shards: number, world: number): number {
  const nodes = Array.from({ length: world }, (_, rank) => largestSubtrees(shards, shardsOfRank(shards, world, rank)));
  const all = nodes.reduce((sum, own) => sum + own.length, 0);
  return Math.max(
    ...nodes.map((own) => {
      const levels = Math.max(...own.map(({ begin, end }) => Math.ceil(Math.log2(end - begin))));
      return 1 + own.length + levels + (all - own.length) / world;
    }),
  );
}

function worldsUpTo(most: number): number[] {
  const worlds = Array.from({ length: Math.min(most, worldsLookedAt) }, (_, i) => i + 1);
  return most > worldsLookedAt ? [...worlds, most] : worlds;
}

export interface MemoryLimit {
  readonly bytes: number;
  /** "this machine" or "this container". */
  readonly whose: string;
}

/** The sum, as a sentence. */
export function memorySentence(parts: readonly MemoryPart[]): string {
  const told = parts.map(({ what, bytes }) => `${formatBytes(bytes)} ${what}`).join(", ");
  return `Memory: a worker needs ${formatBytes(sumOf(parts))} and room for its layers' outputs: ${told}.`;
}

/** Refuses with "out-of-memory" what is more than there is, for so many workers that share it. */
export function checkMemory(parts: readonly MemoryPart[], limit: MemoryLimit, workers = 1): void {
  const bytes = workers * sumOf(parts);
  if (bytes <= limit.bytes) return;
  const all = workers === 1 ? "" : ` ${formatCount(workers)} workers need ${formatBytes(bytes)}.`;
  throw new LockstepError(
    "out-of-memory",
    `${memorySentence(parts)}${all} But ${limit.whose} has ${formatBytes(limit.bytes)}.`,
    {
      hint: `Use ${workers === 1 ? "" : "fewer workers, "}a smaller model, an optimizer with fewer slots, or fewer shards; or more memory.`,
    },
  );
}

export function sumOf(parts: readonly MemoryPart[]): number {
  return parts.reduce((sum, { bytes }) => sum + bytes, 0);
}
