import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LockstepError } from "../../src/core/errors.ts";
import type { Transform } from "../../src/core/job.ts";
import {
  applyTransforms,
  checkRows,
  type EachRows,
  type FittedTransforms,
  fitTransforms,
  invertIndex,
  outputShape,
} from "../../src/core/transforms.ts";

const rowsOf =
  (...pieces: number[][]): EachRows =>
  (use) => {
    for (const piece of pieces) use(Float32Array.from(piece));
  };
const noRows: EachRows = () => assert.fail("the training rows are not needed");

function fitted(transforms: readonly Transform[], shape: readonly number[], ...rows: number[][]): FittedTransforms {
  return fitTransforms(transforms, shape, rowsOf(...rows), "preprocess.features");
}

function applied(fit: FittedTransforms, values: number[], count: number): number[] {
  return Array.from(applyTransforms(fit, Float32Array.from(values), count));
}

function refused(code: string, message: RegExp, hint?: RegExp) {
  return (error: unknown) => {
    assert(error instanceof LockstepError);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    if (hint) assert.match(error.hint ?? "", hint);
    return true;
  };
}

describe("transforms", () => {
  it("leave the values as they are when there are none", () => {
    const fit = fitTransforms([], [2, 3], noRows);
    assert.deepEqual(outputShape(fit), [2, 3]);
    assert.deepEqual(applied(fit, [1, 2, 3, 4, 5, 6], 1), [1, 2, 3, 4, 5, 6]);
  });

  it("never change the values they are given", () => {
    const values = Float32Array.of(0, 1, 2);
    const fit = fitTransforms(
      [
        { kind: "scale", factor: 2 },
        { kind: "one-hot", classes: 5 },
      ],
      [],
      rowsOf([0, 1, 2]),
    );
    applyTransforms(fit, values, 3);
    assert.deepEqual(values, Float32Array.of(0, 1, 2));
  });

  it("scale multiplies every value, without looking at the training rows", () => {
    const fit = fitTransforms([{ kind: "scale", factor: 1 / 16 }], [2], noRows);
    assert.deepEqual(applied(fit, [0, 4, 8, 16], 2), [0, 0.25, 0.5, 1]);
  });

  it("standardize gives every column of the training rows mean 0 and deviation 1", () => {
    const fit = fitted([{ kind: "standardize" }], [2], [1, 10, 2, 20], [3, 30, 4, 40]);
    assert.deepEqual(fit.steps, [
      { kind: "standardize", means: [2.5, 25], deviations: [Math.sqrt(1.25), Math.sqrt(125)] },
    ]);
    const values = applied(fit, [1, 10, 2, 20, 3, 30, 4, 40], 4);
    for (const column of [0, 1]) {
      const own = values.filter((_, place) => place % 2 === column);
      assert(Math.abs(own.reduce((sum, value) => sum + value, 0)) < 1e-6);
      assert(Math.abs(own.reduce((sum, value) => sum + value ** 2, 0) / 4 - 1) < 1e-6);
    }
  });

  it("standardize turns a constant column into zeros, also a large one", () => {
    const fit = fitted([{ kind: "standardize" }], [1], [16777215, 16777215, 16777215]);
    assert.deepEqual(fit.steps, [{ kind: "standardize", means: [16777215], deviations: [1] }]);
    assert.deepEqual(applied(fit, [16777215], 1), [0]);
  });

  it("standardize learns the same from the same rows in other pieces", () => {
    const rows = Array.from({ length: 60 }, (_, place) => Math.sin(place) * 1000);
    const whole = fitted([{ kind: "standardize" }], [3], rows);
    assert.deepEqual(fitted([{ kind: "standardize" }], [3], rows.slice(0, 9), rows.slice(9)), whole);
  });

  it("vocabulary gives ranks from 1 by ascending value, and 0 to what training never saw", () => {
    const fit = fitted([{ kind: "vocabulary" }], [2], [99, 97, 98, 97]);
    assert.deepEqual(fit.steps, [{ kind: "vocabulary", values: [97, 98, 99] }]);
    assert.deepEqual(applied(fit, [97, 98, 99, 96, 0, 70000, -1, 97.5, Number.NaN, Number.POSITIVE_INFINITY], 5), [
      ...[1, 2, 3, 0, 0],
      ...[0, 0, 0, 0, 0],
    ]);
  });

  it("vocabulary takes fractions, negative and large values too", () => {
    const fit = fitted([{ kind: "vocabulary" }], [], [1e9, -2, 0.5, 0.5, 7]);
    assert.deepEqual(fit.steps, [{ kind: "vocabulary", values: [-2, 0.5, 7, 1e9] }]);
    assert.deepEqual(applied(fit, [-2, 0.5, 7, 1e9, 0, 0.25, 2e9], 7), [1, 2, 3, 4, 0, 0, 0]);
  });

  it("vocabulary counts −0 and 0 as one value", () => {
    const fit = fitted([{ kind: "vocabulary" }], [], [-0, 0, 1.5]);
    assert.deepEqual(fit.steps, [{ kind: "vocabulary", values: [0, 1.5] }]);
    assert.deepEqual(applied(fit, [0, -0], 2), [1, 1]);
  });

  it("vocabulary refuses measurements", () => {
    const rows = Array.from({ length: 65_537 }, (_, place) => place + 0.5);
    assert.throws(
      () => fitted([{ kind: "vocabulary" }], [], rows),
      refused("invalid-data", /preprocess\.features found more than 65536 distinct values/, /standardize/),
    );
  });

  it("one-hot adds a last dimension with a 1 at the value's index", () => {
    const fit = fitted([{ kind: "one-hot", classes: 3 }], [2], [0, 2]);
    assert.deepEqual(outputShape(fit), [2, 3]);
    assert.deepEqual(applied(fit, [2, 0], 1), [0, 0, 1, 1, 0, 0]);
  });

  it("one-hot of a scalar label has the shape [classes]", () => {
    const fit = fitted([{ kind: "one-hot", classes: 10 }], [], [0, 9]);
    assert.deepEqual(outputShape(fit), [10]);
  });

  it("one-hot after a vocabulary knows its classes: the distinct values and one for all others", () => {
    for (const between of [[], [{ kind: "reshape", shape: [1, 2] } as const]]) {
      const fit = fitted([{ kind: "vocabulary" }, ...between, { kind: "one-hot" }], [2], [7, 5, 5, 7]);
      assert.deepEqual(outputShape(fit), between.length > 0 ? [1, 2, 3] : [2, 3]);
      assert.deepEqual(applied(fit, [5, 6], 1), [0, 1, 0, 1, 0, 0]);
    }
  });

  for (const [what, transforms] of Object.entries<readonly Transform[]>({
    "nothing before it": [{ kind: "one-hot" }],
    "a vocabulary whose ranks were scaled": [{ kind: "vocabulary" }, { kind: "scale", factor: 2 }, { kind: "one-hot" }],
  })) {
    it(`one-hot without classes is refused with ${what}`, () => {
      assert.throws(
        () => fitted(transforms, [1], [1, 2]),
        refused("invalid-job", /oneHot\(\) in preprocess\.features does not know/, /oneHot\(10\).*vocabulary\(\)/),
      );
    });
  }

  it("one-hot with fewer classes than the vocabulary before it is refused", () => {
    assert.throws(
      () => fitted([{ kind: "vocabulary" }, { kind: "one-hot", classes: 2 }], [], [4, 5]),
      refused("invalid-job", /oneHot\(2\) .* has 2 values/, /oneHot\(3\)/),
    );
  });

  for (const [value, hint] of [
    [10, /oneHot\(11\)/],
    [-1, /vocabulary/],
    [2.5, /vocabulary/],
    [Number.NaN, /vocabulary/],
  ] as const) {
    it(`one-hot of the value ${value} is refused while fitting, before any training`, () => {
      assert.throws(
        () => fitted([{ kind: "one-hot", classes: 10 }], [], [0, 1], [2, value]),
        refused(
          "invalid-data",
          new RegExp(`oneHot\\(10\\) in preprocess\\.features met the value ${value}; .* from 0 to 9`),
          hint,
        ),
      );
    });
  }

  it("checkRows finds rows of other data that cannot be transformed", () => {
    const fit = fitted([{ kind: "one-hot", classes: 3 }], [], [0, 2]);
    checkRows(fit, rowsOf([0, 1], [2]));
    assert.throws(() => checkRows(fit, rowsOf([0, 1], [3])), refused("invalid-data", /met the value 3/));
  });

  it("reshape keeps the values and changes the shape", () => {
    const fit = fitTransforms([{ kind: "reshape", shape: [2, 2, 1] }], [4], noRows);
    assert.deepEqual(outputShape(fit), [2, 2, 1]);
    assert.deepEqual(applied(fit, [1, 2, 3, 4], 1), [1, 2, 3, 4]);
  });

  it("reshape to another size is refused with both sizes", () => {
    assert.throws(
      () => fitTransforms([{ kind: "reshape", shape: [8, 9] }], [64], noRows),
      refused("invalid-job", /\[64\] to \[8, 9\]: 64 values cannot become 72/, /product is 64/),
    );
  });

  it("each transform is fitted on what the ones before it make of the rows", () => {
    const fit = fitted(
      [{ kind: "scale", factor: 10 }, { kind: "vocabulary" }, { kind: "standardize" }],
      [1],
      [3, 1, 2],
    );
    assert.deepEqual(fit.steps[1], { kind: "vocabulary", values: [10, 20, 30] });
    assert.deepEqual(fit.steps[2], { kind: "standardize", means: [2], deviations: [Math.sqrt(2 / 3)] });
  });

  it("fitting on no rows is refused", () => {
    for (const kind of ["standardize", "vocabulary"] as const) {
      assert.throws(() => fitted([{ kind }], [2]), refused("invalid-data", /training split is empty/));
    }
  });

  it("give the same bits after a way through JSON", () => {
    const rows = Array.from({ length: 300 }, (_, place) => Math.fround(Math.cos(place) * 3));
    const fit = fitted([{ kind: "standardize" }, { kind: "scale", factor: 1 / 3 }], [3], rows);
    const again: FittedTransforms = JSON.parse(JSON.stringify(fit));
    assert.deepEqual(again, fit);
    assert.deepEqual(applied(again, rows, 100), applied(fit, rows, 100));
  });

  it("invertIndex leads from an output's index back to the raw value", () => {
    const label = fitTransforms([{ kind: "vocabulary" }, { kind: "one-hot" }], [], rowsOf([120, 65, 10]));
    assert.deepEqual(
      [1, 2, 3].map((index) => invertIndex(label, index)),
      [10, 65, 120],
    );
    const digits = fitTransforms([{ kind: "one-hot", classes: 10 }], [], rowsOf([1]));
    assert.equal(invertIndex(digits, 7), 7);
    const halves = fitTransforms(
      [
        { kind: "scale", factor: 2 },
        { kind: "one-hot", classes: 4 },
      ],
      [],
      rowsOf([0.5]),
    );
    assert.equal(invertIndex(halves, 3), 1.5);
  });

  it("invertIndex refuses an index that stands for no value", () => {
    const label = fitTransforms(
      [{ kind: "vocabulary" }, { kind: "one-hot" }],
      [],
      rowsOf([120, 65]),
      "preprocess.label",
    );
    assert.throws(
      () => invertIndex(label, 0),
      refused("invalid-job", /index 0 of preprocess\.label stands for every value outside/),
    );
    assert.throws(() => invertIndex(label, 3), refused("invalid-job", /index 3 of preprocess\.label is not of 0 to 2/));
    const features = fitTransforms([], [4], noRows);
    assert.throws(() => invertIndex(features, 0), refused("invalid-job", /a row has 4 values/));
  });
});
