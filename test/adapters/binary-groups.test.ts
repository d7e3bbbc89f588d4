/** Groups, of which a validation split holds back whole ones, in Parquet, Arrow and TFRecord files. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { openJobData } from "../../src/adapters/data/open-job-data.ts";
import { LockstepError } from "../../src/core/errors.ts";
import type { DataSource } from "../../src/core/job.ts";
import { csv, jsonLines, parquet, tfrecord } from "../../src/index.ts";
import type { DescribedDataset } from "../../src/ports/dataset.ts";
import { splitDataset } from "../../src/runtime/prepared-data.ts";
import { exampleRecord, floatList, int64List, packed, textList, texts } from "../fixtures/example-record.ts";
import { tableSource, type TableOptions, textTables } from "../fixtures/text-tables.ts";

const formats = fileURLToPath(new URL("../fixtures/formats/", import.meta.url));
let folder = "";
let cacheHome: string | undefined;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "lockstep-binary-groups-"));
  cacheHome = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = path.join(folder, "cache");
  await cp(path.join(formats, "texts"), folder, { recursive: true });
});
after(async () => {
  if (cacheHome === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = cacheHome;
  await rm(folder, { recursive: true });
});

const kinds = { kind: "category" } as const;
/** What the job uses of the table, beside the column that groups: that may be no feature, one of them, or a label. */
const uses: readonly TableOptions[] = [
  { features: ["x"], label: "size" },
  { features: ["x", "size"], label: "kind", columns: kinds },
  { features: ["kind"], label: "x", columns: kinds },
  { features: ["x"], label: ["size", "kind"], columns: kinds },
];

function inCsv(all: readonly string[], { features, label, columns = {} }: TableOptions): DataSource {
  const used = [...features, ...[label].flat()];
  return csv("table.csv", { label, columns, ignore: all.filter((name) => !used.includes(name)) });
}

const samplesOf = (data: DescribedDataset) => {
  const indices = Array.from({ length: data.length }, (_, i) => data.length - 1 - i);
  return [data.read(indices), data.labels(indices)];
};

async function refusal(opening: Promise<unknown>): Promise<string> {
  const error = await opening.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof LockstepError && error.code === "invalid-data", String(error));
  return `${error.message.replaceAll(`${folder}${path.sep}`, "")} | ${error.hint}`;
}

test("the groups of a column are those of the same table as CSV, and so is the split, in memory and on disk", async () => {
  const header = (await readFile(path.join(folder, "table.csv"), "utf8")).split("\n")[0]!.split(",");
  for (const use of uses) {
    for (const group of ["size", "kind", "x"]) {
      const wanted = await openDataset(inCsv(header, use), folder, { group });
      for (const file of textTables) {
        for (const memoryBytes of [2 ** 31, 0, 0]) {
          const data = await openDataset(tableSource(file, use), folder, { group, memoryBytes });
          const what = `${file}, by ${group}`;
          assert.deepEqual(data.groups, wanted.groups, what);
          assert.deepEqual(samplesOf(data), samplesOf(wanted), what);
        }
      }
    }
  }
  const validation = { fraction: 0.3, by: "group", column: "size" } as const;
  const job = (data: DataSource) => openJobData({ data, validation }, { directory: folder });
  const wanted = splitDataset(await job(inCsv(header, uses[1]!)), 5, validation);
  for (const file of textTables) {
    const data = await job(tableSource(file, uses[1]!));
    const split = splitDataset(data, 5, validation);
    assert.deepEqual(split, wanted, file);
    const sizes = (part: Uint32Array) => new Set(data.read(part).features.filter((_, i) => i % 2 === 1));
    assert.ok(sizes(split.validation).size > 1);
    const held = sizes(split.validation);
    assert.ok([...sizes(split.training)].every((size) => !held.has(size)));
  }
});

test("several files have the same groups, and samples keep their weights", async () => {
  const use: TableOptions = { features: ["x"], label: "size" };
  const one = await openDataset(parquet("plain.parquet", use), folder, { group: "kind" });
  await cp(path.join(folder, "plain.parquet"), path.join(folder, "two-a.parquet"));
  await cp(path.join(folder, "dictionary.parquet"), path.join(folder, "two-b.parquet"));
  const two = await openDataset(parquet("two-*.parquet", use), folder, { group: "kind" });
  assert.deepEqual([...two.groups!], [...one.groups!, ...one.groups!]);
  const records = ["b", "a", "b", "é"].map((patient, i) =>
    exampleRecord({
      x: [int64List, packed(Uint8Array.of(10 * i))],
      w: [int64List, packed(Uint8Array.of(i + 1))],
      y: [int64List, packed(Uint8Array.of(i % 2))],
      patient: [textList, texts(Buffer.from(patient))],
    }),
  );
  await writeFile(path.join(folder, "weighted.tfrecord"), Buffer.concat(records));
  const source = tfrecord("weighted.tfrecord", { features: ["x"], weight: "w", label: "y" });
  const data = await openDataset(source, folder, { group: "patient" });
  assert.deepEqual([...data.groups!], [1, 0, 1, 2]);
  assert.deepEqual(data.read([3, 0]), {
    ...{ count: 2, features: Float32Array.of(30, 0), label: Float32Array.of(1, 0), weight: Float32Array.of(4, 1) },
  });
});

