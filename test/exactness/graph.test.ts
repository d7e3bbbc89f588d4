/** The digest of a step's graph: equal for equal meaning, different for whatever changes what is computed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Tensor } from "@tensorflow/tfjs";
import { graphDigest } from "../../src/adapters/tfjs/probe.ts";
import type { JobDefinition } from "../../src/core/job.ts";
import { RandomStream } from "../../src/core/random.ts";
import { PreparedData } from "../../src/runtime/prepared-data.ts";
import { TrainingProgram } from "../../src/runtime/training-program.ts";
import { testEngine } from "../fixtures/engine.ts";
import { points, pointsJob } from "../fixtures/trainers.ts";

/** A model with a layer whose configuration says nothing of what it does. */
function modelWith(
  act: (tf: Parameters<JobDefinition["model"]>[0], x: Tensor, training: boolean) => Tensor,
): JobDefinition["model"] {
  return (tf, { features }) => {
    class Own extends tf.layers.Layer {
      static readonly className = "Own";
      override call(inputs: Tensor | Tensor[], { training }: { training?: boolean }): Tensor {
        return act(tf, Array.isArray(inputs) ? inputs[0]! : inputs, training === true);
      }
    }
    return tf.sequential({
      layers: [
        tf.layers.dense({ units: 4, inputShape: [...features] }),
        new Own({}),
        tf.layers.dense({ units: 3, activation: "softmax" }),
      ],
    });
  };
}

async function digestOf(changes: Partial<JobDefinition>): Promise<string> {
  const engine = await testEngine();
  const job = pointsJob(changes);
  const data = new PreparedData(points(30), job);
  const program = new TrainingProgram(engine, job, data.shapes);
  const batch = { count: 1, features: new Float32Array(6), label: new Float32Array(3) };
  return graphDigest(engine, () => program.trace(batch, new RandomStream(0, "step")));
}

test("the graph of a step has one digest, which changes with its ops, their attributes and their constants", async () => {
  const half = await digestOf({ model: modelWith((_, x) => x.mul(0.5)) });
  assert.equal(await digestOf({ model: modelWith((_, x) => x.mul(0.5)) }), half);
  const others = [
    await digestOf({ model: modelWith((_, x) => x.mul(0.25)) }),
    await digestOf({ model: modelWith((_, x) => x.add(0.5)) }),
    await digestOf({ model: modelWith((tf, x) => tf.leakyRelu(x, 0.1)) }),
    await digestOf({ model: modelWith((tf, x) => tf.leakyRelu(x, 0.2)) }),
    await digestOf({
      model: modelWith((_, x) => x.mul(0.5)),
      compile: { optimizer: { kind: "sgd", learningRate: 1 }, loss: "meanSquaredError" },
    }),
  ];
  assert.equal(new Set([half, ...others]).size, others.length + 1);
});

test("what only validation computes is in the digest too", async () => {
  const whenValidating = (factor: number) =>
    digestOf({ model: modelWith((_, x, training) => (training ? x : x.mul(factor))) });
  assert.equal(await whenValidating(2), await whenValidating(2));
  assert.notEqual(await whenValidating(2), await whenValidating(3));
});

test("the digest leaves the engine as it was", async () => {
  const { tf } = await testEngine();
  await digestOf({});
  assert.equal(Object.hasOwn(tf.engine(), "runKernel"), false);
  assert.equal(Object.hasOwn(tf.engine(), "makeTensor"), false);
});
