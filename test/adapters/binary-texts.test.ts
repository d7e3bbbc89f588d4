/** Categories and texts in Parquet, Arrow and TFRecord files that their own libraries wrote (test/fixtures/formats/reference.py). */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { copyFile, cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { sha256Of } from "../../src/adapters/data/byte-source.ts";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { columnPiece } from "../../src/adapters/data/table-columns.ts";
import { readerFor, rowsOf } from "../../src/adapters/data/table-rows.ts";
import { mostCategories } from "../../src/core/columns.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { encodeJson } from "../../src/core/json.ts";
import type { DataSource } from "../../src/core/job.ts";
import { arrow, csv, jsonLines, parquet, tfrecord } from "../../src/index.ts";
import type { DescribedDataset, OpenOptions } from "../../src/ports/dataset.ts";
import { exampleRecord, int64List, packed, textList, texts } from "../fixtures/example-record.ts";
import { tableSource, type TableOptions, textTables } from "../fixtures/text-tables.ts";

const formats = fileURLToPath(new URL("../fixtures/formats/", import.meta.url));
let folder = "";
let cacheHome: string | undefined;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "lockstep-binary-texts-"));
  cacheHome = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = path.join(folder, "cache");
  await cp(path.join(formats, "texts"), folder, { recursive: true });
});
after(async () => {
  if (cacheHome === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = cacheHome;
  await rm(folder, { recursive: true });
});

const features = ["x", "hole", "city", "notes", "code", "size"];
const columns = {
  city: "category",
  notes: { kind: "words", length: 4 },
  code: { kind: "characters", length: 3 },
  size: "category",
  kind: "category",
} as const;
const named = { features, label: "kind", columns, missing: ["NA"] } as const;
const asCsv = csv("table.csv", { label: "kind", columns, missing: ["NA"] });
/** One of each format. */
const some = ["plain.parquet", "utf8.arrow", "view.arrows", "codes.arrows", "table.tfrecord"];

const open = (source: DataSource, options: OpenOptions = {}) => openDataset(source, folder, options);

function contentOf(data: DescribedDataset) {
  const indices = Array.from({ length: data.length }, (_, i) => data.length - 1 - i);
  return { samples: data.read(indices), labels: data.labels(indices), form: [data.features, data.label] };
}

/** Names, dictionaries, and how many values are missing: not the type of numbers, nor where the first that is missing is. */
const described = ({ columns: { features, label } }: DescribedDataset) =>
  [...features, label].map(({ name, texts, shape, missing }) => ({ name, texts, shape, missing: missing?.count }));

async function refusal(opening: Promise<unknown>): Promise<string> {
  const error = await opening.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof LockstepError && error.code === "invalid-data", String(error));
  return `${error.message.replaceAll(`${folder}${path.sep}`, "")} | ${error.hint}`;
}

test("categories, words and characters are those of the same table as CSV, however the file has its texts, in memory and on disk", async () => {
  const wanted = await open(asCsv);
  assert.deepEqual(
    wanted.columns.features.find(({ name }) => name === "city")!.texts,
    ["", "Bonn", "Rome", "Zürich", "Åland", "🏔 Oslo", "Ａ"],
    "in the order of code units, in which what is beyond them comes before what is wide",
  );
  for (const file of textTables) {
    for (const memoryBytes of [2 ** 31, 0, 0]) {
      const data = await open(tableSource(file, named), { memoryBytes });
      assert.deepEqual(contentOf(data), contentOf(wanted), file);
      assert.deepEqual(described(data), described(wanted), file);
      const [x, hole, city] = data.columns.features;
      assert.deepEqual([x!.type, city!.type, data.columns.label.type], ["int64", "category", "category"]);
      assert.equal(hole!.missing!.first, `${path.join(folder, file)}, row 2`);
    }
  }
});

test("several files have one dictionary, and where a value is missing is said of the file as it is called now", async () => {
  for (const end of ["parquet", "arrow", "tfrecord"]) {
    const all = textTables.filter((name) => name.endsWith(`.${end}`)).sort();
    const copies = end === "tfrecord" ? ["copy-a", "copy-b"] : all.map((_, i) => `copy-${"abcdef"[i]}`);
    const { name: first } = path.parse(all[0]!);
    for (const [i, copy] of copies.entries()) {
      await copyFile(path.join(folder, all[i] ?? all[0]!), path.join(folder, `${copy}.${end}`));
      await copyFile(path.join(folder, "table.csv"), path.join(folder, `${end}-${copy}.csv`));
    }
    const wanted = await open(csv(`${end}-copy-*.csv`, { label: "kind", columns, missing: ["NA"] }));
    for (const memoryBytes of [2 ** 31, 0]) {
      const data = await open(tableSource(`copy-*.${end}`, named), { memoryBytes });
      assert.equal(data.length, 40 * copies.length);
      assert.deepEqual(contentOf(data), contentOf(wanted));
      assert.deepEqual(described(data), described(wanted));
    }
    // Rows that are found in the cache, where they were put when their file had another name.
    await open(tableSource(`${first}.${end}`, named), { memoryBytes: 0 });
    const moved = await open(tableSource(`copy-a.${end}`, named), { memoryBytes: 0 });
    assert.equal(moved.columns.features[1]!.missing!.first, `${path.join(folder, `copy-a.${end}`)}, row 2`);
  }
});

