/**
 * A small network that learns to write TypeScript, one character after the other, from the declaration files of the
 * installed TypeScript. It sees the last 24 characters and predicts the next one (Bengio, Ducharme, Vincent, Jauvin:
 * "A Neural Probabilistic Language Model", 2003): the first dense layer, applied to each character's one-hot vector,
 * is a table of what each character means; two more read all of them at once. After some epochs it begins to learn
 * the training text by heart, and the loss on the rest rises: the best checkpoint is not the latest.
 */
import { createRequire } from "node:module";
import path from "node:path";
import { defineJob, oneHot, type ReportContext, text, vocabulary } from "lockstep";

const window = 24;

export default defineJob({
  name: "declarations",
  seed: 11,
  data: text(path.join(declarationFolder(), "lib.es20*.d.ts"), { window, stride: 3 }),
  preprocess: { features: [vocabulary(), oneHot()], label: [vocabulary(), oneHot()] },
  validation: { fraction: 0.1, take: "last" },
  model: (tf, { features, label }) =>
    tf.sequential({
      layers: [
        tf.layers.dense({ units: 16, useBias: false, inputShape: [...features] }),
        tf.layers.flatten(),
        tf.layers.dense({ units: 192, activation: "relu" }),
        tf.layers.dense({ units: label[0]!, activation: "softmax" }),
      ],
    }),
  compile: { optimizer: { kind: "adam", learningRate: 0.004 }, loss: "categoricalCrossentropy", metrics: ["accuracy"] },
  checkpoint: { monitor: "val_loss", mode: "min" },
  batchSize: 512,
  epochs: 9,
  report: (context) => `What the best model writes:\n\n${write(context, "interface ReadonlyArray<T> {\n", 400)}`,
});

/** The newest TypeScript keeps its declaration files in a package of its own for each platform. */
function declarationFolder(): string {
  const typescript = createRequire(import.meta.url).resolve("typescript/package.json");
  const platform = `@typescript/typescript-${process.platform}-${process.arch}/package.json`;
  return path.join(path.dirname(createRequire(typescript).resolve(platform)), "lib");
}

/** Continues a text by `length` characters, each drawn from what the model thinks likely. */
function write(
  { tf, model, random, encodeFeatures, decodeLabel }: ReportContext,
  beginning: string,
  length: number,
): string {
  const temperature = 0.5; // below 1, likely characters become likelier still
  let written = beginning;
  while (written.length < beginning.length + length) {
    const seen = written.padStart(window, "\n").slice(-window);
    const codes = Array.from(seen, (character) => character.charCodeAt(0));
    const likelihoods = tf.tidy(() =>
      (model.predict(encodeFeatures([codes])) as ReturnType<typeof tf.tensor>).dataSync(),
    );
    // Index 0 stands for characters outside the vocabulary, which cannot be written.
    const weights = Array.from(likelihoods, (likelihood, index) => (index === 0 ? 0 : likelihood ** (1 / temperature)));
    written += String.fromCharCode(decodeLabel(draw(weights, random())));
  }
  return written;
}

/** The index at which the running sum of the weights passes the given part of the whole. */
function draw(weights: readonly number[], part: number): number {
  let rest = part * weights.reduce((sum, weight) => sum + weight, 0);
  const drawn = weights.findIndex((weight) => {
    rest -= weight;
    return rest < 0;
  });
  return drawn < 0 ? weights.indexOf(Math.max(...weights)) : drawn;
}
