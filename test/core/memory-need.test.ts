import assert from "node:assert/strict";
import { test } from "node:test";
import type { LockstepError } from "../../src/core/errors.ts";
import { checkMemory, type MemorySizes, memoryParts, sumOf } from "../../src/core/memory-need.ts";

const MB = 1_000_000;
/** 1 M weights, all of them trained, with Adam's two slots and its two powers. */
const sizes: MemorySizes = {
  ...{ inUseBytes: 200 * MB, reducedCount: MB, trainableCount: MB, valueCount: 3 * MB },
  ...{ partEnds: [MB], shards: 1, mostWorkers: 1 },
};
const bytesOf = (changes: Partial<MemorySizes> = {}) => memoryParts({ ...sizes, ...changes }).map(({ bytes }) => bytes);

test("a worker alone with one shard holds its sum and the total, and copies of the state", () => {
  assert.deepEqual(bytesOf(), [200 * MB, 2 * 4 * MB, 2 * 4 * MB, 4 * 12 * MB]);
});

test("gradients of weights that do not begin at a multiple of 64 bytes have rows of their own besides", () => {
  assert.equal(bytesOf({ partEnds: [16, 26, MB] })[1], 2 * 4 * MB + 4 * (MB - 26));
});

test("with more shards come a row for each level of the tree, and what the others send", () => {
  // Alone: the total, the root, and three levels below it. Of eight workers: the total, its own, and an eighth of seven rows.
  assert.equal(bytesOf({ shards: 8, mostWorkers: 1 })[2], 5 * 4 * MB);
  assert.equal(bytesOf({ shards: 8, mostWorkers: 8 })[2], 5 * 4 * MB);
  // With 6 = (2 + 1) + (2 + 1) shards a worker of two has the left half as one, as the other has the right one.
  assert.equal(bytesOf({ shards: 6, mostWorkers: 2 })[2], 5 * 4 * MB);
  // Of three shards for two workers: [0, 2) and [2, 3); of five workers with 4,096 shards many subtrees each.
  assert.ok(bytesOf({ shards: 4096, mostWorkers: 5 })[2]! > bytesOf({ shards: 4096, mostWorkers: 1 })[2]!);
});

test("what cannot fit is refused with the sum, its parts and what there is", () => {
  const parts = memoryParts(sizes);
  assert.equal(sumOf(parts), 264 * MB);
  checkMemory(parts, { bytes: 264 * MB, whose: "this machine" });
  assert.throws(
    () => checkMemory(parts, { bytes: 263 * MB, whose: "this container" }),
    (error: LockstepError) => {
      assert.equal(error.code, "out-of-memory");
      assert.match(
        error.message,
        /^Memory: a worker needs 264 MB and room .*: 200 MB in use already, 8\.00 MB for gradients, /,
      );
      assert.match(
        error.message,
        /8\.00 MB for their sums \(2 rows\), 48\.0 MB for copies of the state \(4\)\. But this container has 263 MB\.$/,
      );
      assert.match(error.hint ?? "", /^Use a smaller model/);
      return true;
    },
  );
  checkMemory(parts, { bytes: 528 * MB, whose: "this machine" }, 2);
  assert.throws(() => checkMemory(parts, { bytes: 528 * MB, whose: "this machine" }, 3), {
    message: /\(4\)\. 3 workers need 792 MB\. But this machine has 528 MB\.$/,
  });
});
