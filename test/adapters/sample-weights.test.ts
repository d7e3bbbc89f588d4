/** A column that says how much each sample counts: no feature, read with the samples, and refused where it is no weight. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { openJobData } from "../../src/adapters/data/open-job-data.ts";
import { openOwnSamples } from "../../src/adapters/data/own-samples.ts";
import { validateJob } from "../../src/core/job-validation.ts";
import { arrow, csv, dataset, jsonLines, parquet, tfrecord } from "../../src/index.ts";
import type { DescribedDataset } from "../../src/ports/dataset.ts";
import { PreparedData } from "../../src/runtime/prepared-data.ts";
import { decodeCsv, decodeJsonLines } from "../fixtures/byte-source.ts";
import { pointsJob } from "../fixtures/trainers.ts";

const formats = fileURLToPath(new URL("../fixtures/formats", import.meta.url));
const table = "a,w,y,b\n1,0.5,0,10\n2,0,1,20\n3,2e1,0,30\n";
const fromCsv = (text: string, weight?: string) =>
  decodeCsv("f.csv", Buffer.from(text), csv("f.csv", { label: "y", ...(weight === undefined ? {} : { weight }) }));
const fromLines = (lines: readonly object[]) =>
  decodeJsonLines(
    "f.jsonl",
    Buffer.from(lines.map((line) => JSON.stringify(line)).join("\n")),
    jsonLines({ path: "f.jsonl", features: ["a", "b"], label: "y", weight: "w" }),
  );
const objects = [
  { a: 1, w: 0.5, y: 0, b: 10 },
  { a: 2, w: 0, y: 1, b: 20 },
  { a: 3, w: 20, y: 0, b: 30 },
];
const own = (weight: unknown) =>
  openOwnSamples(
    dataset({
      ...{ name: "mine", length: 3, weighted: true },
      get: (i) => ({ features: [objects[i]!.a, objects[i]!.b], label: objects[i]!.y, weight: weight as number }),
    }),
  );

const zeros = dataset({
  ...{ name: "zeros", length: 8, weighted: true },
  get: (i) => ({ features: [i], label: i % 2, weight: 0 }),
});

const all = (data: DescribedDataset) => data.read([2, 0, 1]);
const expected = {
  count: 3,
  features: Float32Array.of(3, 30, 1, 10, 2, 20),
  label: Float32Array.of(0, 0, 1),
  weight: Float32Array.of(20, 0.5, 0),
};

test("tables of cells and of JSON objects, and samples of one's own, give each sample its weight beside its features", async () => {
  assert.deepEqual(all(await fromCsv(table, "w")), expected);
  assert.deepEqual(all(await fromLines(objects)), expected);
  const mine = openOwnSamples(
    dataset({
      ...{ name: "mine", length: 3, weighted: true },
      get: (i) => ({ features: [objects[i]!.a, objects[i]!.b], label: objects[i]!.y, weight: objects[i]!.w }),
    }),
  );
  assert.deepEqual(all(mine), expected);
  assert.deepEqual(
    (await fromCsv(table, "w")).columns.features.map(({ name }) => name),
    ["a", "b"],
  );
});

test("Parquet, Arrow and TFRecord give each sample its weight, and refuse a row's", async () => {
  const named = { features: ["f32", "list"], label: "kind" };
  const rows = [2, 0, 1];
  for (const [source, weight] of [
    [parquet("v2.parquet", named), "u8"],
    [arrow("lz4.arrow", named), "u8"],
    [tfrecord("plain.tfrecord", { features: ["pixels"], label: "count" }), "class"],
  ] as const) {
    const plain = await openDataset(source, formats);
    const weights = (await openDataset({ ...source, features: [weight] }, formats)).read(rows).features;
    const weighted = await openDataset({ ...source, weight }, formats);
    assert.deepEqual(weighted.read(rows), { ...plain.read(rows), weight: weights }, source.kind);
    assert.deepEqual(weighted.labels(rows), plain.labels(rows));
    assert.deepEqual(weighted.columns.features, plain.columns.features);
    assert.deepEqual([weighted.columns.weight?.name, weighted.features], [weight, plain.features]);
    assert.notEqual(weighted.digest, plain.digest);
  }
  const refused = (weight: string, message: RegExp) =>
    assert.rejects(openDataset(parquet("v2.parquet", { ...named, weight }), formats), {
      code: "invalid-data",
      message,
    });
  await refused("i16", /v2\.parquet, row 0, column "i16" is -30000; expected a sample's weight/);
  await refused("fixed", /column "fixed" has lists; expected the samples' weights, single numbers/);
  await refused("w", /v2\.parquet has no column "w", which weight names/);
  const other = await openDataset(parquet("v2.parquet", { ...named, weight: "w" }), formats, { isOther: true });
  assert.equal(other.read(rows).weight, undefined);
});

test("other data than those of training may have the column or not, and nobody reads it", async () => {
  const source = csv("f.csv", { label: "y", weight: "w" });
  const other = (text: string) => decodeCsv("g.csv", Buffer.from(text), source, { isOther: true });
  for (const text of ["a,w,y,b\n1,none,0,10\n", "a,y,b\n1,0,10\n"]) {
    assert.deepEqual((await other(text)).read([0]), {
      count: 1,
      features: Float32Array.of(1, 10),
      label: Float32Array.of(0),
    });
  }
});

test("samples that all count nothing are refused before training", async () => {
  const data = await openJobData({ data: zeros, validation: { fraction: 0.25, take: "random" } }, { directory: "." });
  assert.throws(
    () => new PreparedData(data, pointsJob({ data: zeros, preprocess: {}, validation: { fraction: 0.25 } })),
    {
      code: "invalid-data",
      message: /^All samples of the training split have the weight 0, and count nothing/,
    },
  );
});

test("whether there are weights, and which, is part of the digest; without them it is what it was", async () => {
  const tables = [fromCsv(table), fromCsv(table, "w"), fromCsv(table, "b")];
  const digests = (await Promise.all(tables)).map(({ digest }) => digest);
  assert.equal(new Set(digests).size, 3);
  assert.equal(digests[0], "sha256:a05f1d44c8ee5c1c400560c7932677fca97b3cbff5c8cecf1b943ab100348a59");
  assert.equal((await fromCsv(table)).read([0]).weight, undefined);
});

test("what is no weight is refused with its place and what is expected", async () => {
  const cases: readonly [open: () => unknown, message: RegExp][] = [
    [
      () => fromCsv("a,w,y\n1,-1,0\n", "w"),
      /f\.csv, line 2, column "w" is "-1"; expected a sample's weight, a finite number from 0 on/,
    ],
    [() => fromCsv("a,w,y\n1,1,0\n1,,0\n", "w"), /f\.csv, line 3, column "w" is ""; expected a sample's weight/],
    [() => fromCsv("a,w,y\n1,1e60,0\n", "w"), /column "w" is "1e60"/],
    [() => fromCsv(table, "weight"), /f\.csv has no column "weight", which weight names; its columns are/],
    [() => fromCsv("w,y\n1,0\n", "w"), /no other column than the label "y" and those that are no features/],
    [() => fromLines([{ a: 1, b: 1, y: 0, w: null }]), /f\.jsonl, line 1, "w" is null; expected a sample's weight/],
    [() => fromLines([{ a: 1, b: 1, y: 0 }]), /f\.jsonl, line 1 has no "w"/],
    [
      () => openOwnSamples(dataset({ name: "mine", length: 1, get: () => ({ features: 1, label: 1, weight: 2 }) })),
      /mine: get\(0\) gives a weight, and the source does not say that there are some/,
    ],
    [() => own(-2), /mine: get\(0\)\.weight is -2; expected a sample's weight/],
    [() => own(undefined), /mine: get\(0\)\.weight is undefined/],
  ];
  for (const [open, message] of cases) {
    await assert.rejects(async () => open(), { name: "LockstepError", code: "invalid-data", message });
  }
});

test("a column of weights is nothing else, and a test file has the same one", () => {
  const job = (data: object, more: object = {}) =>
    validateJob({
      ...{ name: "weighted", data, batchSize: 4, epochs: 1, model: () => assert.fail("no model is made here") },
      ...{ compile: { optimizer: { kind: "sgd", learningRate: 0.1 }, loss: "meanSquaredError" }, ...more },
    });
  const refused = (data: object, message: RegExp) => assert.throws(() => job(data), { code: "invalid-job", message });
  refused(
    csv("f", { label: "y", weight: "y" }),
    /^data\.weight is "y"; expected a column that is neither the label nor a feature, and neither in ignore nor in columns/,
  );
  refused(csv("f", { label: "y", weight: "a", ignore: ["a"] }), /^data\.weight is "a"/);
  refused(csv("f", { label: "y", weight: "a", columns: { a: "category" } }), /^data\.weight is "a"/);
  refused(jsonLines({ path: "f", features: ["a"], label: "y", weight: "a" }), /^data\.weight is "a"/);
  const { test: given } = job(csv("f", { label: "y", weight: "w" }), { test: csv("g", { label: "y" }) });
  assert.deepEqual(given, csv("g", { label: "y", weight: "w" }));
});