test("other files are read with the dictionaries of the training data: −1 for a feature's text that they lack, and no other label", async () => {
  const training = await open(asCsv);
  const all = [...training.columns.features, training.columns.label];
  const dictionaries = Object.fromEntries(all.flatMap(({ name, texts }) => (texts ? [[name!, texts]] : [])));
  const other = { isOther: true, dictionaries };
  const read = await open(parquet("other.pq", named), other);
  const wanted = await open({ ...asCsv, path: "other.csv" }, other);
  assert.deepEqual(contentOf(read), contentOf(wanted));
  const city = read.read([0]).features[2];
  assert.equal(city, -1, "a city that the table has not");
  for (const file of textTables) {
    const known = { ...dictionaries, city: ["Rome"], notes: ["good"], size: ["3"] };
    const data = await open(tableSource(file, named), { isOther: true, dictionaries: known });
    assert.deepEqual(contentOf(data), contentOf(await open(asCsv, { isOther: true, dictionaries: known })), file);
    const codes = new Set(Array.from({ length: 40 }, (_, row) => data.read([row]).features[2]));
    assert.deepEqual(codes, new Set([0, -1, Number.NaN]));
    const message = await refusal(
      open(tableSource(file, named), { isOther: true, dictionaries: { ...dictionaries, kind: ["daisy", "tulip"] } }),
    );
    assert.match(
      message,
      /, row 2, the label "kind" is "rose", which the training data has nowhere\. \| Its categories are "daisy", "tulip"\./,
    );
  }
});

test("what is missing is refused with row and column, unless the job says that it may be; a label never is", async () => {
  const { missing: _, ...strict } = named;
  for (const file of textTables) {
    const only = (name: string, given: TableOptions = strict) =>
      open(tableSource(file, { ...given, features: [name] }));
    const cases = [
      ["city", 4],
      ["notes", 1],
      ["code", 5],
      ["hole", 2],
    ] as const;
    for (const [name, row] of cases) {
      const expected = name === "hole" ? "number" : "text";
      const message = file.endsWith("tfrecord")
        ? new RegExp(`, record ${row}, feature "${name}" is missing`)
        : new RegExp(`, row ${row}, column "${name}" is missing \\(null\\); expected a ${expected}\\.`);
      assert.match(await refusal(only(name)), message, file);
      const { features } = await only(name, named).then((data) => data.read([row]));
      assert.ok(features.every(Number.isNaN), file);
    }
    const label = { ...named, features: ["x"], label: "code" };
    assert.match(
      await refusal(open(tableSource(file, { ...label, columns: { code: "category" } }))),
      /(row|record) 5, .*"code" is missing/,
    );
    const numbers = { ...named, features: ["x"], label: "hole" };
    assert.match(await refusal(open(tableSource(file, numbers))), /(row|record) 2, .*"hole" is missing/);
  }
});

test("of lists none may be missing, in whatever row the first one is", () => {
  const given = { features: ["a"], label: "y", missing: ["NA"] };
  const place = { file: "f", column: "a", type: "int64" };
  for (const values of [
    [null, [1, 2]],
    [[1, 2], null],
  ]) {
    assert.throws(() => columnPiece(given, place, values, 10), {
      message: `f, row ${values[0] === null ? 10 : 11}, column "a" is missing (null); expected 2, as the rows before.`,
    });
  }
  assert.deepEqual(columnPiece(given, place, [null, 3n], 0), {
    ...{ name: "a", type: "int64", shape: [] },
    values: Float32Array.of(Number.NaN, 3),
  });
});

test("a column of texts that the job says nothing of is refused, and what to write is said", async () => {
  for (const file of textTables) {
    const message = await refusal(open(tableSource(file, { features: ["city"], label: "x" })));
    assert.match(
      message,
      /column "city" holds texts; expected numbers\. \| .* write columns: \{ "city": "category" \}/,
    );
  }
  const weighted = await refusal(open(parquet("plain.parquet", { features: ["x"], label: "size", weight: "kind" })));
  assert.match(weighted, /column "kind" holds texts; expected numbers\. \| Replace it by numbers/);
});

