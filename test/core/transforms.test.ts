import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LockstepError } from "../../src/core/errors.ts";
import { type EachRows, fitTransforms } from "../../src/core/fit-transforms.ts";
import type { Transform } from "../../src/core/transform-definition.ts";
import {
  applyTransforms,
  bindMaps,
  type FittedTransforms,
  invertIndex,
  mapsIn,
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

  it("columns are fitted together, in as many passes over the rows as the one with the most to learn needs", () => {
    let passes = 0;
    const rows: EachRows = (use) => {
      passes++;
      for (const piece of [
        [1, 5, Number.NaN],
        [3, 7, 4, 2, 9, 4],
      ])
        use(Float32Array.from(piece));
    };
    const columns = ["a", "b", "c"].map((name) => ({ name, shape: [] }));
    const learn: Transform[] = [{ kind: "impute", with: "median" }, { kind: "min-max" }];
    const transform = { kind: "columns", columns: { a: [{ kind: "vocabulary" }] }, rest: learn } as const;
    const [step] = fitTransforms([transform], [3], rows, "preprocess.features", columns).steps;
    assert.equal(passes, 2);
    const alone = columns.map(({ name }, i) => {
      const own: EachRows = (use) => rows((piece) => use(piece.filter((_, place) => place % 3 === i)));
      const fitted = fitTransforms(name === "a" ? transform.columns.a! : learn, [], own, `preprocess.features.${name}`);
      return { name, begin: i, fitted };
    });
    assert.deepEqual(step, { kind: "columns", parts: alone });
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

  it("min-max brings the training split's smallest value to 0 and its largest to 1, column by column", () => {
    const fit = fitted([{ kind: "min-max" }], [2], [10, -1, 30, -1], [20, -1]);
    assert.deepEqual(fit.steps, [{ kind: "min-max", minima: [10, -1], ranges: [20, 1] }]);
    assert.deepEqual(applied(fit, [10, -1, 25, -1, 50, 0], 3), [0, 0, 0.75, 0, 2, 1]);
    assert.equal(invertIndex(fitted([{ kind: "min-max" }], [], [10, 30]), 0.25), 15);
  });

  it("impute fills in what is missing: mean, exact median, what is most frequent (of equals the smallest), or a number", () => {
    const none = Number.NaN;
    const rows = [5, 1, none, 2, 1, 2, 2, none, 9, 1];
    for (const [what, value] of [
      ["mean", 4.25],
      ["median", 3.5],
      ["mostFrequent", 1],
      [-7, -7],
    ] as const) {
      const fit = fitted([{ kind: "impute", with: what }], [2], rows);
      const [first] = applied(fit, [none, 5, 3, 6], 2);
      assert.equal(first, value, String(what));
      assert.deepEqual(applied(fit, [3, 6], 1), [3, 6]);
    }
    assert.deepEqual(applied(fitted([{ kind: "impute", with: "median" }], [2], rows), [none, none], 1), [3.5, 1.5]);
    assert.deepEqual(applied(fitted([{ kind: "impute", with: "median" }], [], [3, none, 1, 2]), [none], 1), [2]);
    assert.throws(
      () => fitted([{ kind: "impute", with: "mean" }], [2], [1, none, 2, none]),
      refused("invalid-data", /impute\("mean"\).*value 1 of a sample is missing everywhere/, /impute\(0\)/),
    );
  });

  it("what is missing counts in no statistic, passes through, and is one of a vocabulary's others", () => {
    const none = Number.NaN;
    const standard = fitted([{ kind: "standardize" }], [1], [1, none, 3]);
    assert.deepEqual(standard.steps, [{ kind: "standardize", means: [2], deviations: [1] }]);
    assert.deepEqual(applied(standard, [none, 4], 2), [none, 2]);
    assert.deepEqual(fitted([{ kind: "min-max" }], [1], [1, none, 3]).steps, [
      { kind: "min-max", minima: [1], ranges: [2] },
    ]);
    const words = fitted([{ kind: "vocabulary" }], [3], [4, 2, none]);
    assert.deepEqual(words.steps, [{ kind: "vocabulary", values: [2, 4] }]);
    assert.deepEqual(applied(words, [none, -1, 4], 1), [0, 0, 2]);
  });

  it("a vocabulary with a maximum keeps the most frequent values, and of equals the smaller ones", () => {
    const rows = [5, 5, 5, 1, 9, 9, 7, 7, 0.5];
    const keep = (maximum: number) => fitted([{ kind: "vocabulary", maximum }], [], rows).steps;
    assert.deepEqual(keep(1), [{ kind: "vocabulary", values: [5] }]);
    assert.deepEqual(keep(2), [{ kind: "vocabulary", values: [5, 7] }]);
    assert.deepEqual(keep(4), [{ kind: "vocabulary", values: [0.5, 5, 7, 9] }]);
    assert.deepEqual(keep(99), [{ kind: "vocabulary", values: [0.5, 1, 5, 7, 9] }]);
    const many = Array.from({ length: 70_000 }, (_, place) => place + 0.5);
    assert.deepEqual(fitted([{ kind: "vocabulary", maximum: 2 }], [], many).steps, [
      { kind: "vocabulary", values: [0.5, 1.5] },
    ]);
  });

  it("normalize gives each sample the length 1, and leaves one of zeros alone", () => {
    const fit = fitTransforms([{ kind: "normalize" }], [2], noRows);
    assert.deepEqual(applied(fit, [3, 4, 0, 0, 0, -2], 3), [Math.fround(0.6), Math.fround(0.8), 0, 0, 0, -1]);
  });

  it("pad cuts the last dimension, or fills it up", () => {
    const pad = (length: number) => fitTransforms([{ kind: "pad", length, value: 9 }], [2, 3], noRows);
    assert.deepEqual(outputShape(pad(2)), [2, 2]);
    assert.deepEqual(applied(pad(2), [1, 2, 3, 4, 5, 6], 1), [1, 2, 4, 5]);
    assert.deepEqual(applied(pad(4), [1, 2, 3, 4, 5, 6], 1), [1, 2, 3, 9, 4, 5, 6, 9]);
    assert.throws(
      () => fitTransforms([{ kind: "pad", length: 2, value: 0 }], [], noRows),
      refused("invalid-job", /pad/),
    );
  });

  it("map is the job file's own function, of one sample at a time; what is fitted after it sees what it made", () => {
    const cumulated = (values: Float32Array) => values.map((value, i) => value + (values[i - 1] ?? 0));
    const fit = fitted([{ kind: "map", apply: cumulated }, { kind: "min-max" }], [2], [1, 2, 3, 4]);
    assert.deepEqual(fit.steps[1], { kind: "min-max", minima: [1, 3], ranges: [2, 4] });
    assert.deepEqual(applied(fit, [1, 2, 3, 4], 2), [0, 0, 1, 1]);
    // A checkpoint has its text alone.
    const stored: FittedTransforms = JSON.parse(JSON.stringify(fit));
    assert.deepEqual(mapsIn(stored), [String(cumulated)]);
    assert.throws(() => applied(stored, [1, 2], 1), refused("invalid-job", /the job file, which has its function/));
    const bound = bindMaps(stored, [{ kind: "map", apply: cumulated }, { kind: "min-max" }]);
    assert.deepEqual(applied(bound, [1, 2, 3, 4], 2), [0, 0, 1, 1]);
  });

  it("map is refused where it is not pure, gives another number of values, none, or throws", () => {
    let calls = 0;
    for (const [apply, message] of [
      [(values: Float32Array) => values.map((value) => value + calls++), /made different values of the same sample/],
      [(values: Float32Array) => values.slice(1), /made 1 values of 2/],
      [() => "text", /returned no list/],
      [() => assert.fail("bad luck"), /threw AssertionError.*bad luck/],
    ] as const) {
      const map = { kind: "map", apply: apply as (values: Float32Array) => number[] } as const;
      assert.throws(() => fitted([map], [2], [1, 2, 3, 4]), refused("invalid-job", message));
    }
  });

  const table = [
    { name: "age", type: "number", shape: [] },
    { name: "city", type: "category", shape: [], texts: ["Bonn", "Paris", "Rome"] },
    { name: "words", type: "words", shape: [2], texts: ["a", "b"] },
    { name: "size", type: "number", shape: [] },
  ];

  it("columns gives each column of a table its own, the others the rest, in the order of the file", () => {
    const none = Number.NaN;
    const transforms: readonly Transform[] = [
      {
        kind: "columns",
        columns: {
          city: [{ kind: "vocabulary" }, { kind: "one-hot" }],
          words: [{ kind: "vocabulary" }],
          age: [
            { kind: "impute", with: "mean" },
            { kind: "scale", factor: 10 },
          ],
        },
        rest: [{ kind: "min-max" }],
      },
    ];
    const rows = rowsOf([4, 0, 1, none, 100], [none, 2, 0, 1, 200, 2, 0, 0, none, 150]);
    const fit = fitTransforms(transforms, [5], rows, "preprocess.features", table);
    // city: others, Bonn, Rome.
    assert.deepEqual(outputShape(fit), [7]);
    assert.deepEqual(applied(fit, [none, 2, 1, none, 150, 1, 1, -1, 0, 250], 2), [
      ...[30, 0, 0, 1, 2, 0, 0.5],
      ...[10, 1, 0, 0, 0, 1, 1.5],
    ]);
    const stored: FittedTransforms = JSON.parse(JSON.stringify(fit));
    assert.deepEqual(applied(stored, [7, 0, 0, 0, 100], 1), applied(fit, [7, 0, 0, 0, 100], 1));
  });

  it("one-hot of a category needs no vocabulary, and has a place for each category alone", () => {
    const fit = fitTransforms([{ kind: "one-hot" }], [], rowsOf([0, 2]), "preprocess.label", [table[1]!]);
    assert.deepEqual(outputShape(fit), [3]);
    assert.deepEqual(applied(fit, [2, -1, Number.NaN], 3), [0, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert.throws(
      () => fitTransforms([{ kind: "one-hot", classes: 2 }], [], rowsOf([0]), "preprocess.label", [table[1]!]),
      refused("invalid-job", /too small: the column has 3 categories/, /oneHot\(3\)/),
    );
  });

  it("columns is refused for a name that the table has not, and for data without names", () => {
    const columns = (name: string): Transform => ({ kind: "columns", columns: { [name]: [] }, rest: [] });
    assert.throws(
      () => fitTransforms([columns("citty")], [5], noRows, "preprocess.features", table),
      refused(
        "invalid-job",
        /names "citty", and the data has no such feature; .*"age", "city", "words" and "size"/,
        /"city"/,
      ),
    );
    assert.throws(() => fitted([columns("age")], [2], [1, 2]), refused("invalid-job", /needs the columns of a table/));
  });
});
