import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { cp } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openJobData } from "../../src/adapters/data/open-job-data.ts";
import { loadJob } from "../../src/adapters/job-file/load-job.ts";
import { type Line, useUser } from "../fixtures/cli.ts";
import { train } from "../fixtures/trainers.ts";

const user = useUser();
const limit = { timeout: 480_000 };

const job = `import { columns, csv, defineJob, impute, map, minMax, oneHot, standardize, vocabulary } from "lockstep";
export default defineJob({
  name: "irises",
  seed: 5,
  data: csv("flowers.csv", {
    label: "species",
    columns: { species: "category", colour: "category", note: { kind: "words", length: 4 } },
    missing: ["NA"],
    ignore: ["id"],
    weight: "days",
  }),
  preprocess: {
    features: columns({
      length: [impute("median"), standardize()],
      width: [map((values) => values.map((value) => Math.log1p(value))), minMax()],
      colour: [vocabulary(), oneHot()],
      note: [vocabulary({ maximum: 3 }), oneHot(4)],
    }),
    label: oneHot(),
  },
  validation: { fraction: 0.25, stratify: true },
  model: (tf, { features, label }) => tf.sequential({ layers: [
    tf.layers.dense({ units: 8, activation: "relu", inputShape: [...features] }),
    tf.layers.dense({ units: label[0], activation: "softmax" }),
  ] }),
  compile: { optimizer: { kind: "adam", learningRate: 0.05 }, loss: "categoricalCrossentropy", metrics: ["accuracy"] },
  batchSize: 16,
  epochs: 3,
  report: ({ decodeLabel }) => \`the classes are \${[0, 1, 2].map((i) => decodeLabel<string>(i)).join(", ")}\`,
});
`;

const species = ["daisy", "rose", 'sun,"flower"'];
const header = "id,length,width,colour,note,species,days";
/** Rows from which the species can be learned, by length and colour; every seventh has no length. */
const rowsOf = (count: number, from = 0, colours = ["white", "red", "yellow"]) =>
  Array.from({ length: count }, (_, i) => {
    const kind = (from + i * 5) % 3;
    const length = i % 7 === 3 ? "NA" : String(kind * 2 + (i % 5) / 10);
    const note = ['"small,\nand white"', "thorns; red", "tall"][kind];
    return [i, length, i % 11, colours[kind], note, `"${species[kind]!.replaceAll('"', '""')}"`, 1 + (i % 3) / 2].join(
      ",",
    );
  });
const table = (rows: readonly string[]) => `${[header, ...rows].join("\n")}\n`;

test(
  "a table of categories, texts and missing values trains to the same bits on one worker and on two",
  limit,
  async () => {
    const { job: opened } = await loadJob(await user().write("flowers.ts", job));
    await user().write("flowers.csv", table(rowsOf(96)));
    const data = await openJobData(opened, { directory: user().folder });
    const [one, two] = [
      await train(opened, data, { shards: 2, workers: 1, epochs: 2 }),
      await train(opened, data, { shards: 2, workers: 2, epochs: 2 }),
    ];
    assert.equal(two.digest, one.digest);
    assert.ok(one.snapshot.values.every(Number.isFinite));
  },
);

test(
  "what was trained on a table evaluates, predicts and is exported with the table's dictionaries, whatever other files hold",
  limit,
  async () => {
    const file = await user().write("flowers.ts", job);
    await user().write("flowers.csv", table(rowsOf(96)));
    const launched = await user().run("launch", file, "--workers", "2", "--json");
    assert.equal(launched.code, 0, launched.stderr);
    // Another file, in whose dictionaries every code would be another one: what it has of the classes comes first.
    const others = rowsOf(30, 1).filter((row) => !row.includes("daisy"));
    const other = await user().write("other.csv", table(others));
    const evaluated = await user().run("evaluate", file, "--data", other);
    assert.equal(evaluated.code, 0, evaluated.stderr);
    const { test, report } = JSON.parse(evaluated.stdout) as {
      test: Record<string, { accuracy: number }>;
      report: string;
    };
    assert.equal(report, `the classes are ${species.join(", ")}`);
    assert.ok(Object.values(test)[0]!.accuracy >= 0.9, evaluated.stdout);
    // Without the label, columns in another order, a colour and words that nobody knows, and a missing length.
    const rows = ["colour,note,width,length", 'white,"small,\nand white",3,0.2', "blue,unheard of,1,4.1", "red,,0,NA"];
    const fresh = await user().write("new.csv", `${rows.join("\n")}\n`);
    const predicted = await user().run("predict", file, "--data", fresh);
    assert.equal(predicted.code, 0, predicted.stderr);
    const lines = predicted.stdout.trimEnd().split("\n");
    assert.equal(lines[0], 'predicted,daisy,rose,"sun,""flower"""');
    const [white, blue, red] = lines.slice(1).map((line) => /^"((?:[^"]|"")*)"|^[^,]*/.exec(line)!);
    assert.deepEqual([white![0], red![0]], ["daisy", "rose"]);
    assert.ok(species.includes((blue![1] ?? blue![0]).replaceAll('""', '"')), blue![0]);
    const exported = user().at("model");
    const { code, stdout, stderr } = await user().run(
      "checkpoints",
      "export",
      file,
      "best",
      "--to",
      "tfjs",
      "--output",
      exported,
    );
    assert.equal(code, 0, stderr);
    assert.match(stdout, /Not in it: the function of a map\(\), of which the metadata has the text/);
    const model = JSON.parse(readFileSync(user().at("model", "model.json"), "utf8")) as Line;
    const metadata = model.userDefinedMetadata as { lockstep: { preprocessing: { columns: { label: object } } } };
    assert.deepEqual(metadata.lockstep.preprocessing.columns.label, {
      name: "species",
      type: "category",
      shape: [],
      texts: species,
    });

    const ledger = await user().run("ledger", file, "--epoch", "2", "--shards", "2");
    assert.equal(ledger.code, 0, ledger.stderr);
    const used = ledger.stdout
      .trimEnd()
      .split("\n")
      .flatMap((line) => (JSON.parse(line) as { samples: number[] | number }).samples)
      .slice(1);
    assert.equal(new Set(used).size, 72);
    assert.equal(used.length, 72);
  },
);

