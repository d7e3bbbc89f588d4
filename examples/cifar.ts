/**
 * CIFAR-10: photographs of 32 × 32 pixels in ten classes, with a residual network (He et al., 2015): three stages of 16, 32 and 64
 * channels. The files are not part of lockstep: get "CIFAR-10 binary version" where it is published, unpack it, and name the
 * folder with the batches: `lockstep launch examples/cifar.ts --data cifar-10-batches-bin`. `--param blocks=3` is the paper's
 * ResNet-20, its 64,000 steps are `--set epochs=164`.
 */
import type { SymbolicTensor } from "@tensorflow/tfjs";
import { cifar, crop, defineJob, flip, oneHot, scale } from "lockstep";

export default defineJob({ blocks: 1, rate: 0.1 }, ({ blocks, rate }) => ({
  name: "cifar",
  seed: 1,
  data: cifar("data_batch_*.bin", { classes: 10 }),
  augment: [flip("horizontal"), crop({ padding: 4 })],
  preprocess: { features: scale(1 / 255), label: oneHot(10) },
  validation: { fraction: 0.1, stratify: true },
  model: (tf, { features }) => {
    const conv = (filters: number, kernelSize: number, strides: number) =>
      tf.layers.conv2d({
        ...{ filters, kernelSize, strides, padding: "same", useBias: false, kernelInitializer: "heNormal" },
        kernelRegularizer: tf.regularizers.l2({ l2: 1e-4 }),
      });
    const apply = (layer: ReturnType<typeof conv>, to: SymbolicTensor) => layer.apply(to) as SymbolicTensor;
    const normalized = (from: SymbolicTensor) => tf.layers.batchNormalization().apply(from) as SymbolicTensor;
    const active = (from: SymbolicTensor) => tf.layers.activation({ activation: "relu" }).apply(from) as SymbolicTensor;
    const block = (from: SymbolicTensor, filters: number, strides: number) => {
      const inner = active(normalized(apply(conv(filters, 3, strides), from)));
      const outer = normalized(apply(conv(filters, 3, 1), inner));
      // Where the shape changes, the way past the block changes it too.
      const past = from.shape[3] === filters ? from : normalized(apply(conv(filters, 1, strides), from));
      return active(tf.layers.add().apply([outer, past]) as SymbolicTensor);
    };
    const inputs = tf.input({ shape: [...features] });
    let there = active(normalized(apply(conv(16, 3, 1), inputs)));
    for (const [stage, filters] of [16, 32, 64].entries()) {
      for (let i = 0; i < blocks; i++) there = block(there, filters, stage > 0 && i === 0 ? 2 : 1);
    }
    const pooled = tf.layers.globalAveragePooling2d({}).apply(there) as SymbolicTensor;
    const outputs = tf.layers.dense({ units: 10, activation: "softmax" }).apply(pooled) as SymbolicTensor;
    return tf.model({ inputs, outputs });
  },
  compile: {
    optimizer: { kind: "sgd", learningRate: { kind: "cosine", initial: rate, warmup: { epochs: 1 } }, momentum: 0.9 },
    loss: "categoricalCrossentropy",
    metrics: ["accuracy"],
  },
  checkpoint: { monitor: "val_accuracy", mode: "max" },
  batchSize: 128,
  epochs: 30,
  test: cifar("test_batch.bin", { classes: 10 }),
}));
