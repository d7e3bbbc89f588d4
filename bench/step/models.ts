/** What the step benchmark trains, as bench/peers/torch_ddp.py does: the same layers, batches and optimizer, on data of no meaning. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RandomStream } from "../../src/core/random.ts";

export interface StepModel {
  /** As the benchmark's row is called, and the peers' lines. */
  readonly work: string;
  /** Samples in a step, over all workers. */
  readonly batch: number;
  /** In a job file. */
  readonly layers: string;
  /** Besides what is done to the label. */
  readonly features: string;
}

const features = 784;
const perceptron = (units: number) => `
      tf.layers.dense({ units: ${units}, activation: "relu", inputShape: [...features] }),
      tf.layers.dense({ units: ${units}, activation: "relu" }),
      tf.layers.dense({ units: 10, activation: "softmax" }),`;

export const models: readonly StepModel[] = [
  { work: "step-mlp512", batch: 256, layers: perceptron(512), features: "" },
  { work: "step-mlp2048", batch: 256, layers: perceptron(2048), features: "" },
  {
    work: "step-cnn",
    batch: 128,
    layers: `
      tf.layers.conv2d({ filters: 32, kernelSize: 3, activation: "relu", inputShape: [...features] }),
      tf.layers.conv2d({ filters: 64, kernelSize: 3, activation: "relu" }),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      tf.layers.flatten(),
      tf.layers.dense({ units: 128, activation: "relu" }),
      tf.layers.dense({ units: 10, activation: "softmax" }),`,
    features: "features: reshape([28, 28, 1]), ",
  },
];

/** All steps are in one epoch, so that none of them waits for a checkpoint. */
const jobText = ({
  work,
  batch,
  layers,
  features,
}: StepModel) => `import { csv, defineJob, oneHot, reshape } from "lockstep";

export default defineJob({
  name: "${work}",
  seed: 1,
  data: csv("rows.csv", { label: "label" }),
  preprocess: { ${features}label: oneHot(10) },
  model: (tf, { features }) => tf.sequential({ layers: [${layers}
  ] }),
  compile: { optimizer: { kind: "adam", learningRate: 1e-3 }, loss: "categoricalCrossentropy" },
  checkpoint: { monitor: "loss", mode: "min" },
  batchSize: ${batch},
  epochs: 1,
});
`;

/** Writes job file and data into a folder; returns the job file. */
export async function writeJob(folder: string, model: StepModel, steps: number): Promise<string> {
  const random = new RandomStream(1, "report");
  const head = [...Array.from({ length: features }, (_, i) => `f${i}`), "label"].join(",");
  const rows = Array.from({ length: model.batch * steps }, () =>
    Array.from({ length: features + 1 }, () => random.nextBelow(10)).join(","),
  );
  await writeFile(join(folder, "rows.csv"), `${[head, ...rows].join("\n")}\n`);
  const file = join(folder, "job.ts");
  await writeFile(file, jobText(model));
  return file;
}
