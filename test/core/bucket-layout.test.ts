import assert from "node:assert/strict";
import { test } from "node:test";
import { bucketLayout, bucketsOf, chunkOf, plainValues } from "../../src/core/bucket-layout.ts";
import { bucketBytes } from "../../src/core/limits.ts";
import type { Range } from "../../src/core/sampler.ts";

const perBucket = bucketBytes / Float32Array.BYTES_PER_ELEMENT;
const sizes = [0, 1, 7, perBucket - 1, perBucket, perBucket + 1, 3 * perBucket + 5];

/** Whether the ranges, in their order, cover [0, count) with neither gap nor overlap. */
function tile(ranges: readonly Range[], begin: number, end: number): boolean {
  return (
    ranges.every((range, i) => range.begin === (i === 0 ? begin : ranges[i - 1]!.end)) && ranges.at(-1)?.end === end
  );
}

test("the buckets of a training step hold every value once, in order, none larger than its bound", () => {
  for (const values of sizes) {
    const { buckets } = bucketLayout(plainValues(values), 4);
    const float32 = buckets.filter(({ kind }) => kind === "float32").map(({ range }) => range);
    if (values === 0) assert.deepEqual(float32, []);
    else assert.ok(tile(float32, 0, values), `${values} values`);
    for (const { begin, end } of float32) assert.ok(end > begin && end - begin <= perBucket);
    assert.deepEqual(
      buckets.map(({ index }) => index),
      buckets.map((_, i) => i),
    );
  }
});

test("losses, metrics and counts are the last bucket, whole; it is all that validation reduces", () => {
  for (const values of sizes) {
    const layout = bucketLayout(plainValues(values), 4);
    const last = { index: layout.buckets.length - 1, kind: "float64", range: { begin: 0, end: 4 } };
    assert.deepEqual(bucketsOf(layout, 0), layout.buckets);
    assert.deepEqual(bucketsOf(layout, 1), [last]);
  }
});

test("the chunks of all ranks cover a bucket once; a bucket smaller than the world leaves some ranks nothing", () => {
  for (const values of sizes) {
    for (const bucket of bucketLayout(plainValues(values), 4).buckets) {
      for (const world of [1, 2, 3, 5, 16]) {
        const chunks = Array.from({ length: world }, (_, rank) => chunkOf(bucket, world, rank));
        assert.ok(tile(chunks, bucket.range.begin, bucket.range.end), `bucket ${bucket.index}, world ${world}`);
        const lengths = chunks.map(({ begin, end }) => end - begin);
        assert.ok(Math.max(...lengths) - Math.min(...lengths) <= 1, "the work is shared evenly");
      }
    }
  }
  const [tiny] = bucketLayout(plainValues(2), 0).buckets;
  const chunks = [0, 1, 2].map((rank) => chunkOf(tiny!, 3, rank));
  assert.deepEqual(
    chunks.map(({ begin, end }) => end - begin),
    [1, 1, 0],
  );
});

test("only gradients travel in 16 bits, as many bytes a bucket as others; what lies behind them is float32", () => {
  const twice = 2 * perBucket;
  const { buckets } = bucketLayout(
    {
      ...plainValues(twice + 30),
      gradients: { count: twice + 10, wire: "bfloat16" },
    },
    4,
  );
  assert.deepEqual(
    buckets.map(({ kind, range }) => [kind, range.begin, range.end]),
    [
      ["bfloat16", 0, twice],
      ["bfloat16", twice, twice + 10],
      ["float32", twice + 10, twice + 30],
      ["float64", 0, 4],
    ],
  );
  const some = { ...plainValues(30), gradients: { count: 10, wire: "float32" } } as const;
  assert.deepEqual(bucketLayout(some, 4), bucketLayout(plainValues(30), 4));
});

test("a large part of the row begins a bucket, and small ones share one", () => {
  const large = perBucket / 8;
  const sizes = [10, large, 20, 30, large - 1, perBucket + 5, 7];
  const partEnds = sizes.map((_, i) => sizes.slice(0, i + 1).reduce((sum, size) => sum + size, 0));
  const { buckets } = bucketLayout({ ...plainValues(partEnds.at(-1)!), partEnds }, 4);
  const begins = buckets.filter(({ kind }) => kind === "float32").map(({ range }) => range.begin);
  assert.deepEqual(begins, [0, 10, partEnds[4], partEnds[4]! + perBucket]);
});
