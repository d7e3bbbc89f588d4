/** What the recovery benchmark trains, as its peers do: 784-512-10 with Adam, 64 rows a worker, on data of no meaning. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeRows } from "../rows.ts";

export const workers = 3;
const rowsAWorker = 64;
export const batchSize = workers * rowsAWorker;
export const stepsAnEpoch = 50;
const features = 784;

const jobText = `import { csv, defineJob, oneHot } from "lockstep";

export default defineJob({
  name: "recovery",
  seed: 1,
  data: csv("rows.csv", { label: "label" }),
  preprocess: { label: oneHot(10) },
  model: (tf, { features }) =>
    tf.sequential({ layers: [
      tf.layers.dense({ units: 512, activation: "relu", inputShape: [...features] }),
      tf.layers.dense({ units: 10, activation: "softmax" }),
    ] }),
  compile: { optimizer: { kind: "adam", learningRate: 1e-3 }, loss: "categoricalCrossentropy" },
  checkpoint: { monitor: "loss", mode: "min" },
  batchSize: ${batchSize},
  epochs: 1_000_000,
});
`;

/** Writes job file and data into a folder; returns the job file. */
export async function writeJob(folder: string): Promise<string> {
  await writeRows(folder, features, batchSize * stepsAnEpoch);
  const file = join(folder, "job.ts");
  await writeFile(file, jobText);
  return file;
}