test("what is no text is refused where the job says that it is one, by what the column holds", async () => {
  const cases = [
    ["tags", "category", /holds lists of texts; expected texts/],
    ["bytes", "category", /holds bytes; expected texts/],
    ["real", "category", /holds float64; expected texts/],
    ["size", { kind: "words", length: 2 }, /holds int64; expected texts\. \| A category may be whole numbers/],
    ["size", { kind: "characters", length: 2 }, /holds int64; expected texts/],
  ] as const;
  for (const file of ["plain.parquet", "dictionary.parquet", "utf8.arrow", "view.arrows"]) {
    for (const [name, kind, message] of cases) {
      const source = tableSource(file, { features: [name], label: "x", columns: { [name]: kind } });
      assert.match(await refusal(open(source)), message, file);
    }
  }
  const floats = tfrecord("table.tfrecord", {
    ...named,
    features: ["hole"],
    columns: { hole: "category" },
    label: "x",
  });
  assert.match(await refusal(open(floats)), /record 0, column "hole" holds float32; expected texts/);
});

test("a category may be whole numbers and booleans, written as JSON writes them, to the last digit", async () => {
  const kinds = { b: "category", i64: "category", u8: "category" } as const;
  const i64 = Array.from({ length: 20 }, (_, i) => String(BigInt(i) * 2n ** 40n - 2n ** 44n + 1n));
  const inOrder = (texts: readonly string[]) => [...texts].sort((a, b) => (a < b ? -1 : 1));
  for (const file of ["none.parquet", "v2.parquet", "uncompressed.arrow", "lz4.arrow"]) {
    const data = await openDataset(
      tableSource(file, { features: ["b", "i64"], label: "u8", columns: kinds }),
      formats,
      {},
    );
    const [b, big] = data.columns.features;
    assert.deepEqual([b!.texts, big!.texts], [["false", "true"], inOrder(i64)]);
    assert.deepEqual(
      Array.from({ length: 20 }, (_, i) => data.read([i]).features[1]),
      i64.map((text) => inOrder(i64).indexOf(text)),
    );
    assert.deepEqual(data.columns.label.texts, inOrder(Array.from({ length: 20 }, (_, i) => String(12 * i))));
  }
  const records = tfrecord("plain.tfrecord", { features: ["pixels"], label: "count", columns: { count: "category" } });
  const count = Array.from({ length: 20 }, (_, i) => String(BigInt(i) * 2n ** 40n - 2n ** 42n));
  assert.deepEqual((await openDataset(records, formats)).columns.label.texts, inOrder(count));
});

test("bytes that are no UTF-8 are refused with their row and column", async () => {
  for (const file of ["plain.parquet", "utf8.arrow", "view.arrows", "codes.arrows"]) {
    const bytes = await readFile(path.join(folder, file));
    const at =
      bytes.lastIndexOf(file === "plain.parquet" ? "\x04\0\0\0Rome" : "Rome") + (file === "plain.parquet" ? 4 : 0);
    bytes[at + 1] = 0xff;
    const damaged = `damaged-${file}`;
    await writeFile(path.join(folder, damaged), bytes);
    const message = await refusal(open(tableSource(damaged, { ...named, features: ["city"] })));
    assert.match(message, /^damaged-.*, row \d+, column "city" is no UTF-8; expected a text\./, file);
  }
  const record = exampleRecord({
    x: [textList, texts(Buffer.from([0x52, 0xff]))],
    y: [int64List, packed(Uint8Array.of(1))],
  });
  await writeFile(path.join(folder, "bytes.tfrecord"), record);
  const source = tfrecord("bytes.tfrecord", { features: ["x"], label: "y", columns: { x: "category" } });
  assert.match(await refusal(open(source)), /^bytes\.tfrecord, row 0, column "x" is no UTF-8; expected a text\./);
});

test("a feature of TFRecord has one text; a record may lack one that may be missing, and no file a column", async () => {
  const one = [int64List, packed(Uint8Array.of(1))] as const;
  const given = { features: ["x"], label: "y", columns: { x: "category" } } as const;
  const two = exampleRecord({ x: [textList, texts(Buffer.from("a"), Buffer.from("b"))], y: one });
  await writeFile(path.join(folder, "two.tfrecord"), two);
  assert.match(
    await refusal(open(tfrecord("two.tfrecord", given))),
    /record 0, feature "x" has 2 texts; expected one\. \| Join them/,
  );
  const named = exampleRecord({ x: [textList, texts(Buffer.from("a"))], y: one });
  await writeFile(path.join(folder, "lack.tfrecord"), Buffer.concat([exampleRecord({ y: one }), named]));
  const lacking = await open(tfrecord("lack.tfrecord", { ...given, missing: ["NA"] }));
  assert.deepEqual([...lacking.read([0, 1]).features], [Number.NaN, 0]);
  assert.match(await refusal(open(tfrecord("lack.tfrecord", given))), /lack\.tfrecord has no column "x"/);
  await writeFile(path.join(folder, "none.tfrecord"), exampleRecord({ y: one }));
  const none = tfrecord("none.tfrecord", { ...given, missing: ["NA"] });
  assert.match(await refusal(open(none)), /none\.tfrecord has no column "x"; its columns are "y"/);
});

