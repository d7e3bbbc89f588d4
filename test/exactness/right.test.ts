/** Right, not only equal: the distributed step against a plain TensorFlow.js loop over the whole batch. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JobDefinition } from "../../src/core/job.ts";
import { RandomStream } from "../../src/core/random.ts";
import { batchRange, epochOrder, splitSamples } from "../../src/core/sampler.ts";
import { seeded } from "../../src/runtime/seeded.ts";
import { testEngine } from "../fixtures/engine.ts";
import { points, pointsJob, train } from "../fixtures/trainers.ts";

const model: JobDefinition["model"] = (tf, { features }) =>
  tf.sequential({
    layers: [
      tf.layers.dense({
        units: 8,
        activation: "tanh",
        inputShape: [...features],
        kernelRegularizer: tf.regularizers.l2({ l2: 0.01 }),
      }),
      tf.layers.dense({ units: 3, activation: "softmax" }),
    ],
  });

test("after three epochs at S = 1 and S = 4, weights and losses agree with model.fit's own arithmetic to 1e-4", async () => {
  const { tf } = await testEngine();
  const job = pointsJob({
    model,
    compile: {
      optimizer: { kind: "sgd", learningRate: 0.1, momentum: 0.9 },
      loss: "categoricalCrossentropy",
      metrics: ["accuracy"],
    },
  });
  const dataset = points(103);
  const reference = seeded(new RandomStream(job.seed, "initial-weights"), () =>
    model(tf, { features: [6], label: [3] }),
  );
  reference.compile({ optimizer: tf.train.momentum(0.1, 0.9), loss: "categoricalCrossentropy", metrics: ["accuracy"] });
  const { training } = splitSamples(job.seed, dataset.length, job.validation);
  for (let epoch = 0; epoch < 3; epoch++) {
    const order = epochOrder(job.seed, epoch, training.length);
    for (let step = 0; step * job.batchSize < training.length; step++) {
      const { begin, end } = batchRange(training.length, job.batchSize, step * job.batchSize);
      const { count, features, label } = dataset.read(
        [...order.subarray(begin, end)].map((position) => training[position]!),
      );
      const x = tf.tensor2d(features, [count, 6]);
      const y = tf.oneHot(tf.tensor1d([...label], "int32"), 3);
      await reference.trainOnBatch(x, y);
      tf.dispose([x, y]);
    }
  }
  const expected = reference.getWeights().flatMap((weight) => [...weight.dataSync()]);
  for (const [shards, workers] of [
    [1, 1],
    [4, 1],
    [4, 3],
  ] as const) {
    const { snapshot } = await train(job, dataset, { shards, workers, epochs: 3 });
    const weights = [...snapshot.values.subarray(0, expected.length)];
    const worst = Math.max(
      ...weights.map((value, i) => Math.abs(value - expected[i]!) / (Math.abs(expected[i]!) + 1e-2)),
    );
    assert.ok(worst < 1e-4, `S = ${shards}, W = ${workers}: off by ${worst}`);
  }
});
