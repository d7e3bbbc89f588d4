/** A job that begins with given weights, freezes them, weighs its classes and has a loss of its own: check and launches; one of several inputs and outputs. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { exportTensors } from "../../src/adapters/fs/export-tensors.ts";
import { readInitialWeights } from "../../src/adapters/fs/initial-weights.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { type Line, useUser } from "../fixtures/cli.ts";
import { testFolder } from "../fixtures/running-launch.ts";
import { smallData } from "../fixtures/small-job.ts";

const user = useUser();

const base = [
  { name: "base/kernel", shape: [6, 4], values: Float32Array.from({ length: 24 }, (_, i) => Math.sin(i + 1)) },
  { name: "base/bias", shape: [4], values: Float32Array.of(0.1, 0.2, 0.3, 0.4) },
  { name: "old-head/bias", shape: [2], values: Float32Array.of(1, 2) },
];

/** As TensorFlow.js saves a model, with two shards. */
async function writeModelJson(folder: string, tensors: typeof base): Promise<void> {
  const weights = tensors.map(({ name, shape }) => ({ name, shape, dtype: "float32" }));
  const bytes = Buffer.concat(tensors.map(({ values }) => new Uint8Array(values.buffer)));
  await writeFile(`${folder}/one.bin`, bytes.subarray(0, 50));
  await writeFile(`${folder}/two.bin`, bytes.subarray(50));
  const weightsManifest = [{ paths: ["one.bin", "two.bin"], weights }];
  await writeFile(`${folder}/model.json`, JSON.stringify({ format: "layers-model", weightsManifest }));
}

test("weights to begin with have one digest in whatever form they come, and what cannot be read is named", async (context) => {
  const folder = await testFolder(context);
  await exportTensors(`${folder}/base.safetensors`, base, {});
  await writeModelJson(folder, base);
  const [one, other] = await Promise.all(
    ["base.safetensors", "model.json"].map((path) => readInitialWeights(path, folder)),
  );
  assert.equal(one!.digest, other!.digest);
  assert.deepEqual(one!.tensors, other!.tensors);
  assert.deepEqual(new Set(one!.tensors), new Set(base));
  const changed = base.map((tensor, i) =>
    i === 1 ? { ...tensor, values: Float32Array.of(0.1, 0.2, 0.3, 0.5) } : tensor,
  );
  await exportTensors(`${folder}/changed.safetensors`, changed, {});
  assert.notEqual((await readInitialWeights("changed.safetensors", folder)).digest, one!.digest);

  await writeFile(`${folder}/two.bin`, new Uint8Array(3));
  await writeFile(`${folder}/broken.safetensors`, new Uint8Array(20));
  await writeFile(`${folder}/model.keras`, "");
  for (const [path, problem] of [
    ["none", /there is no .*none\./],
    ["model.json", /model\.json cannot be read: one\.bin, two\.bin end before the weight base\/kernel does/],
    ["broken.safetensors", /broken\.safetensors cannot be read/],
    ["model.keras", /model\.keras cannot be read: it is no HDF5 file, or damaged/],
  ] as const) {
    await assert.rejects(readInitialWeights(path, folder), (error) => {
      assert.ok(error instanceof LockstepError && error.code === "invalid-data");
      assert.match(error.message, problem);
      return true;
    });
  }
});

const job = (units: number) => `import { csv, defineJob, oneHot, topK } from "lockstep";
export default defineJob({
  name: "transfer",
  seed: 3,
  data: csv("small.csv", { label: "class" }),
  preprocess: { label: oneHot(3) },
  validation: { fraction: 0.2 },
  model: (tf, { features }) => {
    const base = tf.layers.dense({ units: ${units}, activation: "relu", inputShape: [...features], name: "base", trainable: false });
    return tf.sequential({ layers: [base, tf.layers.dense({ units: 3, activation: "softmax", name: "head" })] });
  },
  initialWeights: "base.safetensors",
  classWeight: "balanced",
  compile: {
    optimizer: { kind: "adam", learningRate: 0.01 },
    loss: (tf, labels, predictions) => predictions.sub(labels).abs().pow(1.5).mean(-1),
    metrics: ["macroF1", topK(2)],
  },
  checkpoint: { monitor: "val_macroF1" },
  batchSize: 8,
  epochs: 2,
});
`;