test("an index outside an Arrow dictionary is damage, and no missing value", async () => {
  const bytes = await readFile(path.join(folder, "codes.arrows"));
  // Rows 0 to 15 of "city" are the indices 0, 1, 2, 3, missing, 4, ….
  const indices = [0, 1, 2, 3];
  const at = bytes.indexOf(Buffer.from(Int32Array.from(indices).buffer));
  assert.ok(at > 0);
  bytes.writeInt32LE(99, at + 4);
  await writeFile(path.join(folder, "outside.arrows"), bytes);
  const source = arrow("outside.arrows", named);
  assert.match(await refusal(open(source)), /^outside\.arrows is damaged: dictionary \d has no entry 99\./);
});

test("more distinct texts than a category has are refused with their row", () => {
  const source = { features: ["x"], label: "y", columns: { x: "category" } } as const;
  const column = { name: "x", type: "category", shape: [] };
  const values = Array.from({ length: mostCategories + 1 }, (_, i) => `t${i}`);
  const piece = { count: values.length, columns: [{ name: "x", texts: values }] };
  const read = [{ ...column, reader: readerFor(source, column, null) }];
  assert.throws(() => [...rowsOf({ file: "f", piece, firstRow: 100 }, read, 1000)], {
    code: "invalid-data",
    message: /^f, row 65636, column "x" has more than 65536 distinct texts/,
  });
});

test("what a job says of texts is part of the digest; without it the digest is the one that it always was", async () => {
  for (const file of some) {
    const bytes = await readFile(path.join(folder, file));
    const plain: TableOptions = { features: ["x"], label: "size" };
    const { kind } = tableSource(file, plain);
    const text = encodeJson({ kind, ...plain, sha256: [sha256Of(bytes)] });
    const always = `sha256:${createHash("sha256").update(text).digest("hex")}`;
    const digestOf = async (given: TableOptions, options: OpenOptions = {}) =>
      (await open(tableSource(file, given), options)).digest;
    // Where something imputes, values may be missing, which changes none that are there.
    assert.equal(await digestOf({ ...plain, missing: [""] }), always);
    assert.equal(await digestOf(plain, { isOther: true, dictionaries: {} }), always);
    const words = (length: number): TableOptions => ({
      ...plain,
      features: ["notes"],
      columns: { notes: { kind: "words", length } },
      missing: [],
    });
    const digests = [
      await digestOf(plain),
      await digestOf({ ...plain, columns: { x: "category" } }),
      await digestOf({ ...plain, columns: { size: "category" } }),
      await digestOf(words(2)),
      await digestOf(words(3)),
      await digestOf({ ...words(3), missing: ["NA"] }),
      await digestOf(words(3), { isOther: true, dictionaries: { notes: ["good"] } }),
    ];
    assert.equal(digests[0], always, file);
    assert.equal(new Set(digests).size, digests.length);
  }
});

test("what `missing` names is missing in columns of texts, as it is in JSON lines", async () => {
  const given = { features: ["city"], label: "size", columns: { city: "category" }, missing: ["Rome", ""] } as const;
  const lines = (await readFile(path.join(folder, "table.csv"), "utf8")).trimEnd().split("\n");
  assert.ok(lines.length > 40);
  const rows = await open(csv("table.csv", { label: "kind", columns, missing: ["NA"] }));
  const dictionary = rows.columns.features[2]!.texts!;
  const objects = Array.from({ length: 40 }, (_, row) => {
    const code = rows.read([row]).features[2]!;
    return { city: dictionary[code] ?? null, size: row };
  });
  await writeFile(path.join(folder, "cities.jsonl"), objects.map((object) => JSON.stringify(object)).join("\n"));
  const wanted = await open(jsonLines({ path: "cities.jsonl", ...given }));
  const all = Array.from({ length: 40 }, (_, i) => i);
  for (const file of some) {
    const data = await open(tableSource(file, given));
    assert.deepEqual(data.read(all).features, wanted.read(all).features, file);
    assert.deepEqual(data.columns.features[0]!.texts, wanted.columns.features[0]!.texts);
    assert.equal(data.columns.features[0]!.missing!.count, wanted.columns.features[0]!.missing!.count);
  }
  assert.ok((await readdir(folder)).includes("cities.jsonl"));
});