test("booleans group as true and false, and whole numbers by all their digits", async () => {
  const objects = Array.from({ length: 20 }, (_, i) => ({ b: i % 3 === 0, u8: 12 * i }));
  await writeFile(path.join(folder, "b.jsonl"), objects.map((object) => JSON.stringify(object)).join("\n"));
  const lines = jsonLines({ path: "b.jsonl", features: ["u8"], label: "u8" });
  const wanted = await openDataset(lines, folder, { group: "b" });
  for (const file of ["none.parquet", "v2.parquet", "uncompressed.arrow", "lz4.arrow", "stream.arrows"]) {
    const source = tableSource(file, { features: ["f32"], label: "u8" });
    assert.deepEqual((await openDataset(source, formats, { group: "b" })).groups, wanted.groups, file);
    // Of numbers that float32 could not tell apart, each is a group.
    const { groups } = await openDataset(source, formats, { group: "i64" });
    assert.equal(new Set(groups).size, 20);
  }
});

test("the column that groups is part of the digest", async () => {
  for (const file of textTables) {
    const source = tableSource(file, { features: ["x"], label: "size" });
    const digests = [undefined, "kind", "size"].map(
      async (group) => (await openDataset(source, folder, group === undefined ? {} : { group })).digest,
    );
    assert.equal(new Set(await Promise.all(digests)).size, 3, file);
  }
});

test("a column that is not there, or cannot group, is refused by its name, with what to do", async () => {
  const use: TableOptions = { features: ["x"], label: "size" };
  for (const file of textTables) {
    const grouped = (group: string, options = use) => openDataset(tableSource(file, options), folder, { group });
    assert.match(
      await refusal(grouped("kinds")),
      /has no column "kinds", which validation\.column names; its columns are .* \| Did you mean "kind"\?/,
      file,
    );
    const [where, type] = file.endsWith("tfrecord") ? [", record 0", "float32"] : ["", "float64"];
    assert.equal(
      await refusal(grouped("hole")),
      `${file}${where}, column "hole", by which validation.column groups, holds ${type}; expected texts or whole numbers. | Name a column with a text, a whole number, true or false in each row.`,
    );
    // A feature that may be missing is no group where it is.
    const mayLack: TableOptions = { features: ["city"], label: "size", columns: { city: "category" }, missing: ["NA"] };
    assert.equal(
      await refusal(grouped("city", mayLack)),
      `${file}, row 4, column "city" is missing (null); expected a text or whole number, by which validation.column groups. | Give each row its group, or leave such rows out. Rows count from 0.`,
    );
    const missing = file.endsWith("tfrecord")
      ? /record 4, feature "city" is missing; /
      : /row 4, column "city" is missing/;
    assert.match(await refusal(grouped("city")), missing);
  }
  for (const [column, what] of [
    ["tags", "lists of texts"],
    ["bytes", "bytes"],
    ["real", "float64"],
  ] as const) {
    for (const file of ["plain.parquet", "utf8.arrow"]) {
      const opening = openDataset(tableSource(file, use), folder, { group: column });
      assert.match(await refusal(opening), new RegExp(`holds ${what}; expected texts or whole numbers\\.`));
    }
  }
  const one = [int64List, packed(Uint8Array.of(1))] as const;
  const record = (group: Parameters<typeof exampleRecord>[0][string]) => exampleRecord({ x: one, size: one, group });
  const cases = [
    [record([int64List, packed(Uint8Array.of(1, 2))]), /holds lists of int64; expected texts or whole numbers/],
    [record([textList, texts(Buffer.of(0xff))]), /row 0, column "group" is no UTF-8; expected a text or whole number/],
    [record([textList, texts(Buffer.from("a"), Buffer.from("b"))]), /feature "group" has 2 texts; expected one/],
    [record([floatList, packed(new Uint8Array(4))]), /holds float32; expected texts or whole numbers/],
  ] as const;
  for (const [bytes, message] of cases) {
    await writeFile(path.join(folder, "wrong.tfrecord"), bytes);
    assert.match(await refusal(openDataset(tfrecord("wrong.tfrecord", use), folder, { group: "group" })), message);
  }
});
