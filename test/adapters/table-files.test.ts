/** CSV and JSON lines from several files, and from files that are larger than memory. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { textOf } from "../../src/adapters/data/byte-lines.ts";
import type { ByteSource } from "../../src/adapters/data/byte-source.ts";
import { csvFormat } from "../../src/adapters/data/csv.ts";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { openJobData } from "../../src/adapters/data/open-job-data.ts";
import { featureNames } from "../../src/adapters/data/rows.ts";
import { recordPieces } from "../../src/adapters/data/records.ts";
import { openTextTable } from "../../src/adapters/data/text-table.ts";
import type { Separator } from "../../src/core/job.ts";
import { csv, type DataSource, jsonLines } from "../../src/index.ts";
import type { DescribedDataset, OpenOptions } from "../../src/ports/dataset.ts";
import { bytesInMemory } from "../fixtures/byte-source.ts";
import { Fuzz } from "../fixtures/fuzz.ts";

let folder = "";
let cacheHome: string | undefined;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "lockstep-table-files-"));
  cacheHome = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = path.join(folder, "cache");
});
after(async () => {
  if (cacheHome === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = cacheHome;
  await rm(folder, { recursive: true });
});

const write = (name: string, text: string) => writeFile(path.join(folder, name), text);
const cached = () => readdir(path.join(folder, "cache", "lockstep", "data")).catch(() => [] as string[]);

const columns = { city: "category", text: { kind: "words", length: 2 }, y: "category" } as const;
const named = { label: "y", columns, missing: ["NA"], weight: "w" } as const;
const header = "age,city,text,w,patient,y\n";
/** The same rows in CSV and in JSON lines. */
const rows = Array.from({ length: 300 }, (_, i) => ({
  age: i % 7 === 3 ? "NA" : i / 4,
  city: ["Rome", "Bonn", "Oslo", "Kyiv"][(i * i) % 4]!,
  text: i % 5 === 0 ? "NA" : `word${i % 11}, "a line"\nand word${(i * 7) % 13}`,
  w: (i % 3) + 0.5,
  patient: `p${(i * 5) % 17}`,
  y: i % 2 === 0 ? "yes" : "no",
}));
type Row = (typeof rows)[number];
const asCsv = (some: readonly Row[]) =>
  some
    .map(
      (row) =>
        `${Object.values(row)
          .map((cell) => `"${String(cell).replaceAll('"', '""')}"`)
          .join()}\n`,
    )
    .join("");
const asLines = (some: readonly Row[]) => some.map((row) => `${JSON.stringify(row)}\n`).join("");
const csvOf = (file: string) => csv(file, { ...named, ignore: ["patient"] });
const linesOf = (file: string) => jsonLines({ path: file, features: ["age", "city", "text"], ...named });
const forms = [
  ["csv", (some: readonly Row[]) => header + asCsv(some), csvOf],
  ["jsonl", asLines, linesOf],
] as const;

function contentOf(data: DescribedDataset) {
  const indices = Array.from({ length: data.length }, (_, i) => data.length - 1 - i);
  return {
    samples: data.read(indices),
    labels: data.labels(indices),
    groups: data.groups,
    form: [data.features, data.label],
  };
}

/** Not where the first missing value is, nor anything else of files' names. */
const texts = ({ columns: { features, label } }: DescribedDataset) => [...features, label].map(({ texts }) => texts);

test("several files are one set of samples: that of one file with all rows, in the order of the files' names", async () => {
  for (const [kind, write_, sourceOf] of forms) {
    await write(`whole.${kind}`, write_(rows));
    for (const [name, begin, end] of [
      ["part-b", 120, 121],
      ["part-a", 0, 120],
      ["part-c", 121, 300],
    ] as const) {
      await write(`${name}.${kind}`, write_(rows.slice(begin, end)));
    }
    for (const options of [{}, { group: "patient" }, { group: "patient", memoryBytes: 1000 }]) {
      const whole = await openDataset(sourceOf(`whole.${kind}`), folder, options);
      const parts = await openDataset(sourceOf(`part-*.${kind}`), folder, options);
      assert.equal(parts.length, 300);
      assert.deepEqual(contentOf(parts), contentOf(whole), kind);
      assert.deepEqual(texts(parts), texts(whole));
      assert.deepEqual(
        parts.files.map((file) => path.basename(file)),
        ["a", "b", "c"].map((name) => `part-${name}.${kind}`),
      );
      assert.match(parts.columns.features[0]!.missing!.first, new RegExp(`part-a\\.${kind}, line`));
      assert.notEqual(parts.digest, whole.digest);
      const one = await openDataset(sourceOf(`whol*.${kind}`), folder, options);
      assert.equal(one.digest, whole.digest);
    }
  }
});

test("files that are larger than memory are read once into the cache, and are the same samples with the same digest", async () => {
  for (const [kind, write_, sourceOf] of forms) {
    const content = write_([...rows, rows[5]!]);
    await write(`large.${kind}`, content);
    const source = sourceOf(`large.${kind}`);
    const inMemory = await openDataset(source, folder, { group: "patient" });
    const before = (await cached()).length;
    const options: OpenOptions = { group: "patient", memoryBytes: 1000 };
    const onDisk = await openDataset(source, folder, options);
    assert.equal((await cached()).length, before + 1, kind);
    // The same bytes under another name are found there too, and their places are those of that name.
    await write(`moved.${kind}`, content);
    const again = await openDataset(sourceOf(`moved.${kind}`), folder, options);
    assert.equal((await cached()).length, before + 1, kind);
    for (const data of [onDisk, again]) {
      assert.deepEqual(contentOf(data), contentOf(inMemory), kind);
      assert.deepEqual([texts(data), data.digest], [texts(inMemory), inMemory.digest]);
    }
    assert.deepEqual(onDisk.columns, inMemory.columns);
    assert.match(again.columns.features[0]!.missing!.first, new RegExp(`moved\\.${kind}, line`));
    // The same digest, and rows without a weight.
    const others = await openDataset(source, folder, { ...options, isOther: true });
    const { weight: _, ...unweighted } = inMemory.read([7, 3]);
    assert.deepEqual(others.read([7, 3]), unweighted);
    // With the dictionaries of training data, nothing becomes final afterwards; and other data have no weights.
    const dictionaries = { city: ["Bonn", "Rome"], text: ["word1"], y: ["maybe", "no", "yes"] };
    const known = await openDataset(source, folder, { dictionaries, isOther: true });
    const knownOnDisk = await openDataset(source, folder, { dictionaries, isOther: true, memoryBytes: 1000 });
    assert.deepEqual(contentOf(knownOnDisk), contentOf(known));
    assert.equal(known.read([0]).weight, undefined);
    const wrong = kind === "csv" ? `${header}1,Rome,a,1,p,yes\n1,Rome,a,1,p\n` : '{"age":1}\n';
    await write(`wrong.${kind}`, content + wrong.replace(header, ""));
    for (const memoryBytes of [1000, 2 ** 31]) {
      await refused(sourceOf(`wrong.${kind}`), /^wrong\.\w+, line \d+ has (5 cells; expected 6|no "y")/, {
        memoryBytes,
      });
    }
    assert.equal((await cached()).length, before + 3, kind); // and those without weights
  }
});

async function refused(source: DataSource, message: RegExp, options: OpenOptions = {}): Promise<void> {
  await assert.rejects(openDataset(source, folder, options), (error: Error & { code?: string }) => {
    assert.equal(error.code, "invalid-data");
    assert.match(error.message.replaceAll(`${folder}/`, ""), message);
    return true;
  });
}

test("files of one set that do not agree are refused with file, line and what the first one has", async () => {
  await write("agree-a.csv", "a,b,y\n1,2,3\n");
  const cases: [text: string, message: RegExp][] = [
    ["a,b\n1,2\n", /^agree-b\.csv, line 1 has 2 columns; expected 3, as in agree-a\.csv\.$/],
    ["b,a,y\n1,2,3\n", /^agree-b\.csv, line 1 has "b" as column 1; expected "a", as in agree-a\.csv\.$/],
    ["a,b,y\n1,2,3\n\n1,x,3\n", /^agree-b\.csv, line 3 is blank/],
    ["a,b,y\n1,x,3\n", /^agree-b\.csv, line 2, column "b" is "x"; expected a finite number/],
    ["", /^The data file agree-b\.csv is empty; expected a header row/],
  ];
  for (const [text, message] of cases) {
    await write("agree-b.csv", text);
    await refused(csv("agree-*.csv", { label: "y" }), message);
  }
  await write("agree-b.csv", "a,b,y\n");
  const [one] = [await openDataset(csv("agree-*.csv", { label: "y" }), folder)];
  assert.equal(one.length, 1);
  await write("agree-a.csv", "a,b,y\n");
  await refused(
    csv("agree-*.csv", { label: "y" }),
    /^agree-a\.csv and 1 more data file have a header row each, but no rows of data/,
  );
  await write("like-a.jsonl", "");
  await write("like-b.jsonl", '{"a":[1,2],"y":0}\n');
  await write("like-c.jsonl", '{"a":[1,2],"y":0}\n{"a":[1,2,3],"y":0}\n');
  const lines = jsonLines({ path: "like-*.jsonl", features: ["a"], label: "y" });
  await refused(lines, /^like-c\.jsonl, line 2, "a" has 3 values; expected a list of 2, as in .*like-b\.jsonl, line 1/);
  await refused(csv("none-*.csv", { label: "y" }), /^No file matches none-\*\.csv/);
});

test("a file that is changed while it is read is refused: its digest would be another file's", async () => {
  let readings = 0;
  const file = {
    name: "f.csv",
    path: null,
    read: <T>(use: (source: ByteSource) => AsyncIterable<T>) =>
      use(bytesInMemory("f.csv", Buffer.from(`a,y\n1,${++readings > 2 ? 3 : 2}\n`))),
  };
  const opened = openTextTable(csvFormat(csv("f.csv", { label: "y" }), {}), [file], 1000);
  await assert.rejects(opened, { code: "invalid-data", message: "f.csv was changed while it was read." });
});

test("validation by groups, and by other files, is of all files; the header of the first one names the features", async () => {
  for (const [kind, write_, sourceOf] of forms) {
    await write(`some-1.${kind}`, write_(rows.slice(0, 150)));
    await write(`some-2.${kind}`, write_(rows.slice(150)));
    const validation = { by: "files", files: [`some-*.${kind}`] } as const;
    const both = await openJobData({ data: sourceOf(`some-*.${kind}`), validation }, { directory: folder });
    assert.deepEqual([both.own, both.length, both.files.length], [300, 600, 4]);
    const names = await featureNames(sourceOf(`some-*.${kind}`), 4, folder);
    assert.deepEqual(names, ["age", "city", "text"]);
  }
});

test("records are the same, whatever pieces a file is read in", async (context) => {
  const fuzz = Fuzz.begin(context);
  const parts = ["a", ",", '"', '"b,c"', '"d\ne"', "\n", "\r\n", "\n\n", " ", "é", "\uFEFF", "1"];
  const recordsOf = async (text: string, separator: Separator | null, pieceBytes: number) => {
    const found: [line: number, text: string][] = [];
    const source = bytesInMemory("f", Buffer.from(text));
    for await (const { bytes, records } of recordPieces(source, separator, pieceBytes)) {
      for (const record of records) found.push([record.line, textOf(bytes, record)]);
    }
    return found;
  };
  let joined = 0;
  for (let n = 0; n < 2000; n++) {
    const text = Array.from({ length: fuzz.below(30) }, () => fuzz.pick(parts)).join("");
    for (const separator of [",", null] as const) {
      const whole = await recordsOf(text, separator, 1000);
      joined += whole.filter(([, record]) => record.includes("\n")).length;
      // A byte-order mark comes in one piece.
      for (const pieceBytes of [3, 4, 3 + fuzz.below(20)]) {
        assert.deepEqual(await recordsOf(text, separator, pieceBytes), whole, JSON.stringify(text));
      }
    }
  }
  assert(joined > 100);
});
