import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
import { digitsJob, type Line, useUser } from "../fixtures/cli.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";

const user = useUser();
const limit = { timeout: 480_000 };
const last = (stdout: string) => JSON.parse(stdout.trim().split("\n").at(-1)!) as Line;

test(
  "promise 1: verify-exact proves a job's exactness through kills, with the faults shown to have happened",
  limit,
  async () => {
    const words = ["--workers", "1,2", "--shards", "3", "--epochs", "4", "--kill", "--json"];
    const { code, stdout, stderr } = await user().run("verify-exact", digitsJob, ...words);
    assert.equal(code, 0, `${stdout}\n${stderr}`);
    const { run, failed, skipped, digests } = last(stdout);
    assert.deepEqual([run, failed, skipped], [6, 0, 0], stdout);
    assert.equal((digests as string[]).length, 1);
    const lines = stdout.trim().split("\n").slice(0, -1);
    const killed = lines.map((line) => JSON.parse(line) as Line).filter(({ fault }) => fault !== "none");
    assert.ok(killed.every(({ generations }) => Number(generations) > 1));
  },
);

const models = {
  "convolution, batch normalization and dropout": smallJob({
    ...{ batchSize: 20, preprocess: "features: reshape([4, 4, 1])," },
    layers: `[
      tf.layers.conv2d({ filters: 4, kernelSize: 2, activation: "relu", inputShape: [...features] }),
      tf.layers.batchNormalization(),
      tf.layers.dropout({ rate: 0.2 }),
      tf.layers.flatten(),
      tf.layers.dense({ units: 3, activation: "softmax" }),
    ]`,
  }),
  "embedding and LSTM": smallJob({
    batchSize: 20,
    layers: `[
      tf.layers.embedding({ inputDim: 8, outputDim: 4, inputLength: features[0] }),
      tf.layers.lstm({ units: 6, dropout: 0.1, recurrentDropout: 0.1 }),
      tf.layers.dense({ units: 3, activation: "softmax" }),
    ]`,
  }),
};

for (const [name, source] of Object.entries(models)) {
  test(`promise 1: killed and gone on, a model of ${name} is the same bits`, limit, async () => {
    const job = await user().write("model.ts", source);
    // 322 samples train in batches of 20: the last one has 2, fewer than there are shards.
    await user().write("small.csv", smallData(403, 16));
    const words = ["--workers", "2", "--shards", "4", "--epochs", "6", "--kill", "--json"];
    const { code, stdout, stderr } = await user().run("verify-exact", job, ...words);
    assert.equal(code, 0, `${stdout}\n${stderr}`);
    const { run, failed, skipped, digests } = last(stdout);
    assert.deepEqual([run, failed, skipped, (digests as string[]).length], [3, 0, 0, 1], stdout);
  });
}

test("a job that cannot be trained ends verify-exact as it ends check, before anything runs", limit, async () => {
  const missing = await user().write("no-data.ts", smallJob().replace("small.csv", "absent.csv"));
  const throwing = await user().write("throws.ts", smallJob({ layers: "[tf.layers.dense({ units: -1 })]" }));
  await user().write("small.csv", smallData(103));
  for (const [job, expected, says] of [
    [missing, exitCodes["invalid-data"], /^lockstep: .*absent\.csv/m],
    [throwing, exitCodes["invalid-job"], /^lockstep: throws\.ts, line 8: `model` threw .*units/m],
  ] as const) {
    const { code, stdout, stderr } = await user().run("verify-exact", job, "--workers", "1,2");
    assert.deepEqual([code, stdout], [expected, ""], stderr);
    assert.match(stderr, says);
    assert.doesNotMatch(stderr, /1 of 2/);
  }
});

test("verify-exact finds a job that is not a function of its seed, and exits with 1", limit, async () => {
  // Every process builds another first layer, so each run of one worker comes to other weights.
  const source = readFileSync(digitsJob, "utf8").replace(
    'activation: "relu", inputShape: [...shapes.features]',
    "$&, biasInitializer: tf.initializers.constant({ value: process.pid / 1e6 })",
  );
  assert.match(source, /process\.pid/);
  const job = await user().write("impure.ts", source);
  const words = ["--workers", "1,1", "--epochs", "1", "--data", digitsJob.replace(/digits\.ts$/, "data")];
  const { code, stdout } = await user().run("verify-exact", job, ...words);
  assert.equal(code, 1);
  assert.match(stdout, /other weights/);
  assert.match(stdout, /NOT exact: 1 of 2 runs failed or differ/);
});
