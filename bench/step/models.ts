/** What the step benchmark trains, as the programs in bench/peers do: the same layers, batches and optimizer, on data of no meaning. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LockstepError } from "../../src/core/errors.ts";
import { RandomStream } from "../../src/core/random.ts";
import { characters, gpt } from "./gpt.ts";

export interface StepModel {
  /** As the benchmark's row is called, and the peers' lines. */
  readonly work: string;
  /** Samples in a step, over all workers. */
  readonly batch: number;
  /** In a job file: what comes before the job, where the data come from, what is done to them, the model, and its loss. */
  readonly top: string;
  readonly data: string;
  readonly preprocess: string;
  readonly model: string;
  readonly loss: string;
  /** The data file's text for so many samples. */
  readonly write: (samples: number) => string;
}

/** One epoch. */
export const steps = 40;
/** Until memory is in use and the code is compiled. */
export const warmUpSteps = 8;

const features = 784;
const classes = 10;

function csvText(samples: number): string {
  const random = new RandomStream(1, "report");
  const head = [...Array.from({ length: features }, (_, i) => `f${i}`), "label"].join(",");
  const rows = Array.from({ length: samples }, () =>
    Array.from({ length: features + 1 }, () => random.nextBelow(classes)).join(","),
  );
  return `${[head, ...rows].join("\n")}\n`;
}

const classifier = { top: "", loss: "categoricalCrossentropy" };
const images = { ...classifier, data: 'csv("samples", { label: "label" })', write: csvText };
const sequential = (layers: string) => `tf.sequential({ layers: [${layers}
  ] })`;

const perceptron = (units: number) => ({
  ...images,
  batch: 256,
  preprocess: `label: oneHot(${classes})`,
  model: sequential(`
      tf.layers.dense({ units: ${units}, activation: "relu", inputShape: [...features] }),
      tf.layers.dense({ units: ${units}, activation: "relu" }),
      tf.layers.dense({ units: ${classes}, activation: "softmax" }),`),
});

const window = 32;

/** Of every character at least one, so that the vocabulary does not depend on the length. */
function plainText(samples: number): string {
  const random = new RandomStream(1, "report");
  const drawn = Array.from({ length: samples + window - characters.length }, () => random.nextBelow(characters.length));
  return characters + drawn.map((index) => characters[index]).join("");
}

export const models: readonly StepModel[] = [
  { work: "step-mlp512", ...perceptron(512) },
  { work: "step-mlp2048", ...perceptron(2048) },
  {
    ...images,
    work: "step-cnn",
    batch: 128,
    preprocess: `features: reshape([28, 28, 1]), label: oneHot(${classes})`,
    model: sequential(`
      tf.layers.conv2d({ filters: 32, kernelSize: 3, activation: "relu", inputShape: [...features] }),
      tf.layers.conv2d({ filters: 64, kernelSize: 3, activation: "relu" }),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      tf.layers.flatten(),
      tf.layers.dense({ units: 128, activation: "relu" }),
      tf.layers.dense({ units: ${classes}, activation: "softmax" }),`),
  },
  {
    ...classifier,
    work: "step-lstm",
    batch: 64,
    data: `text("samples", { window: ${window}, stride: 1 })`,
    preprocess: "features: vocabulary(), label: [vocabulary(), oneHot()]",
    model: sequential(`
      tf.layers.embedding({ inputDim: label[0], outputDim: 32, inputLength: features[0] }),
      tf.layers.lstm({ units: 64 }),
      tf.layers.dense({ units: label[0], activation: "softmax" }),`),
    write: plainText,
  },
  gpt,
];

export function modelNamed(name: string): StepModel {
  const found = models.find(({ work }) => work === name);
  if (found) return found;
  const known = models.map(({ work }) => work).join(", ");
  throw new LockstepError("usage", `--models has ${JSON.stringify(name)}; ${known} were expected.`);
}

/** All steps are in one epoch, so that none of them waits for a checkpoint. */
const jobText = (
  model: StepModel,
) => `import { csv, dataset, defineJob, oneHot, reshape, text, vocabulary } from "lockstep";
${model.top}
export default defineJob({
  name: "${model.work}",
  seed: 1,
  data: ${model.data},
  preprocess: { ${model.preprocess} },
  model: (tf, { features, label }) => ${model.model},
  compile: { optimizer: { kind: "adam", learningRate: 1e-3 }, loss: "${model.loss}" },
  checkpoint: { monitor: "loss", mode: "min" },
  batchSize: ${model.batch},
  epochs: 1,
});
`;

/** Where `writeJob` puts a model's job file. */
export const jobFile = (folder: string, { work }: StepModel): string => join(folder, work, "job.mjs");

/** Writes a model's job file, and beside it its data. */
export async function writeJob(folder: string, model: StepModel): Promise<void> {
  await mkdir(join(folder, model.work));
  await writeFile(join(folder, model.work, "samples"), model.write(model.batch * steps));
  await writeFile(jobFile(folder, model), jobText(model));
}
