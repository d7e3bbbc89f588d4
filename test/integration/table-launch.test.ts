import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
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
