/** Labels of several columns: the numbers of each, after those of the one before, in every format of tables. */
import assert from "node:assert/strict";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { readRows } from "../../src/adapters/data/rows.ts";
import { dataText } from "../../src/adapters/terminal/data-table.ts";
import { knownOf, rawColumns } from "../../src/core/columns.ts";
import { DataSummary } from "../../src/core/data-summary.ts";
import { LockstepError } from "../../src/core/errors.ts";
import type { DataSource } from "../../src/core/job.ts";
import { validateJob } from "../../src/core/job-validation.ts";
import { answersOf, predictionWriter } from "../../src/cli/prediction-writer.ts";
import { arrow, columns, csv, jsonLines, parquet, scale, standardize, tfrecord } from "../../src/index.ts";
import type { DescribedDataset } from "../../src/ports/dataset.ts";
import type { LayersModel } from "../../src/ports/engine.ts";
import { PreparedData } from "../../src/runtime/prepared-data.ts";

let folder = "";
let cacheHome: string | undefined;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "lockstep-several-labels-"));
  cacheHome = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = path.join(folder, "cache");
  const texts = new URL("../fixtures/formats/texts/", import.meta.url);
  await cp(fileURLToPath(texts), folder, { recursive: true });
  const rows = Array.from({ length: 12 }, (_, i) => ({ a: i, y: 2 * i, b: 3 * i, x: 4 * i, c: 5 * i }));
  await writeFile(path.join(folder, "plain.csv"), csvOf(rows));
  // A quoted cell, so that it is read cell by cell.
  await writeFile(path.join(folder, "quoted.csv"), csvOf(rows).replace("\n0,", '\n"0",'));
  const lines = rows.map(({ x, y, ...others }, i) => JSON.stringify({ ...others, x: [x, i], y }));
  await writeFile(path.join(folder, "lists.jsonl"), lines.join("\n"));
});
after(async () => {
  if (cacheHome === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = cacheHome;
  await rm(folder, { recursive: true });
});

function csvOf(rows: readonly object[]): string {
  return [Object.keys(rows[0]!), ...rows.map(Object.values)].map((cells) => cells.join()).join("\n");
}

const whole = (data: DescribedDataset) => data.read(Array.from({ length: data.length }, (_, i) => i));
const rowsIn = (values: Float32Array, count: number) =>
  Array.from({ length: count }, (_, row) => [
    ...values.subarray((row * values.length) / count, ((row + 1) * values.length) / count),
  ]);

test("a CSV file's labels come in the job's order, and all other columns are features, however it is read", async () => {
  for (const file of ["plain.csv", "quoted.csv"]) {
    const data = await openDataset(csv(file, { label: ["x", "y"] }), folder);
    assert.deepEqual([data.features.shape, data.label.shape], [[3], [2]]);
    const { count, features, label } = whole(data);
    assert.deepEqual(
      rowsIn(features, count),
      Array.from({ length: 12 }, (_, i) => [i, 3 * i, 5 * i]),
    );
    assert.deepEqual(
      rowsIn(label, count),
      Array.from({ length: 12 }, (_, i) => [4 * i, 2 * i]),
    );
    assert.deepEqual(data.labels([3, 1]), Float32Array.of(12, 6, 4, 2));
  }
});

test("a list of fields of lists is all their numbers, and a list of one column is one number in a list", async () => {
  const data = await openDataset(jsonLines({ path: "lists.jsonl", features: ["a"], label: ["x", "y"] }), folder);
  assert.deepEqual(data.label.shape, [3]);
  assert.deepEqual(data.labels([2, 0]), Float32Array.of(8, 2, 4, 0, 0, 0));
  const one = await openDataset(csv("plain.csv", { label: ["y"] }), folder);
  assert.deepEqual(one.label.shape, [1]);
  const plain = await openDataset(csv("plain.csv", { label: "y" }), folder);
  assert.deepEqual(plain.label.shape, []);
  assert.deepEqual(one.labels([0, 5]), plain.labels([0, 5]));
  assert.notEqual(one.digest, plain.digest);
});

const kinds = { city: "category", notes: { kind: "words", length: 4 }, size: "category", kind: "category" } as const;
const missing = ["NA"];
const features = ["hole", "notes"];
const tables: readonly ((label: string | string[]) => DataSource)[] = [
  (label) => parquet("dictionary.parquet", { features, label, columns: kindsOf(label), missing }),
  (label) => arrow("codes.arrows", { features, label, columns: kindsOf(label), missing }),
  (label) => tfrecord("table.tfrecord", { features, label, columns: kindsOf(label), missing }),
];

/** Of what is named alone: more is refused. */
function kindsOf(label: string | string[]) {
  const used = [...features, ...[label].flat()];
  return Object.fromEntries(Object.entries(kinds).filter(([name]) => used.includes(name)));
}

test("categories and numbers beside each other are what each is as the only label, and keep their dictionaries", async () => {
  for (const source of tables) {
    for (const memoryBytes of [2 ** 31, 0]) {
      const both = await openDataset(source(["kind", "x", "size"]), folder, { memoryBytes });
      const single = await Promise.all(["kind", "x", "size"].map((label) => openDataset(source(label), folder)));
      const labels = rowsIn(whole(both).label, both.length);
      assert.ok(both.length > 3 && both.label.shape[0] === 3);
      for (const [i, one] of single.entries()) {
        assert.deepEqual(
          labels.map((row) => row[i]),
          [...whole(one).label],
        );
        assert.deepEqual(both.columns.label.parts![i], one.columns.label);
        assert.deepEqual(whole(both).features, whole(one).features);
      }
      assert.ok(both.columns.label.parts![0]!.texts!.length > 1);
      const { dictionaries } = knownOf(rawColumns(both.columns.features, both.columns.label));
      assert.deepEqual(Object.keys(dictionaries).sort(), ["kind", "notes", "size"]);
      const again = await openDataset(source(["kind", "x", "size"]), folder, { memoryBytes, dictionaries });
      assert.deepEqual(whole(again).label, whole(both).label);
    }
  }
});

test("columns() pre-processes each label by itself, where there are several", async () => {
  const job = {
    name: "a",
    data: csv("plain.csv", { label: ["x", "y"] }),
    model: () => null,
    preprocess: { label: columns({ x: standardize() }) },
    compile: { optimizer: { kind: "sgd", learningRate: 0.1 }, loss: "meanSquaredError" },
    batchSize: 2,
    epochs: 1,
  } as const;
  const data = new PreparedData(await openDataset(job.data, folder), validateJob(job));
  const labels = rowsIn(data.training(Uint32Array.from({ length: 12 }, (_, i) => i)).label, 12);
  assert.ok(Math.abs(labels.reduce((sum, [x]) => sum + x!, 0)) < 1e-5);
  assert.deepEqual(
    labels.map(([, y]) => y).sort((a, b) => a! - b!),
    Array.from({ length: 12 }, (_, i) => 2 * i),
  );
  assert.throws(
    () => validateJob({ ...job, data: csv("plain.csv", { label: "x" }) }),
    /expected columns\(\) as the first of preprocess\.features, or of preprocess\.label where the label is several/,
  );
});

test("labels are told one by one, and are no features of rows to predict", async () => {
  const source = csv("plain.csv", { label: ["x", "y"] });
  const data = await openDataset(source, folder);
  const summary = new DataSummary(data.columns.features, data.columns.label, null);
  summary.add("training", whole(data));
  assert.deepEqual(
    summary.label.parts!.map(({ name, minimum, maximum }) => [name, minimum, maximum]),
    [
      ["x", 0, 44],
      ["y", 0, 22],
    ],
  );
  const report = {
    ...{
      format: "csv" as const,
      files: data.files,
      digest: data.digest,
      samples: 12,
      weight: null,
      classes: null,
      first: [],
    },
    ...{ split: { training: 12, validation: 0, take: null }, shapes: { features: [3], label: [2] } },
    ...{ features: summary.features, label: summary.label },
  } as const;
  assert.match(dataText({ job: "a", data: report, test: null }), /label +x +number .*\n +y +number /);
  const expected = { source, width: 3, names: null, known: { dictionaries: {} } };
  for await (const { count, values } of readRows(path.join(folder, "plain.csv"), expected, 20, () => assert.fail())) {
    assert.deepEqual(values.subarray(0, 3 * count), whole(data).features);
  }
});

test("predict tells each of several labels in its own values, where one output answers all of them", async () => {
  const written = async (loss: string, label: object) => {
    const data = csv("plain.csv", { label: ["x", "y"] });
    const compile = { optimizer: { kind: "sgd", learningRate: 0.1 }, loss };
    const job = validateJob({
      ...{ name: "a", data, model: () => null, compile, preprocess: { label }, batchSize: 1, epochs: 1 },
    });
    const { preprocessing } = new PreparedData(await openDataset(data, folder), job);
    const predictor = { outputs: [{ name: "out", size: 2 }], predict: () => assert.fail() };
    const model = {} as LayersModel; // nobody looks at a model that has one output
    const lines = predictionWriter("csv", answersOf(job, model, preprocessing, predictor));
    return lines.heading + lines.rows(Float32Array.of(0, 0.5, 1, 2), 2);
  };
  const own = columns({ x: standardize(), y: scale(0.5) });
  // The mean of x is 22, and its deviation the root of 4 · 4 · (12² − 1) / 12.
  assert.equal(await written("meanSquaredError", own), `predicted x,predicted y,x,y\n22,1,0,0.5\n35.80821,4,1,2\n`);
  assert.match(await written("meanSquaredError", standardize()), /^output 0,output 1\n0,0\.5\n/);
  assert.match(await written("categoricalCrossentropy", own), /^output 0,output 1\n/);
});

test("wrong lists of labels are refused by a sentence", async () => {
  for (const [label, problem] of [
    [[], /^LockstepError: data\.label is \[\]; expected a list of one or more names of columns\.$/],
    [["x", "x"], /^LockstepError: data\.label\[1\] is "x"; expected each column once\.$/],
    [["x", 1], /^LockstepError: data\.label\[1\] is 1; expected the name of a column\.$/],
  ] as const) {
    const data = { kind: "csv", path: "plain.csv", label };
    assert.throws(() => validateJob({ name: "a", data }), problem);
  }
  const fields = { kind: "json-lines", path: "a.jsonl", features: ["a", "x"], label: ["y", "x"] };
  assert.throws(
    () => validateJob({ name: "a", data: fields }),
    /^LockstepError: data\.features\[1\] is "x"; expected other fields than the label\.$/,
  );
  await assert.rejects(openDataset(csv("plain.csv", { label: ["x", "z"] }), folder), (error) => {
    assert.ok(error instanceof LockstepError && error.code === "invalid-data");
    assert.match(error.message, /has no column "z", which the job file names as the label/);
    return true;
  });
  await assert.rejects(
    openDataset(csv("plain.csv", { label: ["a", "y", "b", "x", "c"] }), folder),
    /has no other column than the labels "a", "y", "b", "x" and "c"; expected features/,
  );
});