const binaryJob = `import { columns, defineJob, impute, oneHot, parquet, vocabulary } from "lockstep";
export default defineJob({
  name: "flowers",
  seed: 5,
  data: parquet("dictionary.parquet", {
    features: ["x", "hole", "city", "notes", "code", "size"],
    label: "kind",
    columns: {
      city: "category",
      notes: { kind: "words", length: 2 },
      code: { kind: "characters", length: 2 },
      size: "category",
      kind: "category",
    },
    missing: ["NA"],
  }),
  preprocess: {
    features: columns({
      hole: impute("median"),
      city: [vocabulary(), oneHot()],
      notes: vocabulary(),
      code: vocabulary(),
      size: vocabulary(),
    }),
    label: oneHot(),
  },
  validation: { fraction: 0.25, stratify: true },
  model: (tf, { features, label }) => tf.sequential({ layers: [
    tf.layers.dense({ units: label[0], activation: "softmax", inputShape: [...features] }),
  ] }),
  compile: { optimizer: { kind: "adam", learningRate: 0.01 }, loss: "categoricalCrossentropy", metrics: ["accuracy"] },
  batchSize: 8,
  epochs: 2,
});
`;
const formats = fileURLToPath(new URL("../fixtures/formats/texts", import.meta.url));

test(
  "a job that reads Parquet with texts shows, trains on, evaluates on and predicts such files, as it does their rows in CSV",
  limit,
  async () => {
    await cp(formats, user().folder, { recursive: true });
    const file = await user().write("kinds.ts", binaryJob);
    const shown = await user().run("data", file);
    assert.equal(shown.code, 0, shown.stderr);
    for (const line of [
      /^format +parquet$/m,
      /^ +hole +float64 +.* 7$/m,
      /^ +city +category +– +– +– +– +4$/m,
      /^ +notes +words +2 +– +– +– +0$/m,
      /^ +size +category/m,
      /^label +kind +category/m,
      /^city: 7 different texts: Rome 6, Åland 6, "" 5, /m,
      /^notes: 8 different words: /m,
      /^sample 0: tulip ← -60, 0, Rome, good, very, a→, -6$/m,
      /^sample 2: rose ← -46, –, Zürich, c→, 4$/m,
    ]) {
      assert.match(shown.stdout, line);
    }
    const launched = await user().run("launch", file, "--workers", "2", "--json");
    assert.equal(launched.code, 0, launched.stderr);
    const evaluated = await user().run("evaluate", file, "--data", user().at("other.pq"));
    assert.equal(evaluated.code, 0, evaluated.stderr);
    const wrong = await user().run("evaluate", file, "--data", user().at("other.csv"));
    assert.match(wrong.stderr, /other\.csv is no Parquet file/);
    const predictions = [];
    // A label, and the order of the columns, make no difference.
    for (const name of ["rows.pq", "other.pq", "other.csv"]) {
      const predicted = await user().run("predict", file, "--data", user().at(name));
      assert.equal(predicted.code, 0, predicted.stderr);
      predictions.push(predicted.stdout);
    }
    const [rows, other, asCsv] = predictions;
    assert.match(rows!, /^predicted,daisy,rose,tulip\n/);
    assert.equal(rows!.trimEnd().split("\n").length, 1 + 18);
    assert.equal(other, rows);
    assert.equal(asCsv, rows);
    const lacking = await user().run("predict", file, "--data", user().at("large.arrows"));
    assert.match(lacking.stderr, /large\.arrows is no Parquet file/);
  },
);
