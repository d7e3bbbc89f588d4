/**
 * Handwritten digits: 8 × 8 images, their class from 0 to 9 (see data/README.md). A multilayer perceptron reads about
 * 97 % of the test file's digits right, which other people wrote than those of the training file.
 */
import { csv, defineJob, oneHot, scale } from "lockstep";

export default defineJob({
  name: "digits",
  seed: 7,
  data: csv("optdigits.tra", { label: "Class" }),
  preprocess: { features: scale(1 / 16), label: oneHot(10) },
  validation: { fraction: 0.2 },
  model: (tf, shapes) =>
    tf.sequential({
      layers: [
        tf.layers.dense({ units: 256, activation: "relu", inputShape: [...shapes.features] }),
        tf.layers.dropout({ rate: 0.3 }),
        tf.layers.dense({ units: 256, activation: "relu" }),
        tf.layers.dropout({ rate: 0.3 }),
        tf.layers.dense({ units: 256, activation: "relu" }),
        tf.layers.dropout({ rate: 0.3 }),
        tf.layers.dense({ units: 10, activation: "softmax" }),
      ],
    }),
  compile: {
    optimizer: { kind: "adam", learningRate: 0.002 },
    loss: "categoricalCrossentropy",
    metrics: ["accuracy"],
  },
  checkpoint: { monitor: "val_accuracy", mode: "max" },
  batchSize: 128,
  epochs: 30,
  test: csv("optdigits.tes", { label: "Class" }),
});
