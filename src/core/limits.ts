/** Bounds that the formats and the protocol rely on, each with its reason. */

/** Raised with every change of lockstep that gives other bits: sampling, randomness, the tree, losses, optimizers. */
export const arithmeticVersion = 7;

/** Shards are numbered in 16 bits on the wire. */
export const maxShards = 4096;

/** A worker has at least one shard, so there are never more workers than shards. */
export const maxWorkers = maxShards;

/** Generations are numbered in 32 bits on the wire. */
export const maxGenerations = 0xffff_ffff;

/** A bucket of gradients: large enough that the price of a message does not count, small enough to work in a pipeline. */
export const bucketBytes = 4 * 1024 * 1024;

/** One message between workers: a bucket and its header, with room to spare. */
export const maxMessageBytes = 2 * bucketBytes;

/** Parts in which a worker's state is copied to another. */
export const stateChunkBytes = 1024 * 1024;

/** Boundaries that may wait for their checkpoint before training waits for storage. */
export const maxUncoveredBoundaries = 2;

/** Names of starts that a run remembers: a supervisor's copy of a process is younger than so many starts. */
export const maxRememberedStarts = 100;
