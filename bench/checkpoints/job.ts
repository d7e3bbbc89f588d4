/** What the checkpoint benchmark trains: 25 million weights with Adam, on data of no meaning. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RandomStream } from "../../src/core/random.ts";

export const jobName = "checkpoints";
const features = 64;
const units = 4962;
const classes = 10;
/** One step copies the state in the worker's own process, of so many. */
const copyEvery = 3;

/** Name and shape of each weight, as the model has them. */
export const weightShapes: readonly { readonly name: string; readonly shape: readonly number[] }[] = [
  { name: "dense_Dense1/kernel", shape: [features, units] },
  { name: "dense_Dense1/bias", shape: [units] },
  { name: "dense_Dense2/kernel", shape: [units, units] },
  { name: "dense_Dense2/bias", shape: [units] },
  { name: "dense_Dense3/kernel", shape: [units, classes] },
  { name: "dense_Dense3/bias", shape: [classes] },
];

export const weightCount = weightShapes.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

/** Weights, and Adam's two slots. */
export const stateLength = 3 * weightCount;

export interface JobOptions {
  readonly workers: number;
  /** Steps from one save to the next. */
  readonly saveEvery: number;
  readonly steps: number;
  /** Where the compute threads write what plain copies took, a line of JSON each. */
  readonly copiesFile: string;
}

/** What one line says: milliseconds of a copy into new memory, and of one into memory that was used before. */
export interface PlainCopy {
  readonly newMs: number;
  readonly usedMs: number;
}

/** The copies are made where the state is, within steps that are not being saved: the first layer is called once a step and shard. */
const jobText = ({ workers, saveEvery, copiesFile }: JobOptions) => `import { appendFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import { csv, defineJob, oneHot } from "lockstep";

let calls = 0;
let state: Float32Array | undefined;
let target: Float32Array | undefined;

function copy(): void {
  if (isMainThread || ++calls % ${copyEvery} !== 0) return;
  state ??= new Float32Array(${stateLength}).fill(1);
  target ??= new Float32Array(${stateLength}).fill(2);
  const begun = performance.now();
  state.slice();
  const between = performance.now();
  target.set(state);
  const line = { newMs: between - begun, usedMs: performance.now() - between };
  appendFileSync(${JSON.stringify(copiesFile)}, JSON.stringify(line) + "\\n");
}

export default defineJob({
  name: "${jobName}",
  seed: 1,
  data: csv("rows.csv", { label: "label" }),
  preprocess: { label: oneHot(${classes}) },
  model: (tf, { features }) => {
    const first = tf.layers.dense({ units: ${units}, activation: "relu", inputShape: [...features] });
    const call = first.call.bind(first);
    first.call = (...words) => {
      copy();
      const output = call(...words);
      // Looked at, so that no graph is recorded and this function is called in every step.
      [output].flat()[0].dataSync();
      return output;
    };
    return tf.sequential({ layers: [
      first,
      tf.layers.dense({ units: ${units}, activation: "relu" }),
      tf.layers.dense({ units: ${classes}, activation: "softmax" }),
    ] });
  },
  compile: { optimizer: { kind: "adam", learningRate: 1e-3 }, loss: "categoricalCrossentropy" },
  checkpoint: { monitor: "loss", mode: "min", saveFreq: { steps: ${saveEvery} }, keep: { last: 1, best: 1 } },
  batchSize: ${8 * workers},
  epochs: 1,
});
`;

/** Writes job file and data into a folder; returns the job file. */
export async function writeJob(folder: string, options: JobOptions): Promise<string> {
  const random = new RandomStream(1, "report");
  const head = [...Array.from({ length: features }, (_, i) => `f${i}`), "label"].join(",");
  const rows = Array.from({ length: options.steps * options.workers * 8 }, () =>
    Array.from({ length: features + 1 }, () => random.nextBelow(10)).join(","),
  );
  await writeFile(join(folder, "rows.csv"), `${[head, ...rows].join("\n")}\n`);
  const file = join(folder, "job.ts");
  await writeFile(file, jobText(options));
  return file;
}
