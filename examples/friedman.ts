/**
 * Tabular regression: Friedman's first problem (1991), ten columns from 0 to 1 of which five decide the value, and noise of standard
 * deviation 1. So no model comes below a mean squared error of 1; a linear one stays near 6.
 */
import { csv, defineJob, standardize } from "lockstep";

export default defineJob({ units: 64, rate: 0.003 }, ({ units, rate }) => ({
  name: "friedman",
  seed: 2,
  data: csv("friedman.tra", { label: "y" }),
  preprocess: { features: standardize() },
  validation: { fraction: 0.2 },
  model: (tf, { features }) =>
    tf.sequential({
      layers: [
        tf.layers.dense({ units, activation: "relu", inputShape: [...features] }),
        tf.layers.dense({ units, activation: "relu" }),
        tf.layers.dense({ units: 1 }),
      ],
    }),
  compile: {
    optimizer: { kind: "adam", learningRate: { kind: "cosine", initial: rate }, weightDecay: 0.02 },
    loss: "meanSquaredError",
    metrics: ["meanAbsoluteError"],
  },
  checkpoint: { monitor: "val_loss" },
  batchSize: 64,
  epochs: 60,
  test: csv("friedman.tes", { label: "y" }),
}));
