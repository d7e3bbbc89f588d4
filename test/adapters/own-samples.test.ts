/** Samples from a function: what it may give, and what of it decides the digest. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openJobData } from "../../src/adapters/data/open-job-data.ts";
import { openOwnSamples, samplesHashed } from "../../src/adapters/data/own-samples.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { dataset, type OwnSample, type OwnSource } from "../../src/index.ts";

type Options = Omit<OwnSource, "kind" | "name" | "get">;

const open = (get: (index: number) => unknown, options: Options = { length: 4 }) =>
  // Whatever a job file's function gives, typed or not.
  openOwnSamples(dataset({ name: "mine", get: get as (index: number) => OwnSample, ...options }));

test("samples are numbers, booleans, lists of lists and typed arrays, in one shape", () => {
  const nested = open((i) => ({ features: [[i, 1], new Float64Array([2, i / 2])], label: i % 2 === 1 }));
  assert.deepEqual([nested.features.shape, nested.label.shape], [[2, 2], []]);
  assert.deepEqual(nested.read([3, 0]), {
    count: 2,
    features: Float32Array.of(3, 1, 2, 1.5, 0, 1, 2, 0),
    label: Float32Array.of(1, 0),
  });
  const flat = open((i) => ({ features: Uint8Array.of(i, 1, 2, 3), label: [i] }), { length: 4, features: [2, 2, 1] });
  assert.deepEqual([flat.features.shape, flat.label.shape], [[2, 2, 1], [1]]);
  assert.deepEqual(flat.read([2]).features, Float32Array.of(2, 1, 2, 3));
  assert.deepEqual(open((i) => ({ features: i, label: i })).features.shape, [1]);
});

test("what is no sample is refused, with its index and place", () => {
  const cases: [(index: number) => unknown, string, Options?][] = [
    [() => null, "mine: get(0) gives null; expected { features, label }."],
    [async () => ({ features: 1, label: 1 }), "mine: get(0) gives a promise; expected { features, label }."],
    [() => assert.fail("no row"), "mine: get(0) failed: no row"],
    [(i) => ({ features: i === 2 ? [1] : [1, 2], label: 1 }), "mine: get(2).features has 1 values; expected 2"],
    [
      (i) => ({ features: [[i, Number.NaN]], label: 1 }),
      "mine: get(0).features[0][1] is NaN; expected a finite number.",
    ],
    [() => ({ features: 1e39, label: 1 }), "mine: get(0).features is 1e+39; expected a finite number."],
    [() => ({ features: "a", label: 1 }), 'mine: get(0).features is "a"; expected a finite number.'],
    [() => ({ features: [], label: 1 }), "mine: get(0).features is an empty list; expected numbers."],
    [() => ({ features: 1, label: [1] }), "mine: get(0).label has 1 values; expected 2", { length: 1, label: [2] }],
    [() => ({ features: Math.random(), label: 1 }), "mine: get(0) gives another sample when it is called again"],
  ];
  for (const [get, message, options] of cases) {
    assert.throws(
      () => open(get, options),
      (error) => error instanceof LockstepError && error.code === "invalid-data" && error.message.startsWith(message),
      message,
    );
  }
});

test("validation data of another shape is refused by what it is: it has no file", async () => {
  const of = (width: number) =>
    dataset({ name: "mine", length: 2, get: () => ({ features: Array.from({ length: width }, () => 1), label: 0 }) });
  await assert.rejects(
    openJobData({ data: of(2), validation: { by: "data", data: of(3) } }, { directory: "." }),
    /^LockstepError: The validation data has 3 features a sample, the training data 2\./,
  );
});

test("the digest follows the samples that are looked at, the settings and the version", () => {
  const length = 10 * samplesHashed;
  const digestOf = (changedAt: number, options: Partial<Options> = {}) =>
    open((i) => ({ features: [i, i === changedAt ? 1 : 0], label: 0 }), { length, ...options }).digest;
  const plain = digestOf(-1);
  assert.equal(digestOf(-1), plain);
  assert.notEqual(digestOf(0), plain);
  assert.notEqual(digestOf(length - 1), plain);
  assert.notEqual(digestOf(-1, { version: "2" }), plain);
  assert.notEqual(digestOf(-1, { features: [2, 1] }), plain);
  // Between those that are looked at nobody sees it, as the documentation says.
  assert.equal(digestOf(5), plain);
  const few = (changed: number) =>
    open((i) => ({ features: i + (i === changed ? 1 : 0), label: 0 }), { length: samplesHashed }).digest;
  assert.equal(new Set([-1, 1, 500, samplesHashed - 2].map(few)).size, 4);
});
