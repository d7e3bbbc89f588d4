import assert from "node:assert/strict";
import { createWriteStream, existsSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { finished } from "node:stream/promises";
import { test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
import { classData, rowsOfData, useTrained } from "../fixtures/trained.ts";

const trained = useTrained();
const limit = { timeout: 240_000 };

async function predicted(...words: string[]): Promise<string> {
  const { user, job } = await trained();
  const { code, stdout, stderr } = await user.run("predict", job, ...words);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** Cells of a CSV text without its heading, as numbers; "other" is 0. */
const rowsIn = (csv: string): number[][] =>
  csv
    .trimEnd()
    .split("\n")
    .slice(1)
    .map((line) =>
      line
        .replace(/^other/, "0")
        .split(",")
        .map(Number),
    );

test("predict writes classes in the label's values, right as often as evaluate says", limit, async () => {
  const { user, job, ids } = await trained();
  const csv = await predicted("--checkpoint", "latest", "--data", user.at("small.csv"));
  assert.match(csv, /^predicted,other,10,20,30\n/);
  const rows = rowsIn(csv);
  assert.equal(rows.length, rowsOfData);
  const labels = rowsIn(classData()).map((row) => row.at(-1)!);
  for (const [predicted, other, ...scores] of rows) {
    assert.ok(Math.abs(other! + scores.reduce((sum, score) => sum + score, 0) - 1) < 1e-5);
    const all = [other!, ...scores];
    assert.equal(predicted, all.indexOf(Math.max(...all)) * 10);
  }
  const right = rows.filter(([predicted], i) => predicted === labels[i]).length / labels.length;
  const words = ["--checkpoint", "latest", "--data", user.at("small.csv")];
  const evaluation = await user.run("evaluate", job, ...words);
  const { test } = JSON.parse(evaluation.stdout) as { test: Record<string, Record<string, number>> };
  assert.ok(right > 0.5, `learnt something: ${right}`);
  assert.ok(Math.abs(test[ids.at(-1)!]!.accuracy! - right) < 1e-6, `${right} as ${JSON.stringify(test)}`);
});

test(
  "columns are found by name, without the label, among others, and as JSON lines; files have the same rows",
  limit,
  async () => {
    const { user } = await trained();
    const [header = "", ...lines] = classData(30).trimEnd().split("\n");
    const names = header.split(",");
    const whole = await user.write("rows.csv", `${[header, ...lines].join("\n")}\n`);
    const expected = await predicted("--data", whole);
    const reversed = [header, ...lines].map((line, i) => [
      `${i === 0 ? "id" : i}`,
      ...line.split(",").slice(0, 6).reverse(),
    ]);
    await user.write("reversed.csv", reversed.map((cells) => cells.join(",")).join("\r\n"));
    const { stdout, stderr } = await user.run("predict", (await trained()).job, "--data", user.at("reversed.csv"));
    assert.equal(stdout, expected);
    assert.match(stderr, /does not take: id\./);

    const values = lines.map((line) =>
      line
        .replace(/^other/, "0")
        .split(",")
        .map(Number),
    );
    const lists = values.map((row) => JSON.stringify(row.slice(0, 6)));
    const records = values.map((row) =>
      JSON.stringify(Object.fromEntries(row.map((value, i) => [names[i], value]).reverse())),
    );
    const results: string[] = [];
    for (const [name, texts] of [
      ["lists.jsonl", lists],
      ["records.ndjson", records],
    ] as const) {
      await user.write(name, `${texts.join("\n")}\n\n`);
      results.push(await predicted("--data", user.at(name)));
      assert.equal(await predicted("--data", user.at(name), "--output", user.at(`${name}.csv`)), "");
      assert.equal(readFileSync(user.at(`${name}.csv`), "utf8"), expected);
    }
    assert.equal(results[0], results[1]);
    const objects = results[0]!
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { predicted: number | "other"; outputs: object });
    assert.deepEqual(
      objects.map(({ predicted, outputs }) => [
        predicted === "other" ? 0 : predicted,
        ...Object.values(named(outputs)),
      ]),
      rowsIn(expected),
    );
  },
);

/** In the order of the classes; records with number-like names come in another. */
function named(outputs: object): Record<string, number> {
  const { other, ...rest } = outputs as Record<string, number>;
  return Object.fromEntries([["c0", other!], ...Object.entries(rest).map(([name, value]) => [`c${name}`, value])]);
}

test(
  "a file of any size goes through in pieces: fifty thousand rows, one of them the same as alone",
  limit,
  async () => {
    const { user } = await trained();
    const [header = "", ...lines] = classData(250).trimEnd().split("\n");
    const stream = createWriteStream(user.at("many.csv"));
    stream.write(`${header}\n`);
    for (let i = 0; i < 200; i++) stream.write(`${lines.join("\n")}\n`);
    stream.end();
    await finished(stream);
    assert.equal(await predicted("--data", user.at("many.csv"), "--output", user.at("many.out.csv")), "");
    const rows = readFileSync(user.at("many.out.csv"), "utf8").trimEnd().split("\n");
    assert.equal(rows.length, 1 + 200 * 250);
    const [, first] = (await predicted("--data", await user.write("one.csv", `${header}\n${lines[0]}`))).split("\n");
    const scores = (line: string) => line.split(",").map(Number);
    for (const [i, value] of scores(rows[1 + 250 * 123]!).entries())
      assert.ok(Math.abs(value - scores(first!)[i]!) < 1e-6);
  },
);

test("without the training data the columns are taken as they come, and that is said", limit, async () => {
  const { user, job, checkpoints, ids } = await trained();
  const rows = await user.write("some.csv", classData(10));
  const expected = await predicted("--data", rows, "--checkpoint", ids[0]!);
  renameSync(user.at("small.csv"), user.at("hidden.csv"));
  try {
    const words = ["--data", rows, "--checkpoints", checkpoints, "--checkpoint", ids[0]!];
    const { stdout, stderr } = await user.run("predict", job, ...words);
    assert.equal(stdout, expected, stderr);
    assert.match(stderr, /training data is not at hand/);
    await user.write("narrow.csv", "a,b\n1,2\n");
    const few = await user.run("predict", job, "--data", user.at("narrow.csv"), ...words.slice(2));
    assert.equal(few.code, exitCodes["invalid-data"]);
    assert.match(few.stderr, /has 2 columns beside the label "class"; the model takes 6/);
  } finally {
    renameSync(user.at("hidden.csv"), user.at("small.csv"));
  }
});

test(
  "bad rows are named by file, line and column; nothing half-written is left, and nothing is written over",
  limit,
  async () => {
    const { user, job } = await trained();
    const header = "x0,x1,x2,x3,x4,x5";
    const cases: [name: string, text: string, says: RegExp][] = [
      [
        "word.csv",
        `${header}\n1,2,3,4,5,6\n1,2,three,4,5,6\n`,
        /word\.csv, line 3, column "x2" is "three"; expected a finite/,
      ],
      ["short.csv", `${header}\n1,2,3\n`, /short\.csv, line 2 has 3 cells; expected 6/],
      ["misnamed.csv", `x0,x1,x2,x3,x4,x_5\n1,2,3,4,5,6\n`, /has no column "x5".*\n.*"x_5" meant\?/],
      ["headless.csv", "1,2,3,4,5,6\n", /no column "x0".*\n.*looks like data/],
      ["empty.csv", "", /empty\.csv is empty/],
      ["broken.jsonl", "[1,2,3,4,5,6]\n[1,2\n", /broken\.jsonl, line 2 is no JSON/],
      ["few.jsonl", "[1,2,3]\n", /few\.jsonl, line 1 has 3 values; the model takes 6/],
      ["null.jsonl", "[1,2,3,null,5,6]\n", /line 1, value 4 is null; expected a finite number/],
      ["record.jsonl", '{"x0":1}\n', /line 1 has no "x1"/],
      ["scalar.jsonl", "7\n", /line 1 is 7; expected 6 numbers, or a record/],
    ];
    const output = user.at("never.csv");
    for (const [name, text, says] of cases) {
      const file = await user.write(name, text);
      const { code, stdout, stderr } = await user.run("predict", job, "--data", file, "--output", output);
      assert.deepEqual([code, stdout], [exitCodes["invalid-data"], ""], `${name}: ${stderr}`);
      assert.match(stderr, says);
      assert.ok(stderr.trimEnd().split("\n").length <= 2, stderr);
    }
    assert.equal(existsSync(output), false);
    const kept = await user.write("kept.csv", "kept\n");
    const over = await user.run("predict", job, "--data", kept, "--output", kept);
    assert.deepEqual([over.code, over.stdout], [exitCodes.usage, ""], over.stderr);
    assert.match(over.stderr, /kept\.csv is there already; nothing is written over/);
    assert.equal(readFileSync(kept, "utf8"), "kept\n");
    assert.deepEqual(
      readdirSync(user.folder).filter((name) => name.includes("partial")),
      [],
    );
    const words = (...more: string[]) => user.run("predict", job, ...more);
    assert.match((await words("--data", user.at("absent.csv"))).stderr, /There is no data file .*absent\.csv/);
    const missing = await words();
    assert.deepEqual([missing.code, /--data is missing/.test(missing.stderr)], [exitCodes.usage, true]);
    const nowhere = await words("--data", user.at("rows.csv"), "--output", user.at("no", "such", "out.csv"));
    assert.deepEqual([nowhere.code, existsSync(user.at("no"))], [exitCodes.usage, false], nowhere.stderr);
  },
);

test("of a job that reads text, predict takes a text a line, and answers with the next character", limit, async () => {
  const { user } = await trained();
  const job = await user.write(
    "letters.ts",
    `import { defineJob, oneHot, text, vocabulary } from "lockstep";
export default defineJob({
  name: "letters",
  data: text("letters.txt", { window: 3, stride: 1 }),
  preprocess: { features: vocabulary(), label: [vocabulary(), oneHot()] },
  model: (tf, { features, label }) => tf.sequential({ layers: [
    tf.layers.embedding({ inputDim: 8, outputDim: 8, inputLength: features[0] }),
    tf.layers.flatten(),
    tf.layers.dense({ units: label[0], activation: "softmax" }),
  ] }),
  compile: { optimizer: { kind: "adam", learningRate: 0.05 }, loss: "categoricalCrossentropy" },
  batchSize: 16,
  epochs: 4,
});
`,
  );
  // After "," comes a quote, and so on: four characters in a ring, which CSV has to quote.
  await user.write("letters.txt", 'a,"b'.repeat(60));
  const launched = await user.run("launch", job, "--workers", "1", "--json");
  assert.equal(launched.code, 0, launched.stderr);
  const file = await user.write("texts.jsonl", ['"xxa,\\""', '"a,\\"b"', "[98,97,44]"].join("\n"));
  const lines = await user.run("predict", job, "--data", file);
  assert.equal(lines.code, 0, lines.stderr);
  const rows = lines.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { predicted: string; outputs: object });
  assert.deepEqual(
    rows.map(({ predicted }) => predicted),
    ["b", "a", '"'],
  );
  assert.deepEqual(Object.keys(rows[0]!.outputs).sort(), ['"', ",", "a", "b", "other"].sort());
  assert.equal((await user.run("predict", job, "--data", file, "--output", user.at("texts.csv"))).code, 0);
  const csv = readFileSync(user.at("texts.csv"), "utf8").trimEnd().split("\n");
  assert.equal(csv[0], 'predicted,other,"""",",",a,b');
  assert.match(csv[3]!, /^"""",/);
  for (const [name, text, says] of [
    ["short.jsonl", '"ab"\n', /line 1 has 2 characters; the model takes 3/],
    ["texts.txt", "abc\n", /is no file of JSON lines/],
  ] as const) {
    const { code, stderr } = await user.run("predict", job, "--data", await user.write(name, text));
    assert.deepEqual([code, says.test(stderr)], [exitCodes["invalid-data"], true], stderr);
  }
});
