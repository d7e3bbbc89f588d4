import assert from "node:assert/strict";
import { test } from "node:test";
import { areEqual, checksumBits, checksumEvery, checksumOf } from "../../src/core/state-checksum.ts";

const state = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i * 12.9898) * 0.5);

/** The sums that a reduction gives for these checksums, one for each shard. */
const sums = (checksums: readonly number[]) => ({
  count: checksums.length,
  sum: checksums.reduce((sum, c) => sum + c, 0),
  squares: checksums.reduce((sum, c) => sum + c * c, 0),
});

test("every flipped bit of a state, in whichever number, gives another checksum", () => {
  const values = state(300);
  const before = checksumOf(values, 4);
  const words = new Uint32Array(values.buffer);
  let same = 0;
  for (let i = 0; i < words.length; i++) {
    for (let bit = 0; bit < 32; bit++) {
      words[i]! ^= 1 << bit;
      if (checksumOf(values, 4) === before) same++;
      words[i]! ^= 1 << bit;
    }
  }
  // 20 bits of 32: about one in a million is not seen, and the digest at the epoch's end sees that.
  assert.ok(same <= 1, `${same} of ${words.length * 32} flips are not seen`);
  assert.equal(checksumOf(values, 4), before);
});

test("equal checksums are told from others by their sums, without a rounding, for as many shards as there may be", () => {
  for (const shards of [1, 2, 3, 64, 1000, 1024]) {
    const largest = 2 ** checksumBits(shards) - 1;
    assert.ok(shards * shards * largest * largest < 2 ** 53, `${shards} shards`);
    const equal = Array.from({ length: shards }, () => largest);
    assert.ok(areEqual(sums(equal)));
    if (shards === 1) continue;
    assert.ok(!areEqual(sums([...equal.slice(1), largest - 1])), "one differs by the least that it can");
    assert.ok(!areEqual(sums(equal.map((c, i) => (i % 2 === 0 ? c : 0)))));
  }
  assert.ok(areEqual(sums([])), "where nothing was compared");
  assert.ok(checksumOf(state(9), 1024) < 2 ** checksumBits(1024));
});

test("a bigger state is compared more seldom", () => {
  assert.deepEqual([1, 150_794, 1_048_576, 75_000_000].map(checksumEvery), [16, 16, 16, 1145]);
});
