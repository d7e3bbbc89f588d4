import assert from "node:assert/strict";
import { test } from "node:test";
import { dataSource, sourceFrom, testSource, withMissing } from "../../src/core/source-validation.ts";
import { shapeDifference } from "../../src/core/transforms.ts";
import { arrow, csv, idx, jsonLines, npy, npz, parquet, text, tfrecord } from "../../src/index.ts";

test("another file of the same form takes the place of one; of two, it cannot", () => {
  const named = { features: "x", label: "y" };
  assert.deepEqual(
    [
      csv("a", { label: "y", separator: ";" }),
      npz({ path: "a", ...named }),
      text(["a", "b"], { window: 2, stride: 1 }),
    ].map((source) => sourceFrom(source, "/new")),
    [
      csv("/new", { label: "y", separator: ";" }),
      npz({ path: "/new", ...named }),
      text("/new", { window: 2, stride: 1 }),
    ],
  );
  const lines = { features: ["x"], label: "y" };
  assert.deepEqual(sourceFrom(jsonLines({ path: "a", ...lines }), "/new"), jsonLines({ path: "/new", ...lines }));
  assert.equal(sourceFrom(npy(named), "/new"), null);
  assert.equal(sourceFrom(idx({ features: "x", labels: "y" }), "/new"), null);
});

test("test data of another shape than the training data is seen, in the features and in the label", () => {
  const shapes = (features: number[], label: number[]) => ({ features: { shape: features }, label: { shape: label } });
  assert.equal(shapeDifference(shapes([8, 8], []), shapes([8, 8], [])), null);
  const flat = shapeDifference(shapes([64], []), shapes([8, 8], []));
  assert.deepEqual(flat, { what: "features", has: "64", wants: "8 × 8" });
  const label = shapeDifference(shapes([64], [2]), shapes([64], []));
  assert.deepEqual(label, { what: "label values", has: "2", wants: "1" });
});

test("what is said of the columns of Parquet, Arrow and TFRecord is kept, holds of test data too, and says nothing of numbers", () => {
  const plain = { features: ["x", "city"], label: "y" };
  const columns = { city: "category", y: "category" } as const;
  for (const of of [parquet, arrow, tfrecord]) {
    const data = dataSource(of("a", { ...plain, columns: { ...columns, x: "number" }, missing: ["NA"] }), "data");
    assert.deepEqual(data, of("a", { ...plain, columns, missing: ["NA"] }));
    assert.deepEqual(dataSource(of("a", { ...plain, columns: { x: "number" } }), "data"), of("a", plain));
    const test = testSource(of("b", plain), "test", data);
    assert.deepEqual(test, of("b", { ...plain, columns, missing: ["NA"] }));
    assert.throws(() => testSource(of("b", { ...plain, columns: { y: "category" } }), "test", data), {
      code: "invalid-job",
      message: /^test\.columns is .*; expected the same as in data, or nothing\./,
    });
    // Where something imputes.
    assert.deepEqual(withMissing(of("a", plain)), of("a", { ...plain, missing: [""] }));
    assert.deepEqual(withMissing(data), data);
  }
});
