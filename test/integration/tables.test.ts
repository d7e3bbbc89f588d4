import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { openJobData } from "../../src/adapters/data/open-job-data.ts";
import { readRows } from "../../src/adapters/data/rows.ts";
import { findProgram } from "../../src/adapters/system/programs.ts";
import { LockstepError } from "../../src/core/errors.ts";
import type { JobDefinition } from "../../src/core/job.ts";
import { validateJob } from "../../src/core/job-validation.ts";
import { columns, csv, impute, jsonLines, map, minMax, oneHot, standardize, vocabulary } from "../../src/index.ts";
import type { DescribedDataset, OpenOptions } from "../../src/ports/dataset.ts";
import { PreparedData } from "../../src/runtime/prepared-data.ts";
import { decodeCsv, decodeJsonLines } from "../fixtures/byte-source.ts";
import { runPython } from "../fixtures/numpy.ts";

let folder = "";
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "lockstep-tables-"));
});
after(() => rm(folder, { recursive: true, force: true }));

const none = Number.NaN;
const table = 'age,city,text,y\n31,Rome,"Good, very good",yes\nNA,"Paris",,no\n7,Bonn,no\nworse: never,yes\n'.replace(
  "no\nworse: never",
  '"no\nworse: never"',
);
const options = {
  label: "y",
  columns: { city: "category", text: { kind: "words", length: 3 }, y: "category" },
  missing: ["NA"],
} as const;

const fromCsv = (text: string, given: Partial<Parameters<typeof csv>[1]> = options, known?: OpenOptions) =>
  decodeCsv("f.csv", Buffer.from(text), csv("f.csv", { label: "y", ...given }), known);

function allOf(data: DescribedDataset): { features: number[]; label: number[] } {
  const { features, label } = data.read(Array.from({ length: data.length }, (_, i) => i));
  return { features: [...features], label: [...label] };
}

