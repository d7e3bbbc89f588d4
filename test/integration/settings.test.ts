/** What is said beside a job file once, to the coordinator, is what every process knows that takes part or reads afterwards. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
import { useUser } from "../fixtures/cli.ts";
import { useEtcd } from "../fixtures/etcd.ts";
import { smallData } from "../fixtures/small-job.ts";

const user = useUser();
const etcd = useEtcd();

const job = `import { csv, defineJob, oneHot } from "lockstep";
export default defineJob({ units: 8, activation: "relu", normalized: false }, ({ units, activation, normalized }) => ({
  name: "tuned",
  data: csv("small.csv", { label: "class" }),
  preprocess: { label: oneHot(3) },
  validation: { fraction: 0.2 },
  model: (tf, { features }) => tf.sequential({ layers: [
    ...(normalized ? [tf.layers.batchNormalization({ inputShape: [...features] })] : []),
    tf.layers.dense({ units, activation, inputShape: [...features] }),
    tf.layers.dense({ units: 3, activation: "softmax" }),
  ] }),
  compile: { optimizer: { kind: "adam", learningRate: 0.003 }, loss: "categoricalCrossentropy", metrics: ["accuracy"] },
  batchSize: 4,
  epochs: 2,
}));
`;

test("a worker, evaluate, verify and export take a run's parameters and fields from it, and another start must say the same", {
  timeout: 240_000,
}, async () => {
  await user().write("small.csv", smallData(80));
  const file = await user().write("tuned.ts", job);
  const told = ["--param", "units=5", "--set", "batchSize=16", "--set", "compile.optimizer.learningRate=0.02"];
  const place = ["--etcd", etcd().endpoint];
  const coordinator = user().start("coordinator", file, ...place, ...told);
  const { address } = await coordinator.whenLine("that it serves", ({ message }) => message === "serving");
  const checkpoints = ["--checkpoints", user().at("checkpoints")];
  const other = await user().run("worker", file, ...place, ...checkpoints, "--param", "units=6");
  assert.equal(other.code, exitCodes.incompatible, other.stderr);
  assert.match(other.stderr, /was given --param units=6, and the run --set batchSize=16 .*--param units=5/);
  const worker = await user().run("worker", file, ...place, ...checkpoints);
  assert.equal(worker.code, 0, worker.stderr);

  const settings = { set: { batchSize: "16", "compile.optimizer.learningRate": "0.02" }, params: { units: "5" } };
  const status = await user().run("status", "--coordinator", String(address), "--json");
  const now = JSON.parse(status.stdout);
  assert.deepEqual([now.settings, now.stepsPerEpoch, now.state], [settings, 4, "finished"]);
  const stored = (await readdir(user().at("checkpoints"))).filter((name) => /-step-/.test(name)).sort();
  const [first, last] = [stored[0], stored.at(-1)];
  const one = ["--checkpoint", last!];
  const evaluated = await user().run("evaluate", file, ...checkpoints, ...one, "--data", user().at("small.csv"));
  assert.equal(evaluated.code, 0, evaluated.stderr);
  const exported = await user().run("checkpoints", "export", file, last!, ...checkpoints, "--to", "tfjs");
  assert.equal(exported.code, 0, exported.stderr);
  assert.ok(existsSync(user().at(`${last}-tfjs`, "model.json")));
  const replayed = await user().run(
    ...["checkpoints", "verify", file, first!, ...place, ...checkpoints, "--replay", "4"],
  );
  assert.equal(replayed.code, 0, replayed.stdout + replayed.stderr);
  assert.match(replayed.stdout, /Exact/);
  const ledger = await user().run("ledger", file, ...place, "--epoch", "1");
  assert.equal(JSON.parse(ledger.stdout.split("\n")[0]!).batchSize, 16, ledger.stderr);

  coordinator.kill("SIGTERM");
  await coordinator.exited;
  const changed = await user().run("coordinator", file, ...place, "--param", "units=5");
  assert.equal(changed.code, exitCodes.incompatible);
  assert.match(changed.stderr, /job\.batchSize was 16 and is 4/);
  assert.match(changed.stderr, /The run was started with --set batchSize=16 .* --param units=5: give that again/);
});

/** Trains a job under this name, and gives the last checkpoint. */
async function lastOf(name: string, file: string, ...told: readonly string[]): Promise<string> {
  const place = ["--etcd", etcd().endpoint, "--job", name];
  const coordinator = user().start("coordinator", file, ...place, ...told);
  await coordinator.whenLine("that it serves", ({ message }) => message === "serving");
  const worker = await user().run("worker", file, ...place, "--checkpoints", user().at("of-all"));
  assert.equal(worker.code, 0, worker.stderr);
  coordinator.kill("SIGTERM");
  await coordinator.exited;
  const stored = (await readdir(user().at("of-all"))).filter((id) => id.startsWith(`${name}-`) && /-step-/.test(id));
  return stored.sort().at(-1)!;
}

