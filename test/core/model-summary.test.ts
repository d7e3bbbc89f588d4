import assert from "node:assert/strict";
import { test } from "node:test";
import { modelSummary } from "../../src/core/model-summary.ts";

test("a summary has a line a layer, what of it is trained, and all of them together", () => {
  const layer = { kind: "Dense", outputShape: [null, 4] };
  const lines = modelSummary([
    { ...layer, name: "base", weights: 1200, trainable: 0 },
    { ...layer, name: "norm", weights: 16, trainable: 8 },
    { ...layer, name: "head", weights: 20, trainable: 20 },
    { ...layer, name: "drop", weights: 0, trainable: 0 },
  ]);
  assert.deepEqual(
    lines.map((line) => line.replace(/ {2,}/g, "|").trimEnd()),
    [
      "layer|kind|output|weights",
      "base|Dense|[samples, 4]|1,200|frozen",
      "norm|Dense|[samples, 4]|16|8 of them are trained",
      "head|Dense|[samples, 4]|20",
      "drop|Dense|[samples, 4]|0",
      "1,236 weights: 28 trained, 1,208 not.",
    ],
  );
});
