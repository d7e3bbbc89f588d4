import assert from "node:assert/strict";
import { test } from "node:test";
import { sourceFrom } from "../../src/core/source-validation.ts";
import { shapeDifference } from "../../src/core/transforms.ts";
import { csv, idx, jsonLines, npy, npz, text } from "../../src/index.ts";

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
