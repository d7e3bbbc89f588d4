import assert from "node:assert/strict";
import { test } from "node:test";
import { RandomStream } from "../../src/core/random.ts";
import { hasSamples, largestSubtrees, shardsOfRank, sumTree } from "../../src/core/reduce-tree.ts";
import { batchRange, epochOrder, type Range, shardRange, splitSamples, stepsPerEpoch } from "../../src/core/sampler.ts";

const add = (a: number, b: number) => Math.fround(a + b);

/** The sum over all shards when nobody adds up anything on its own. */
function naive(values: readonly (number | null)[]): number | null {
  const at = ({ begin, end }: Range) => (end - begin > 1 ? "descend" : (values[begin] ?? "absent"));
  return sumTree<number>({ begin: 0, end: values.length }, at, add);
}

/** The same, when ranges of shards are held by workers that send the sums of their largest subtrees. */
function distributed(values: readonly (number | null)[], ranges: readonly Range[]): number | null {
  const sums = new Map<string, number | "absent">();
  for (const node of ranges.flatMap((range) => largestSubtrees(values.length, range))) {
    const own = sumTree<number>(
      node,
      ({ begin, end }) => (end - begin > 1 ? "descend" : (values[begin] ?? "absent")),
      add,
    );
    sums.set(`${node.begin}-${node.end}`, own ?? "absent");
  }
  return sumTree<number>(
    { begin: 0, end: values.length },
    ({ begin, end }) => sums.get(`${begin}-${end}`) ?? "descend",
    add,
  );
}

test("no assignment of shards to workers changes a bit of the sum, in 5,000 random cases", () => {
  const random = new RandomStream(1, "report");
  let orderMatters = 0;
  for (let i = 0; i < 5000; i++) {
    const shards = 1 + random.nextBelow(16);
    const filled = 1 + random.nextBelow(shards);
    const values = Array.from({ length: shards }, (_, k) =>
      k < filled ? Math.fround((random.nextFloat() - 0.5) * 10 ** (random.nextBelow(9) - 4)) : null,
    );
    const cuts = [
      0,
      shards,
      ...Array.from({ length: random.nextBelow(shards) }, () => random.nextBelow(shards + 1)),
    ].sort((a, b) => a - b);
    const ranges = cuts.slice(1).map((end, k) => ({ begin: cuts[k]!, end }));
    assert.ok(Object.is(distributed(values, ranges), naive(values)), JSON.stringify({ values, ranges }));
    if (values.reduce((a, b) => add(a!, b ?? 0)) !== naive(values)) orderMatters++;
  }
  assert.ok(orderMatters > 500, "the values are such that another order gives other bits");
});

test("the tree splits at the upper half, and −0 stays −0", () => {
  assert.deepEqual(largestSubtrees(6, { begin: 0, end: 4 }), [
    { begin: 0, end: 3 },
    { begin: 3, end: 4 },
  ]);
  assert.ok(Object.is(naive([-0, null, null]), -0));
  assert.ok(Object.is(naive([-0, -0]), -0));
});

test("ranks share the shards without gap or overlap, whatever their number", () => {
  for (let shards = 1; shards <= 33; shards++) {
    for (let world = 1; world <= shards; world++) {
      const ranges = Array.from({ length: world }, (_, rank) => shardsOfRank(shards, world, rank));
      assert.deepEqual(
        ranges.flatMap(({ begin, end }) => Array.from({ length: end - begin }, (_, i) => begin + i)),
        [...Array(shards).keys()],
      );
      assert.ok(ranges.every(({ begin, end }) => end > begin));
    }
  }
});

test("every training sample is used exactly once an epoch, validation samples never, for odd sizes too", () => {
  for (const [total, batchSize, shards] of [
    [1, 1, 1],
    [97, 10, 4],
    [101, 7, 6],
    [64, 64, 5],
    [13, 128, 8],
  ] as const) {
    const { training, validation } = splitSamples(3, total, total > 1 ? { fraction: 0.2, take: "random" } : null);
    const used: number[] = [];
    const order = epochOrder(3, 2, training.length);
    for (let step = 0; step < stepsPerEpoch(training.length, batchSize); step++) {
      const batch = batchRange(training.length, batchSize, step * batchSize);
      for (let shard = 0; shard < shards; shard++) {
        const { begin, end } = shardRange(batch, shards, shard);
        assert.equal(end > begin, hasSamples({ begin: shard, end: shard + 1 }, shards, batch.end - batch.begin));
        for (const position of order.subarray(begin, end)) used.push(training[position]!);
      }
    }
    assert.deepEqual(
      used.sort((a, b) => a - b),
      [...training],
    );
    assert.deepEqual(
      [...training, ...validation].sort((a, b) => a - b),
      [...Array(total).keys()],
    );
  }
});

test("another epoch has another order, another seed another split; the same names give the same", () => {
  assert.notDeepEqual(epochOrder(1, 0, 50), epochOrder(1, 1, 50));
  assert.deepEqual(epochOrder(1, 1, 50), epochOrder(1, 1, 50));
  const split = (seed: number) => splitSamples(seed, 50, { fraction: 0.2, take: "random" }).validation;
  assert.notDeepEqual(split(1), split(2));
  assert.deepEqual([...splitSamples(1, 10, { fraction: 0.2, take: "last" }).validation], [8, 9]);
});
