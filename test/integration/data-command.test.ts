import assert from "node:assert/strict";
import { copyFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { exitCodes } from "../../src/core/errors.ts";
import { useUser } from "../fixtures/cli.ts";
import { idxBytes } from "../fixtures/idx.ts";

const user = useUser();
const limit = { timeout: 120_000 };

const jobOf = (data: string) => `import { csv, defineJob, idx, parquet, text } from "lockstep";
export default defineJob({
  name: "shown",
  data: ${data},
  validation: { fraction: 0.25, take: "last" },
  model: () => { throw new Error("is not built"); },
  compile: { optimizer: { kind: "sgd", learningRate: 0.1 }, loss: "meanSquaredError" },
  batchSize: 2,
  epochs: 1,
});
`;

test("data tells of files, types, ranges, classes and the split, as JSON and for people", limit, async () => {
  await writeFile(user().at("x"), idxBytes([4, 1, 2], [0, 10, 20, 30, 40, 50, 60, 255]));
  await writeFile(user().at("y"), idxBytes([4], [3, 1, 3, 1]));
  const job = await user().write("job.ts", jobOf('idx({ features: "x", labels: "y" })'));
  const { code, stdout, stderr } = await user().run("data", job, "--json");
  assert.deepEqual([code, stderr], [0, ""]);
  const { data, ...others } = JSON.parse(stdout) as { data: Record<string, unknown> };
  assert.deepEqual(others, { job: "shown", test: null, initialWeights: null });
  assert.match(String(data.digest), /^sha256:[0-9a-f]{64}$/);
  assert.deepEqual(data, {
    format: "idx",
    files: [user().at("x"), user().at("y")],
    digest: data.digest,
    samples: 4,
    split: { training: 3, validation: 1, take: "last" },
    shapes: { features: [1, 2], label: [] },
    features: [{ name: null, type: "uint8", shape: [1, 2], minimum: 0, maximum: 255, mean: 58.125 }],
    label: { name: null, type: "uint8", shape: [], minimum: 1, maximum: 3, mean: 2 },
    weight: null,
    classes: [
      { value: 1, training: 1, validation: 1 },
      { value: 3, training: 2, validation: 0 },
    ],
    first: [
      { features: [0, 10], label: [3] },
      { features: [20, 30], label: [1] },
      { features: [40, 50], label: [3] },
    ],
  });
  const people = (await user().run("data", job)).stdout;
  assert.match(people, /^split +3 for training, 1 for validation \(last\)$/m);
  assert.match(people, /^features +– +uint8 +1 × 2 +0 +255 +58\.13$/m);
  assert.match(people, /^3 +2 +0$/m);
  assert.match(people, /^sample 0: 3 ← 0, 10$/m);
});

test(
  "data shows characters as such, columns by their names, and what is wrong with a file as its own exit code",
  limit,
  async () => {
    await writeFile(user().at("a.txt"), "abcb");
    const text = await user().write(
      "text.ts",
      jobOf('text("a.txt", { window: 1, stride: 1 })').replace(/validation.*\n/, ""),
    );
    const shown = (await user().run("data", text)).stdout;
    assert.match(shown, /^"b" +2$/m);
    assert.match(shown, /^sample 0: "b" ← "a"$/m);
    await writeFile(user().at("a.csv"), "x,days,y\n1,0.5,0\n5,2,1\n");
    const weighted = await user().write("weighted.ts", jobOf('csv("a.csv", { label: "y", weight: "days" })'));
    assert.match((await user().run("data", weighted)).stdout, /^weight +days +number +– +0\.5 +2 +1\.250$/m);
    await writeFile(user().at("a.tsv"), "one\tyes\ttwo\n1\t0\t2\n5\t0.5\t2\n");
    const tsv = await user().write("tsv.ts", jobOf('csv("a.tsv", { label: "yes", separator: "\\t" })'));
    const columns = (await user().run("data", tsv)).stdout;
    assert.match(
      columns,
      /^features +one +number +– +1 +5 +3\.000\n +two +number +– +2 +2 +2\.000\nlabel +yes +number +– +0 +0\.5 +0\.2500$/m,
    );
    await writeFile(user().at("a.tsv"), "one\tyes\n1\t\n");
    const wrong = await user().run("data", tsv);
    assert.equal(wrong.code, exitCodes["invalid-data"]);
    assert.match(wrong.stderr, /a\.tsv, line 2, column "yes" is empty/);
  },
);

test(
  "data shows what columns hold, what is missing in them, categories with their counts, and both sides of the split",
  limit,
  async () => {
    const rows = ["19,Rome,good one,yes", "NA,Paris,,no", '7,"a, b",good,yes', "8,Rome,x y z,no"];
    await writeFile(user().at("t.csv"), `age,city,note,done\n${rows.join("\n")}\n`);
    const source = `csv("t.csv", { label: "done", missing: ["NA"], columns: {
    city: "category", note: { kind: "words", length: 2 }, done: "category" } })`;
    const validation = "validation: { fraction: 0.5, stratify: true },";
    const job = await user().write("table.ts", jobOf(source).replace(/validation.*/, validation));
    const people = await user().run("data", job);
    assert.equal(people.code, 0, people.stderr);
    for (const line of [
      /^split +2 for training, 2 for validation \(stratified\)$/m,
      /^features +age +number +– +7 +19 +11\.33 +1$/m,
      /^ +city +category +– +– +– +– +0$/m,
      /^ +note +words +2 +– +– +– +0$/m,
      /^label +done +category +– +– +– +– +0$/m,
      /^city: 3 different texts: Rome 2, Paris 1, "a, b" 1$/m,
      /^note: 4 different words: good 2, one 1, x 1, y 1$/m,
      /^no +1 +1\nyes +1 +1$/m,
      /^sample 0: yes ← 19, Rome, good, one$/m,
      /^sample 1: no ← –, Paris$/m,
    ]) {
      assert.match(people.stdout, line);
    }
    const { data } = JSON.parse((await user().run("data", job, "--json")).stdout) as { data: Record<string, object[]> };
    assert.deepEqual(data.features![1], {
      ...{ name: "city", type: "category", shape: [], minimum: 0, maximum: 2, mean: 1 },
      texts: {
        distinct: 3,
        most: [
          { text: "Rome", count: 2 },
          { text: "Paris", count: 1 },
          { text: "a, b", count: 1 },
        ],
      },
    });
    assert.deepEqual(data.classes![1], { value: 1, text: "yes", training: 1, validation: 1 });
  },
);

test("data shows a split by groups, of a binary table the one of the same table as CSV", limit, async () => {
  const texts = fileURLToPath(new URL("../fixtures/formats/texts/", import.meta.url));
  for (const name of ["table.csv", "plain.parquet"]) await copyFile(`${texts}${name}`, user().at(name));
  const shown = async (source: string, column: string, ...options: string[]) => {
    const validation = `validation: { fraction: 0.3, column: "${column}" },`;
    return user().run(
      "data",
      await user().write("g.ts", jobOf(source).replace(/validation.*/, validation)),
      ...options,
    );
  };
  const binary = 'parquet("plain.parquet", { features: ["x"], label: "size" })';
  const cells = 'csv("table.csv", { label: "size", ignore: ["hole", "city", "notes", "code", "kind"] })';
  const people = await shown(binary, "kind");
  assert.equal(people.code, 0, people.stderr);
  assert.match(people.stdout, /^split +26 for training, 14 for validation \(by "kind"\)$/m);
  const sides = async (source: string) => {
    const { data } = JSON.parse((await shown(source, "kind", "--json")).stdout) as { data: Record<string, unknown> };
    return { split: data.split, classes: data.classes };
  };
  const { split, classes } = await sides(binary);
  assert.deepEqual({ split, classes }, await sides(cells));
  assert.deepEqual(split, { training: 26, validation: 14, take: 'by "kind"' });
  const wrong = await shown(binary, "kin");
  assert.equal(wrong.code, exitCodes["invalid-data"]);
  assert.match(
    wrong.stderr,
    /plain\.parquet has no column "kin", which validation\.column names; .*\n.*Did you mean "kind"\?/,
  );
});
