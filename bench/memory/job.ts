/** What the memory benchmark trains: a small recorded model, on data of no meaning, and how its workers count what the engine holds. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeRows } from "../rows.ts";

export const jobName = "memory";
export const stepsAnEpoch = 1000;
const batch = 32;
const features = 16;
const classes = 10;

/** What the engine of one worker holds, as the job file writes it down a few times a second. */
export interface EngineCounts {
  /** Tensors of TensorFlow.js. */
  readonly tensors: number;
  /** TensorFlow's own, behind the addon: made and not given back. */
  readonly handles: number;
}

/** Where the worker with this process writes its counts. */
export const countsFile = (folder: string, pid: number): string => join(folder, `engine-${pid}.json`);

const jobText = (folder: string, epochs: number) => `import { renameSync, writeFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import { csv, defineJob, oneHot } from "lockstep";

const file = ${JSON.stringify(folder)} + "/engine-" + process.pid + ".json";

function count(tf) {
  const backend = tf.backend();
  const { binding } = backend;
  if (!binding) throw new Error("The memory benchmark needs the native engine: run \`lockstep setup\`.");
  let handles = 0;
  // The addon's own functions cannot be replaced; who calls them can be given others.
  const counting = (name, change) => ({
    value(...words) {
      const result = binding[name](...words);
      handles += change(result);
      return result;
    },
  });
  backend.binding = Object.create(binding, {
    createTensor: counting("createTensor", () => 1),
    executeOp: counting("executeOp", (outputs) => outputs.length),
    runSavedModel: counting("runSavedModel", (outputs) => outputs.length),
    deleteTensor: counting("deleteTensor", () => -1),
  });
  setInterval(() => {
    writeFileSync(file + ".new", JSON.stringify({ tensors: tf.memory().numTensors, handles }));
    renameSync(file + ".new", file);
  }, 200);
}

export default defineJob({
  name: "${jobName}",
  seed: 1,
  data: csv("rows.csv", { label: "label" }),
  preprocess: { label: oneHot(${classes}) },
  model: (tf, { features }) => {
    if (!isMainThread) count(tf);
    return tf.sequential({ layers: [
      tf.layers.dense({ units: 64, activation: "relu", inputShape: [...features] }),
      tf.layers.dropout({ rate: 0.1 }),
      tf.layers.dense({ units: ${classes}, activation: "softmax" }),
    ] });
  },
  compile: { optimizer: { kind: "adam", learningRate: 1e-3 }, loss: "categoricalCrossentropy", metrics: ["accuracy"] },
  checkpoint: { monitor: "loss", mode: "min" },
  batchSize: ${batch},
  epochs: ${epochs},
});
`;

/** Writes job file and data into a folder; returns the job file. */
export async function writeJob(folder: string, epochs: number): Promise<string> {
  await writeRows(folder, features, batch * stepsAnEpoch);
  const file = join(folder, "job.ts");
  await writeFile(file, jobText(folder, epochs));
  return file;
}
