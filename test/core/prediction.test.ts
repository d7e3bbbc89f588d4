import assert from "node:assert/strict";
import { test } from "node:test";
import { float32Text, meaningOf } from "../../src/core/prediction.ts";
import type { FittedTransform, FittedTransforms } from "../../src/core/transforms.ts";

const label = (...steps: FittedTransform[]): FittedTransforms => ({ field: "preprocess.label", shape: [], steps });
const vocabulary: FittedTransform = { kind: "vocabulary", values: [10, 20, 30] };

test("the class of the largest output is told in the label's own values, the first of equals, and never for NaN", () => {
  const plain = meaningOf(label({ kind: "one-hot", classes: 3 }), "categoricalCrossentropy", 3);
  assert.deepEqual(plain.classes, [0, 1, 2]);
  assert.equal(plain.predict([0.1, 0.7, 0.2]), 1);
  assert.equal(plain.predict([0.4, 0.2, 0.4]), 0);
  assert.equal(plain.predict([0.4, Number.NaN, 0.4]), null);
  const named = meaningOf(label(vocabulary, { kind: "one-hot", classes: 4 }), "categoricalCrossentropy", 4);
  assert.deepEqual(named.classes, ["other", 10, 20, 30]);
  assert.equal(named.predict([0, 0, 0, 1]), 30);
  assert.equal(named.predict([1, 0, 0, 0]), "other");
  const sparse = meaningOf(label(vocabulary), "sparseCategoricalCrossentropy", 4);
  assert.equal(sparse.predict([0, 0, 1, 0]), 20);
});

test("a single output goes back through the label's pre-processing; of a probability, the half decides", () => {
  const standardize: FittedTransform = { kind: "standardize", means: [5], deviations: [2] };
  assert.equal(meaningOf(label(standardize), "meanSquaredError", 1).predict([1.5]), 8);
  assert.equal(meaningOf(label({ kind: "scale", factor: 0.5 }), "meanAbsoluteError", 1).predict([1.5]), 3);
  const binary = meaningOf(label(), "binaryCrossentropy", 1);
  assert.deepEqual(
    [0.2, 0.5, 0.51].map((score) => binary.predict([score])),
    [0, 0, 1],
  );
  assert.equal(binary.predict([Number.NaN]), null);
  assert.equal(meaningOf(label(vocabulary), "meanSquaredError", 1).predict([1.5]), null);
});

test("several outputs without classes predict nothing", () => {
  const several = meaningOf(label(), "meanSquaredError", 2);
  assert.deepEqual([several.classes, several.predict([1, 2])], [null, null]);
});

test("a float32 is written as a short decimal that reads back to its bits", () => {
  const bits = new Uint32Array(1);
  const value = new Float32Array(bits.buffer);
  let state = 1;
  for (let i = 0; i < 20_000; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bits[0] = state;
    if (Number.isFinite(value[0]))
      assert.ok(Object.is(Math.fround(Number(float32Text(value[0]!))), value[0]), `${state}`);
  }
  assert.deepEqual(
    [0.1, 1 / 3, -0, 1e-45, 16777216].map((number) => float32Text(Math.fround(number))),
    [...["0.1", "0.33333334", "-0", "1.4013e-45", "16777216"]],
  );
  assert.deepEqual([Number.NaN, -Infinity].map(float32Text), ["NaN", "-Infinity"]);
});
