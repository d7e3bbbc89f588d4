/**
 * MNIST: handwritten digits of 28 × 28 pixels, with a small convolutional network. The four files are not part of lockstep: get
 * them where MNIST is published (Fashion-MNIST, KMNIST and others have files of the same names), put them as they are into one
 * folder, and name it: `lockstep launch examples/mnist.ts --data DIR`. Images of any size will do.
 */
import { defineJob, idx, oneHot, scale } from "lockstep";

export default defineJob({
  name: "mnist",
  seed: 7,
  data: idx({ features: "train-images-idx3-ubyte.gz", labels: "train-labels-idx1-ubyte.gz", channels: true }),
  preprocess: { features: scale(1 / 255), label: oneHot(10) },
  validation: { fraction: 0.1 },
  model: (tf, shapes) =>
    tf.sequential({
      layers: [
        tf.layers.conv2d({
          ...{ filters: 16, kernelSize: 3, padding: "same", activation: "relu" },
          inputShape: [...shapes.features],
        }),
        tf.layers.maxPooling2d({ poolSize: 2 }),
        tf.layers.conv2d({ filters: 32, kernelSize: 3, padding: "same", activation: "relu" }),
        tf.layers.maxPooling2d({ poolSize: 2 }),
        tf.layers.flatten(),
        tf.layers.dense({ units: 64, activation: "relu" }),
        tf.layers.dropout({ rate: 0.4 }),
        tf.layers.dense({ units: 10, activation: "softmax" }),
      ],
    }),
  compile: {
    optimizer: { kind: "adam", learningRate: 0.001 },
    loss: "categoricalCrossentropy",
    metrics: ["accuracy"],
  },
  checkpoint: { monitor: "val_accuracy", mode: "max" },
  batchSize: 128,
  epochs: 5,
  test: idx({ features: "t10k-images-idx3-ubyte.gz", labels: "t10k-labels-idx1-ubyte.gz", channels: true }),
});