test("promise 1: frozen given weights, weighed classes, a loss of its own: one and two workers give the same bits", {
  timeout: 240_000,
}, async () => {
  await writeFile(user().at("small.csv"), smallData(60));
  await exportTensors(user().at("base.safetensors"), base, {});
  await writeFile(user().at("transfer.ts"), job(4));
  await writeFile(user().at("wider.ts"), job(5));
  const checked = await user().run("check", user().at("transfer.ts"));
  assert.match(
    checked.stdout,
    /Initial weights: 2 of 4 from base\.safetensors; drawn from the seed: head\/kernel, head\/bias; in it and not in the model: old-head\/bias\./,
    checked.stderr,
  );
  const wider = await user().run("check", user().at("wider.ts"));
  assert.match(wider.stderr, /base\.safetensors has \[6, 4\] for base\/kernel, where the model has \[6, 5\]/);
  const ends: Line[] = [];
  for (const workers of ["1", "2"]) {
    const words = ["--workers", workers, "--shards", "2", "--json", "--directory", user().at(`runs-${workers}`)];
    const outcome = await user().run("launch", user().at("transfer.ts"), ...words);
    assert.equal(outcome.code, 0, outcome.stderr);
    ends.push(JSON.parse(outcome.stdout.trim().split("\n").at(-1)!) as Line);
  }
  const [alone, together] = ends;
  assert.ok(alone!.weightsDigest, JSON.stringify(alone));
  assert.equal(together!.weightsDigest, alone!.weightsDigest);
  assert.deepEqual(together!.history, alone!.history);
  const [first] = alone!.history as Record<string, number>[];
  for (const name of ["loss", "macroF1", "val_macroF1", "top2Accuracy"]) assert.ok(Number.isFinite(first![name]), name);
});

const several = `import { columns, defineJob, jsonLines, scale } from "lockstep";
export default defineJob({
  name: "several",
  data: jsonLines({ path: "several.jsonl", features: ["row", "rest"], label: ["size", "kind"], columns: { kind: "category" } }),
  preprocess: { label: columns({ size: scale(0.25) }) },
  validation: { fraction: 0.2 },
  model: (tf) => {
    const [row, rest] = [tf.input({ shape: [4, 1] }), tf.input({ shape: [2] })];
    const both = tf.layers.concatenate().apply([tf.layers.flatten().apply(row), rest]);
    const kind = tf.layers.dense({ name: "kind", units: 3, activation: "softmax" }).apply(both);
    return tf.model({ inputs: [row, rest], outputs: [tf.layers.dense({ name: "size", units: 1 }).apply(both), kind] });
  },
  compile: {
    optimizer: { kind: "adam", learningRate: 0.01 },
    outputs: {
      size: { loss: "meanSquaredError", metrics: ["meanAbsoluteError"] },
      kind: { loss: "sparseCategoricalCrossentropy", lossWeight: 2, metrics: ["accuracy"] },
    },
  },
  checkpoint: { monitor: "val_kind_accuracy" },
  batchSize: 8,
  epochs: 2,
});
`;

test("a model of two inputs and two outputs is trained, evaluated and predicts both under their names", {
  timeout: 240_000,
}, async () => {
  const lines = Array.from({ length: 60 }, (_, i) => {
    const row = [i % 5, i % 7, i % 3, 1];
    return JSON.stringify({ row, rest: [i % 3, i / 60], size: row.reduce((a, b) => a + b), kind: "abc"[i % 3] });
  });
  await writeFile(user().at("several.jsonl"), `${lines.join("\n")}\n`);
  await writeFile(user().at("several.ts"), several);
  const launched = await user().run("launch", user().at("several.ts"), "--workers", "1", "--json");
  assert.equal(launched.code, 0, launched.stderr);
  const result = JSON.parse(launched.stdout.trim().split("\n").at(-1)!) as Line;
  const [first] = result.history as Record<string, number>[];
  for (const name of ["kind_accuracy", "kind_loss", "size_loss", "size_meanAbsoluteError"]) {
    assert.ok(Number.isFinite(first![name]) && Number.isFinite(first![`val_${name}`]), name);
  }
  const rows = ["--data", user().at("several.jsonl")];
  const evaluated = await user().run("evaluate", user().at("several.ts"), ...rows);
  const { test: told } = JSON.parse(evaluated.stdout) as { test: Record<string, Record<string, number>> };
  const [sums] = Object.values(told);
  assert.ok(Math.abs(sums!.loss! - sums!.size_loss! - 2 * sums!.kind_loss!) < 1e-4, evaluated.stdout);
  const { stdout } = await user().run("predict", user().at("several.ts"), ...rows);
  const predicted = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { predicted: { size: number; kind: string }; outputs: Record<string, number> });
  const kinds = ["a", "b", "c"];
  const right = predicted.filter(({ predicted: { kind }, outputs }, i) => {
    const chances = kinds.map((name) => outputs[`kind ${name}`]!);
    assert.equal(kind, kinds[chances.indexOf(Math.max(...chances))]);
    return kind === kinds[i % 3];
  });
  assert.ok(Math.abs(right.length / 60 - sums!.kind_accuracy!) < 1e-6);
  // Measured in what scale() makes of it, and predicted in its own values.
  const off = predicted.map(({ predicted: { size }, outputs }, i) => {
    assert.ok(Math.abs(size - outputs.size! * 4) < 1e-5);
    return Math.abs(size - ((i % 5) + (i % 7) + (i % 3) + 1)) / 4;
  });
  assert.ok(Math.abs(off.reduce((a, b) => a + b) / 60 - sums!.size_meanAbsoluteError!) < 1e-4);
  const csv = user().at("several.csv");
  assert.equal((await user().run("predict", user().at("several.ts"), ...rows, "--output", csv)).code, 0);
  assert.match(
    await readFile(csv, "utf8"),
    /^predicted size,predicted kind,size,kind a,kind b,kind c\n-?\d[^,]*,[abc],/,
  );
});