const refused =
  (code: string, message: RegExp, hint = /./) =>
  (error: unknown) => {
    assert(error instanceof LockstepError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    assert.match(error.hint ?? "", hint);
    return true;
  };

test("categories are codes in the order of their texts, words codes of the column's words, and NaN is what is missing", async () => {
  const data = await fromCsv(table);
  assert.deepEqual(data.features.shape, [5]);
  // Words: good, never, no, very, worse.
  assert.deepEqual(allOf(data), {
    features: [...[31, 2, 0, 3, 0], ...[none, 1, none, none, none], ...[7, 0, 2, 4, 1]],
    label: [1, 0, 1],
  });
  const [age, city, text] = data.columns.features;
  assert.deepEqual(age, { name: "age", type: "number", shape: [], missing: { count: 1, first: "f.csv, line 3" } });
  assert.deepEqual(city, { name: "city", type: "category", shape: [], texts: ["Bonn", "Paris", "Rome"] });
  assert.deepEqual(text!.texts, ["good", "never", "no", "very", "worse"]);
  assert.deepEqual(data.columns.label.texts, ["no", "yes"]);
});

test("the same table as JSON lines gives the same rows, with null and fields that are not there as missing", async () => {
  const lines = [
    { age: 31, city: "Rome", text: "Good, very good", y: "yes" },
    { age: null, city: "Paris", text: "", y: "no" },
    { age: 7, city: "Bonn", text: "no\nworse: never", y: "yes" },
  ];
  const source = jsonLines({ path: "f", features: ["age", "city", "text"], ...options });
  const read = (objects: readonly object[]) =>
    decodeJsonLines("f", Buffer.from(objects.map((line) => JSON.stringify(line)).join("\n")), source);
  assert.deepEqual(allOf(await read(lines)), allOf(await fromCsv(table)));
  const { age: _, ...without } = lines[1]!;
  assert.deepEqual(allOf(await read([lines[0]!, without, lines[2]!])), allOf(await fromCsv(table)));
  assert.deepEqual(allOf(await read([{ ...lines[0], age: "NA" }])).features[0], none);
  await assert.rejects(
    () => read([{ ...lines[0], city: [1] }]),
    refused("invalid-data", /"city" is \[1\]; expected a text/),
  );
  await assert.rejects(() => read([{ ...lines[0], y: null }]), refused("invalid-data", /"y" is null; expected a text/));
});

test("what `missing` names has no words and no characters either, in CSV and in JSON lines", async () => {
  for (const kind of ["words", "characters"] as const) {
    const table = { label: "y", columns: { a: { kind, length: 2 } }, missing: ["NA"] } as const;
    const [text] = allOf(await fromCsv("a,y\nb,0\n", table)).features;
    const lines = Buffer.from('{"a":"b","y":0}\n{"a":"NA","y":1}\n{"a":null,"y":1}');
    for (const data of [
      await fromCsv("a,y\nb,0\nNA,1\nNA,1\n", table),
      await decodeJsonLines("f", lines, jsonLines({ path: "f", features: ["a"], ...table })),
    ]) {
      assert.deepEqual(allOf(data).features, [text, none, none, none, none, none]);
      if (kind === "words") assert.deepEqual(data.columns.features[0]!.texts, ["b"]);
    }
  }
});

test("characters are code units, cut and filled up; ignored columns are no features; a single text keeps its shape", async () => {
  const text = { kind: "characters", length: 2 } as const;
  const data = await fromCsv("id,a,y\nx,→éz,1\ny,b,2\n", { columns: { a: text }, ignore: ["id"] });
  assert.deepEqual(data.features.shape, [2]);
  assert.deepEqual(allOf(data).features, [0x2192, 0xe9, 98, none]);
  assert.deepEqual(
    data.columns.features.map(({ name, type }) => [name, type]),
    [["a", "characters"]],
  );
});

test("other data is read with the dictionary of the training data: −1 for what that has not, and no other label", async () => {
  const dictionaries = { city: ["Bonn", "Paris", "Rome"], text: ["good", "no"], y: ["no", "yes"] };
  const other = await fromCsv("age,city,text,y\n1,Oslo,no good luck,yes\n2,Rome,,no\n", options, { dictionaries });
  assert.deepEqual(allOf(other), { features: [1, -1, 1, 0, -1, 2, 2, none, none, none], label: [1, 0] });
  await assert.rejects(
    () => fromCsv("age,city,text,y\n1,Rome,,maybe\n", options, { dictionaries }),
    refused(
      "invalid-data",
      /^f\.csv, line 2, the label "y" is "maybe", which the training data has nowhere/,
      /"no", "yes"/,
    ),
  );
});

test("what a table says of its columns is part of its digest; a table of numbers has the digest that it always had", async () => {
  const plain = "a,y\n1,2\n";
  const bytes = Buffer.from(`{"kind":"csv","label":"y"}\n${plain}`);
  assert.equal((await fromCsv(plain, {})).digest, sha256(bytes));
  const tables = [
    {},
    { missing: ["NA"] },
    { columns: { a: "category" } as const },
    { columns: { a: { kind: "words", length: 2 } } as const },
    { columns: { a: { kind: "words", length: 3 } } as const },
  ].map((given) => fromCsv(plain, given));
  const digests = (await Promise.all(tables)).map(({ digest }) => digest);
  assert.equal(new Set(digests).size, digests.length);
});

test("what does not fit a table is refused with file, line and column, and what to write", async () => {
  const cases: [text: string, given: Partial<Parameters<typeof csv>[1]>, message: RegExp, hint: RegExp][] = [
    [
      "a,y\nx,1\n",
      {},
      /f\.csv, line 2, column "a" is "x"; expected a finite number/,
      /columns: \{ "a": "category" \}.*missing: \["x"\]/,
    ],
    [
      "a,y\n1,x\n",
      {},
      /line 2, column "y" is "x"/,
      /^If the column holds texts, say so: columns: \{ "y": "category" \}\.$/,
    ],
    ["a,y\nNA,NA\n", { missing: ["NA"] }, /line 2, column "y" is "NA"/, /./],
    ["a,y\n1,2\n", { columns: { b: "category" } }, /has no column "b", of which columns says/, /./],
    ["a,y\n1,2\n", { ignore: ["A"] }, /has no column "A", which ignore names/, /Did you mean "a"\?/],
    ["a,y\n1,2\n", { ignore: ["a"] }, /no other column than the label "y" and those that are no features/, /./],
    ["a,a,y\n1,2,3\n", { columns: { a: "category" } }, /more than one column "a", of which columns says/, /own name/],
    [
      "a,y\n1,\n",
      { columns: { y: "category" } },
      /line 2, the label "y" is empty; expected a category/,
      /without a label/,
    ],
    ['a,y\n1,"x\ny\n', { columns: { y: "category" } }, /line 2 has a quote that does not enclose/, /double/],
    ['a,y\n1,"x\ny"\nz\n', { columns: { y: "category" } }, /line 4 has 1 cell; expected 2/, /.*/],
  ];
  for (const [text, given, message, hint] of cases) {
    const says = (error: unknown) =>
      refused("invalid-data", message, error instanceof LockstepError && error.hint ? hint : /^$/)(error);
    await assert.rejects(() => fromCsv(text, given), says, text);
  }
  const many = Array.from({ length: 65_537 }, (_, i) => `k${i},1`).join("\n");
  await assert.rejects(
    () => fromCsv(`a,y\n${many}`, { columns: { a: "category" } }),
    refused(
      "invalid-data",
      /line 65538, column "a" has more than 65536 distinct texts; a category has 65536 at most/,
      /ignore/,
    ),
  );
});

/** A job of these rows, opened as every worker opens it. */
async function prepared(
  text: string,
  given: Partial<JobDefinition>,
): Promise<{ data: PreparedData; dataset: DescribedDataset }> {
  await writeFile(path.join(folder, "t.csv"), text);
  const job = validateJob({
    name: "t",
    data: csv("t.csv", options),
    model: () => assert.fail(),
    compile: { optimizer: { kind: "sgd", learningRate: 1 }, loss: "meanSquaredError" },
    batchSize: 1,
    epochs: 1,
    ...given,
  });
  const dataset = await openJobData(job, { directory: folder });
  return { data: new PreparedData(dataset, job), dataset };
}

const features = columns({ age: [impute("median"), minMax()], city: [vocabulary(), oneHot()], text: vocabulary() });

test("a table becomes numbers column by column, fitted on the training split alone, and remembers its dictionaries", async () => {
  const text = `${table}1000,Oslo,never seen,no\n`;
  const { data } = await prepared(text, { preprocess: { features }, validation: { rows: [3, 4] } });
  assert.deepEqual(data.shapes, { features: [8], label: [] });
  const { features: rows, label } = data.training(Uint32Array.of(0, 1, 2));
  // The median of 31 and 7 is 19; Oslo and "seen" are in no training sample, but in the dictionary.
  assert.deepEqual(
    [...rows].map((value) => Math.fround(value)),
    [...[1, 0, 0, 0, 1, 1, 4, 1], ...[0.5, 0, 0, 1, 0, 0, 0, 0], ...[0, 0, 1, 0, 0, 3, 5, 2]],
  );
  assert.deepEqual([...label], [1, 0, 1]);
  const held = data.validation({ begin: 0, end: 1 });
  assert.deepEqual([...held.features].slice(1), [1, 0, 0, 0, 2, 0, 0]);
  assert.deepEqual(data.preprocessing.columns?.features[1]?.texts, ["Bonn", "Oslo", "Paris", "Rome"]);
});

test("a column of texts that nothing makes numbers of, and a missing value that nothing fills in, are refused", async () => {
  const at = path.join(folder, "t.csv");
  await assert.rejects(
    prepared(table, { preprocess: { features: standardize() } }),
    refused(
      "invalid-job",
      /The column "city" is a category, and nothing in preprocess\.features makes numbers of it/,
      /"city": \[vocabulary/,
    ),
  );
  await assert.rejects(
    prepared(table, { preprocess: { features: columns({ city: vocabulary(), text: vocabulary(), rest: minMax() }) } }),
    refused("invalid-data", new RegExp(`^${at}, line 3, column "age" is missing, as 1 of its values are`), /impute/),
  );
  const bare = columns({ age: impute(0), city: vocabulary(), text: map((values) => values) });
  await assert.rejects(
    prepared(table, { preprocess: { features: bare } }),
    refused("invalid-job", /The texts of "text" have unequal lengths/, /vocabulary\(\)/),
  );
});

test("where something imputes, an empty cell is missing without a word", async () => {
  const { data } = await prepared("a,b,y\n1,2,3\n,4,5\n", {
    data: csv("t.csv", { label: "y" }),
    preprocess: { features: impute(9) },
  });
  assert.deepEqual([...data.training(Uint32Array.of(0, 1)).features], [1, 2, 9, 4]);
});

test("validation from other files, and by groups of a column that is no feature", async () => {
  await writeFile(path.join(folder, "val-1.csv"), "age,city,text,y\n3,Oslo,,no\n");
  await writeFile(path.join(folder, "val-2.csv"), "age,city,text,y\nNA,Rome,good,yes\n5,Bonn,good,no\n");
  const { data, dataset } = await prepared(table, { preprocess: { features }, validation: { files: "val-*.csv" } });
  assert.deepEqual([data.trainingSamples, data.validationSamples, dataset.files.length], [3, 3, 3]);
  const { features: rows, label } = data.validation({ begin: 0, end: 3 });
  assert.deepEqual([...label], [0, 1, 0]);
  assert.deepEqual(
    [...rows].filter((_, i) => i % 8 === 1),
    [1, 0, 0],
  ); // Oslo is unknown
  const mixed = dataset.read([5, 0, 4, 1]);
  assert.deepEqual([...mixed.label], [0, 1, 1, 0]);
  const others = await prepared(table, { preprocess: { features }, validation: { data: csv("val-2.csv", options) } });
  assert.notEqual(others.dataset.digest, dataset.digest);
  await writeFile(path.join(folder, "val-3.csv"), "age,text,city,y\n3,,Oslo,no\n");
  await assert.rejects(
    prepared(table, { validation: { files: "val-3.csv" } }),
    refused("invalid-data", /val-3\.csv has other columns a sample, the training data others/),
  );
  const patients = "patient,a,y\n".concat(Array.from({ length: 20 }, (_, i) => `p${i % 5},${i},${i % 2}\n`).join(""));
  const grouped = await prepared(patients, {
    data: csv("t.csv", { label: "y", ignore: ["patient"] }),
    validation: { fraction: 0.4, column: "patient" },
  });
  assert.deepEqual([grouped.data.trainingSamples, grouped.data.validationSamples], [12, 8]);
  const held = grouped.data.validation({ begin: 0, end: 8 }).features;
  assert.equal(new Set([...held].map((value) => value % 5)).size, 2);
});

test("labels outside the classes are refused before training, and a class that one part of the split lacks is named", async () => {
  const rows = "age,city,text,y\n1,Bonn,,cat\n2,Bonn,,dog\n3,Bonn,,emu\n";
  const held = (from: number, to: number) =>
    prepared(rows, { preprocess: { features }, validation: { rows: [from, to] } });
  const { data } = await held(2, 3);
  await data.checkClasses([{ classes: 3 }]);
  await assert.rejects(
    data.checkClasses([{ classes: 2 }]),
    refused(
      "invalid-data",
      /^A label is 2 after pre-processing, and the model has the classes 0 to 1: .*\.csv, line 4\.$/,
      /3 units or more/,
    ),
  );
  assert.match(
    data.lackingClasses()!,
    /^No validation sample is of 2 classes \("cat" and "dog"\), .*validation\.stratify/,
  );
  const all = `${rows}4,Bonn,,cat\n5,Bonn,,dog\n`;
  const other = await prepared(all, { preprocess: { features }, validation: { rows: [2, 5] } });
  assert.match(other.data.lackingClasses()!, /^No training sample is of the class "emu", which the model cannot learn/);
  const even = await prepared(all.replace("3,Bonn,,emu\n", ""), {
    preprocess: { features },
    validation: { rows: [2, 4] },
  });
  assert.equal(even.data.lackingClasses(), null);
});

test("rows to predict are read with the same dictionary, by name, in CSV and JSON lines, records over several lines too", async () => {
  const dictionaries = { city: ["Bonn", "Rome"], text: ["good", "no"] };
  const expected = {
    ...{ source: csv("f", options), width: 5, names: ["age", "city", "text"], known: { dictionaries } },
  };
  const files = {
    "new.csv": 'city,extra,text,age\r\nRome,1,"no\r\ngood",5\r\nOslo,2,,NA\r\n',
    "new.jsonl": '{"city":"Rome","text":"no good","age":5}\n[null,"Oslo",""]\n',
  };
  for (const [name, text] of Object.entries(files)) {
    await writeFile(path.join(folder, name), text);
    const unused: string[] = [];
    const rows = readRows(path.join(folder, name), expected, 8, (columns) => unused.push(...columns));
    const { value } = await rows.next();
    assert.deepEqual([...value!.values], [5, 1, 1, 0, none, none, -1, none, none, none], name);
    assert.deepEqual(unused, name === "new.csv" ? ["extra"] : []);
  }
});

test("a row of JSON has one meaning, as a list or as a record, of a job that reads CSV or JSON lines", async () => {
  const dictionaries = { city: ["7", "Rome", "true"] };
  const table = { label: "y", columns: { city: "category" }, missing: ["NA"] } as const;
  const names = ["age", "city"];
  const sources = [csv("f", table), jsonLines({ path: "f", features: names, ...table })];
  const cells: [age: unknown, city: unknown, values: number[]][] = [
    [true, "Rome", [1, 1]],
    ["NA", 7, [none, 0]],
    [null, true, [none, 2]],
    [5, "NA", [5, none]],
    [5, "Oslo", [5, -1]],
  ];
  await writeFile(
    path.join(folder, "one.jsonl"),
    cells
      .flatMap(([age, city]) => [[age, city], { city, age }])
      .map((row) => JSON.stringify(row))
      .join("\n"),
  );
  for (const source of sources) {
    const expected = { source, width: 2, names, known: { dictionaries } };
    const { value } = await readRows(path.join(folder, "one.jsonl"), expected, 16, () => assert.fail()).next();
    assert.deepEqual(
      [...value!.values],
      cells.flatMap(([, , values]) => [...values, ...values]),
      source.kind,
    );
  }
});

test("a text of which no dictionary is known is −1 in rows to predict, whatever form they have", async () => {
  const source = jsonLines({ path: "f", features: ["city"], label: "y", columns: { city: "category" } });
  await writeFile(path.join(folder, "unknown.jsonl"), '{"city":"Rome"}\n["Bonn"]\n{"city":"Oslo"}\n');
  const expected = { source, width: 1, names: ["city"], known: { dictionaries: {} } };
  const { value } = await readRows(path.join(folder, "unknown.jsonl"), expected, 8, () => assert.fail()).next();
  assert.deepEqual([...value!.values], [-1, -1, -1]);
});

test("CSV is read as Python's csv module reads it: quotes, separators, line breaks and all characters", async (context) => {
  const python = findProgram("python3");
  if (python === null) return context.skip("there is no python3 on PATH");
  const program = `
import csv, json, random, sys
random.seed(7)
parts = ["a", "B", " ", ",", ";", "\\t", '"', '""', "\\n", "\\r\\n", "é", "→", "😀", "'", "#", "0", "NA"]
rows = []
for _ in range(400):
    rows.append(["".join(random.choice(parts) for _ in range(random.randint(1, 6))) + "x" for _ in range(3)])
for name, options in [("a", {}), ("b", {"delimiter": ";"}), ("c", {"delimiter": "\\t", "quoting": csv.QUOTE_ALL})]:
    path = sys.argv[1] + "/" + name + ".csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, **options)
        writer.writerow(["one", "two", "y"])
        writer.writerows(rows)
    with open(path, newline="", encoding="utf-8") as file:
        read = list(csv.reader(file, delimiter=options.get("delimiter", ",")))
    with open(path + ".json", "w") as file:
        json.dump(read[1:], file)
`;
  await runPython(python, program, folder);
  for (const [name, separator] of [
    ["a.csv", ","],
    ["b.csv", ";"],
    ["c.csv", "\t"],
  ] as const) {
    const bytes = await readFile(path.join(folder, name));
    const source = csv(name, { label: "y", separator, columns: { one: "category", two: "category", y: "category" } });
    const data = await decodeCsv(name, bytes, source);
    const [one, two] = data.columns.features.map(({ texts }) => texts!);
    const { features, label } = allOf(data);
    const read = label.map((code, row) => [
      one![features[row * 2]!],
      two![features[row * 2 + 1]!],
      data.columns.label.texts![code],
    ]);
    assert.deepEqual(read, JSON.parse(await readFile(path.join(folder, `${name}.json`), "utf8")), name);
  }
});

function sha256(bytes: Buffer): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
