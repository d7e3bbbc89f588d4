/**
 * Transfer learning: is a handwritten digit odd? The three hidden layers are those of `examples/digits.ts`, with the weights that it
 * has learnt, and frozen; only the last layer is trained. So train the digits first, and name one of their checkpoints:
 *
 *     lockstep launch examples/digits.ts
 *     lockstep launch examples/transfer.ts --param base=$PWD/runs/digits/run-1/checkpoints/ID
 *
 * `lockstep checkpoints list` tells the IDs.
 */
import { csv, defineJob, map, scale } from "lockstep";

export default defineJob({ base: "digits" }, ({ base }) => ({
  name: "transfer",
  seed: 7, // that of the digits: what validates here has not trained the base either
  data: csv("optdigits.tra", { label: "Class" }),
  preprocess: { features: scale(1 / 16), label: map(([digit]) => [digit! % 2]) },
  validation: { fraction: 0.2 },
  initialWeights: base,
  model: (tf, { features }) => {
    // Named as TensorFlow.js names them in the other model: weights go by the names of their layers.
    const hidden = [1, 2, 3].map((i) =>
      tf.layers.dense({
        ...{ name: `dense_Dense${i}`, units: 256, activation: "relu", trainable: false },
        ...(i === 1 && { inputShape: [...features] }),
      }),
    );
    return tf.sequential({ layers: [...hidden, tf.layers.dense({ name: "odd", units: 1, activation: "sigmoid" })] });
  },
  compile: {
    optimizer: { kind: "adam", learningRate: 0.01 },
    loss: "binaryCrossentropy",
    metrics: ["binaryAccuracy", "auc"],
  },
  checkpoint: { monitor: "val_binaryAccuracy", mode: "max" },
  batchSize: 128,
  epochs: 10,
  test: csv("optdigits.tes", { label: "Class" }),
}));