function evaluated(file: string, data: string, ids: readonly string[]) {
  const checkpoints = ["--checkpoints", user().at("of-all"), ...ids.flatMap((id) => ["--checkpoint", id])];
  return user().run("evaluate", file, ...checkpoints, "--data", user().at(data));
}

test("evaluate opens each of several checkpoints as it was trained, with its own parameters and fields, and its own layers", {
  timeout: 240_000,
}, async () => {
  await user().write("small.csv", smallData(80));
  const file = await user().write("tuned.ts", job);
  const evaluate = (...ids: string[]) => evaluated(file, "small.csv", ids);
  const lasts: string[] = [];
  for (const [units, normalized] of [
    ["5", "false"],
    ["7", "true"],
  ] as const) {
    lasts.push(await lastOf(`of-${units}`, file, "--param", `units=${units}`, "--param", `normalized=${normalized}`));
  }
  const alone = await Promise.all(lasts.map((id) => evaluate(id)));
  for (const { code, stderr } of alone) assert.equal(code, 0, stderr);
  const tested = alone.map(({ stdout }) => JSON.parse(stdout).test);
  for (const ids of [lasts, lasts.toReversed()]) {
    const both = await evaluate(...ids);
    assert.equal(both.code, 0, both.stderr);
    assert.deepEqual(JSON.parse(both.stdout).test, { ...tested[0], ...tested[1] });
    assert.deepEqual(Object.keys(JSON.parse(both.stdout).test), ids);
  }
  // The job file of another model now: what it made of the first checkpoint's is not to be looked for in the second.
  await user().write(
    "tuned.ts",
    job.replace("normalized ? [", "normalized ? [tf.layers.dense({ units: 6, inputShape: [...features] }), "),
  );
  const other = await evaluate(...lasts);
  assert.deepEqual([other.code, other.stdout], [exitCodes.incompatible, ""], other.stderr);
  assert.match(
    other.stderr,
    /The checkpoint of-7\S+ has 8 weights, where the job's model has 10\.\n.*Use the job file that the checkpoint was trained with/,
  );
});

test("evaluate opens each of several checkpoints for what was learned of its own data: more words, and a larger model", {
  timeout: 240_000,
}, async () => {
  const file = await user().write(
    "cities.ts",
    job
      .replace("import {", "import { columns, vocabulary,")
      .replace('{ label: "class" }', '{ label: "class", columns: { city: "category" } }')
      .replace("preprocess: { ", "preprocess: { features: columns({ city: [vocabulary(), oneHot()] }), "),
  );
  const rows = (cities: readonly string[]) =>
    `city,size,class\n${Array.from({ length: 40 }, (_, i) => `${cities[i % cities.length]},${i % 7},${i % 3}`).join("\n")}`;
  const lasts: string[] = [];
  for (const cities of [
    ["Rome", "Bonn"],
    ["Rome", "Oslo", "Bonn", "Turin"],
  ]) {
    await user().write("small.csv", rows(cities));
    lasts.push(await lastOf(`cities-${cities.length}`, file));
  }
  await user().write("new.csv", rows(["Oslo", "Rome"]));
  const alone = await Promise.all(lasts.map((id) => evaluated(file, "new.csv", [id])));
  for (const { code, stderr } of alone) assert.equal(code, 0, stderr);
  const both = await evaluated(file, "new.csv", lasts);
  assert.equal(both.code, 0, both.stderr);
  const tested = alone.map(({ stdout }) => JSON.parse(stdout).test);
  assert.deepEqual(JSON.parse(both.stdout).test, { ...tested[0], ...tested[1] });
});
