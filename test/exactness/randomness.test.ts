/** Randomness inside a step belongs to (seed, step, shard), and is made natively where the engine can. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Tensor } from "@tensorflow/tfjs";
import type { OpRunner } from "../../src/adapters/tfjs/native-random.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { RandomStream } from "../../src/core/random.ts";
import { seeded } from "../../src/ports/seeded.ts";
import { testEngine } from "../fixtures/engine.ts";

const draws = ["dropout", "uniform", "normal", "truncated", "multinomial"] as const;
type Draw = (typeof draws)[number];

/** What a step draws, and how many numbers JavaScript had to draw for that. */
async function drawn(kind: Draw, stream: RandomStream, size = 20_000, seed?: number) {
  const { tf, hold } = await testEngine();
  let draws = 0;
  const counted = Object.assign(Object.create(stream) as RandomStream, {
    nextFloat: () => {
      draws++;
      return stream.nextFloat();
    },
  });
  const step = hold([]).record("random", (_, [ones]) => {
    switch (kind) {
      case "dropout":
        return [tf.dropout(ones!, 0.25, undefined, seed)];
      case "uniform":
        return [tf.randomUniform([size], -1, 3, "float32", seed)];
      case "normal":
        return [tf.randomNormal([size], 5, 2, "float32", seed)];
      case "truncated":
        return [tf.truncatedNormal([size], 0, 1, "float32", seed)];
      case "multinomial":
        // Drawn twice: a generator that goes on from call to call would show.
        return [tf.concat([tf.multinomial([1, 2, 3], size, seed), tf.multinomial([1, 2, 3], size, seed)])];
    }
  });
  const ones = tf.ones([size]);
  const [result] = seeded(counted, () => step.run([ones]));
  const values = result!.dataSync<"float32">().slice();
  tf.dispose([ones, result!]);
  return { values, draws };
}

const mean = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0) / values.length;
const stream = (step: number, shard = 0) => new RandomStream(1, "step", step, shard);

test("a step's random tensors are a function of its stream, another for every step and shard", async () => {
  for (const kind of draws) {
    const { values } = await drawn(kind, stream(3));
    assert.deepEqual((await drawn(kind, stream(3))).values, values);
    assert.notDeepEqual((await drawn(kind, stream(4))).values, values);
    assert.notDeepEqual((await drawn(kind, stream(3, 1))).values, values);
  }
});

test("a seed of the layer's own gives another mask, and still another one in every step", async () => {
  const own = (step: number, seed?: number) => drawn("dropout", stream(step), 1000, seed).then(({ values }) => values);
  assert.deepEqual(await own(3, 7), await own(3, 7));
  assert.notDeepEqual(await own(3, 7), await own(4, 7));
  assert.notDeepEqual(await own(3, 7), await own(3, 8));
  const sampled = (step: number, seed: number) => drawn("multinomial", stream(step), 100, seed).then((x) => x.values);
  assert.deepEqual(await sampled(3, 7), await sampled(3, 7));
  assert.notDeepEqual(await sampled(3, 7), await sampled(3, 8));
});

test("they are distributed as TensorFlow.js says", async () => {
  const { values: mask } = await drawn("dropout", stream(1));
  assert.deepEqual([...new Set(mask)].sort(), [0, Math.fround(4 / 3)]);
  assert.ok(Math.abs(mean(mask) - 1) < 0.02);
  const { values: uniform } = await drawn("uniform", stream(1));
  assert.ok(Math.min(...uniform) >= -1 && Math.max(...uniform) < 3 && Math.abs(mean(uniform) - 1) < 0.05);
  const { values: normal } = await drawn("normal", stream(1));
  assert.ok(Math.abs(mean(normal) - 5) < 0.1);
  assert.ok(Math.abs(mean(normal.map((value) => (value - 5) ** 2)) - 4) < 0.2);
  const { values: truncated } = await drawn("truncated", stream(1));
  assert.ok(Math.max(...truncated.map(Math.abs)) <= 2);
  const { values: classes } = await drawn("multinomial", stream(1));
  const total = [1, 2, 3].reduce((sum, logit) => sum + Math.exp(logit), 0);
  for (const value of [0, 1, 2]) {
    const share = classes.filter((one) => one === value).length / classes.length;
    assert.ok(Math.abs(share - Math.exp(value + 1) / total) < 0.02, `class ${value}: ${share}`);
  }
  const { tf } = await testEngine();
  const [sampled] = [tf.multinomial([0.2, 0.8], 10_000, 1, true)];
  assert.ok(Math.abs(sampled!.mean().dataSync()[0]! - 0.8) < 0.03, "probabilities may be given instead of logarithms");
});

test("an op of TensorFlow's that keeps a generator of its own is refused; one that fails says why", async (context) => {
  const { tf, description } = await testEngine();
  if (description.kind !== "native") return context.skip("this machine has no native engine");
  const backend = tf.backend() as unknown as OpRunner; // the Node backend's, see native-random.ts
  const run = (op: string, inputs: Tensor[]) => () => backend.executeSingleOutput(op, [], inputs);
  for (const op of ["RandomUniform", "RandomStandardNormal", "TruncatedNormal", "Multinomial", "RandomShuffle"]) {
    assert.throws(run(op, []), (error) => {
      assert.ok(error instanceof LockstepError && error.code === "invalid-job");
      assert.match(error.message, new RegExp(`TensorFlow's op ${op}, whose random numbers depend on`));
      return true;
    });
  }
  assert.throws(run("NoSuchOp", []), /^Error: TensorFlow's op NoSuchOp says: .*NoSuchOp/);
});

test("a job that keeps Math.random still draws from the stream of whoever computes", () => {
  const { random } = Math;
  const numbers = (step: number) => seeded(stream(step), () => [random(), random()]);
  assert.deepEqual(numbers(3), numbers(3));
  assert.notDeepEqual(numbers(3), numbers(4));
  assert.notEqual(random(), random(), "outside of that it is random");
});

test("the native engine makes no random tensor element by element in JavaScript", async (context) => {
  const { description } = await testEngine();
  if (description.kind !== "native") return context.skip("this machine has no native engine");
  for (const kind of draws) {
    const { draws: drawnInJavaScript } = await drawn(kind, stream(1));
    assert.ok(drawnInJavaScript <= 6, `${kind}: ${drawnInJavaScript} draws`);
  }
});

test("after the step TensorFlow.js is as it was", async () => {
  const { tf } = await testEngine();
  const before = [tf.dropout, tf.randomUniform, tf.randomNormal, tf.truncatedNormal];
  await drawn("dropout", stream(1));
  assert.deepEqual([tf.dropout, tf.randomUniform, tf.randomNormal, tf.truncatedNormal], before);
});
