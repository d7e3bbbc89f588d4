/**
 * `--tensorboard` on a real cluster whose leader is killed: TensorBoard's own reader finds every epoch once. It needs the Python
 * environment that test/fixtures/tensorboard/setup.sh makes; without it, what is written is read here alone.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as tf from "@tensorflow/tfjs";
import { decodeEvent } from "../../src/adapters/tensorboard/events.ts";
import { decodeRecords } from "../../src/adapters/tensorboard/records.ts";
import { TensorBoardLog } from "../../src/adapters/tensorboard/tensorboard-log.ts";
import { topologyOf } from "../../src/adapters/tfjs/topology.ts";
import type { ClusterStatus } from "../../src/core/status.ts";
import { finished, startLaunch, testFolder } from "../fixtures/running-launch.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";

const reader = fileURLToPath(new URL("../fixtures/tensorboard/read.py", import.meta.url));
const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
const python = join(cache, "lockstep", "tensorboard", "bin", "python");
const isReady = existsSync(join(cache, "lockstep", "tensorboard", "ready"));
const epochs = 40;

interface Read {
  readonly scalars: Record<string, [step: number, value: number][]>;
  readonly histograms: Record<string, [step: number, count: number][]>;
  readonly graph: readonly { readonly name: string; readonly layer: string; readonly input: readonly string[] }[];
}

async function readByTensorBoard(folder: string): Promise<Record<"train" | "validation", Read>> {
  const { stdout } = await promisify(execFile)(python, [reader, folder]);
  return JSON.parse(stdout) as Record<"train" | "validation", Read>; // what read.py prints
}

test("every committed epoch is in TensorBoard's files once, though a leader is killed", {
  timeout: 240_000,
}, async (context) => {
  const folder = await testFolder(context);
  await writeFile(join(folder, "small.csv"), smallData(300));
  await writeFile(join(folder, "small.ts"), smallJob());
  const asked = ["--tensorboard", "board", "--histograms", "weights,gradients"];
  const words = ["--job", "board", "--workers", "3", "--epochs", String(epochs), ...asked];
  const launch = startLaunch(context, folder, words, join(folder, "small.ts"));
  const leaderOf = ({ processes }: ClusterStatus) => processes.find(({ leader }) => leader);
  const status = await launch.whenStatus((now) => now.epoch >= 5 && leaderOf(now) !== undefined);
  const first = leaderOf(status)!;
  process.kill(first.pid!, "SIGKILL");
  const next = await launch.whenStatus(
    (now) => leaderOf(now) !== undefined && leaderOf(now)!.workerId !== first.workerId,
  );
  assert.ok(next.epoch < epochs, "another one led before the end");
  assert.equal(await launch.exited, 0, launch.errors());
  const history = finished(launch).history as Record<string, number>[];
  assert.equal(history.length, epochs);

  // Relative to where it was launched. Read record by record, nothing is there twice.
  const events = async (name: string) => {
    const files = (await readdir(join(folder, "board", name))).sort();
    const records = files.map(async (file) => [...decodeRecords(await readFile(join(folder, "board", name, file)))]);
    return { files: files.length, events: (await Promise.all(records)).flat().map(decodeEvent) };
  };
  for (const [name, prefix] of [
    ["train", ""],
    ["validation", "val_"],
  ] as const) {
    const { files, events: read } = await events(name);
    assert.ok(files >= 2, "two leaders have written");
    assert.ok(!read.some(({ isRestart }) => isRestart));
    assert.deepEqual(
      read.flatMap(({ step, scalars }) =>
        scalars.filter(({ tag }) => tag === "epoch_loss").map(({ value }) => [step, value]),
      ),
      history.map((record) => [record.epoch, Math.fround(record[`${prefix}loss`]!)]),
    );
  }

  if (!isReady) {
    context.diagnostic("TensorBoard's reader is not set up: test/fixtures/tensorboard/setup.sh does that");
    return;
  }
  const { train, validation } = await readByTensorBoard(join(folder, "board"));
  const wanted = (name: string) => history.map((record) => [record.epoch, Math.fround(record[name]!)]);
  assert.deepEqual(train.scalars, { epoch_loss: wanted("loss"), epoch_accuracy: wanted("accuracy") });
  assert.deepEqual(validation.scalars, { epoch_loss: wanted("val_loss"), epoch_accuracy: wanted("val_accuracy") });
  // 6 × 8 weights in the first layer, whichever epochs a leader was there to see the end of.
  const kernel = Object.keys(train.histograms).filter((tag) => tag.includes("Dense1/kernel"));
  assert.equal(kernel.length, 2, Object.keys(train.histograms).join(" "));
  for (const tag of kernel) {
    const steps = train.histograms[tag]!.map(([step]) => step);
    assert.deepEqual([...new Set(steps)], steps);
    assert.ok(steps.length >= epochs - 3, `${tag} has ${steps.length} epochs`);
    assert.ok(train.histograms[tag]!.every(([, count]) => count === 48));
  }
  const dense = train.graph.filter(({ layer }) => layer === "Dense").map(({ name }) => name);
  assert.equal(dense.length, 2);
  assert.ok(train.graph.some(({ layer, input }) => layer === "Dropout" && input.some((name) => dense.includes(name))));
});

test("TensorBoard takes back what was written before the run went back, and draws a model with branches", {
  skip: isReady ? false : "TensorBoard's reader is not set up: test/fixtures/tensorboard/setup.sh does that",
}, async (context) => {
  const folder = await testFolder(context);
  const input = tf.input({ shape: [4] });
  const [left, right] = ["left", "right"].map((name) => tf.layers.dense({ units: 2, name }).apply(input));
  const sum = tf.layers.add({ name: "sum" }).apply([left, right] as tf.SymbolicTensor[]) as tf.SymbolicTensor;
  const topology = topologyOf(tf.model({ inputs: input, outputs: sum }));
  for (const [token, losses] of [
    [4, 3, 2, 1],
    [4, 3, 2.5],
    [4, 3, 2.5, 0.5],
  ].entries()) {
    const history = losses.map((loss, i) => ({ epoch: i + 1, step: i + 1, metrics: { loss }, improved: false }));
    const log = new TensorBoardLog({ directory: folder, writer: "test", histograms: [], topology, clock: () => 1000 });
    await log.record({ token, history, weights: () => [], gradients: async () => null });
  }
  const { train } = await readByTensorBoard(folder);
  assert.deepEqual(train.scalars, {
    epoch_loss: [
      [1, 4],
      [2, 3],
      [3, 2.5],
      [4, 0.5],
    ],
  });
  const inputsOf = (end: string) =>
    train.graph.find(({ name }) => name.endsWith(end))!.input.map((name) => name.split("/").at(-1));
  assert.deepEqual(inputsOf("sum"), ["left", "right"]);
  assert.deepEqual(inputsOf("left"), inputsOf("right"));
});
