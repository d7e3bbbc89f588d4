/** Randomness inside a step belongs to (seed, step, shard), and is made natively where the engine can. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RandomStream } from "../../src/core/random.ts";
import { seeded } from "../../src/runtime/seeded.ts";
import { testEngine } from "../fixtures/engine.ts";

type Draw = "dropout" | "uniform" | "normal" | "truncated";

/** What a step draws, and how many numbers JavaScript had to draw for that. */
async function drawn(kind: Draw, stream: RandomStream, size = 20_000, seed?: number) {
  const { tf, record } = await testEngine();
  let draws = 0;
  const counted = Object.assign(Object.create(stream) as RandomStream, {
    nextFloat: () => {
      draws++;
      return stream.nextFloat();
    },
  });
  const step = record("random", ([ones]) => {
    switch (kind) {
      case "dropout":
        return [tf.dropout(ones!, 0.25, undefined, seed)];
      case "uniform":
        return [tf.randomUniform([size], -1, 3, "float32", seed)];
      case "normal":
        return [tf.randomNormal([size], 5, 2, "float32", seed)];
      case "truncated":
        return [tf.truncatedNormal([size], 0, 1, "float32", seed)];
    }
  });
  const ones = tf.ones([size]);
  const [result] = seeded(counted, () => step([ones]));
  const values = result!.dataSync<"float32">().slice();
  tf.dispose([ones, result!]);
  return { values, draws };
}

const mean = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0) / values.length;
const stream = (step: number, shard = 0) => new RandomStream(1, "step", step, shard);

test("a step's random tensors are a function of its stream, another for every step and shard", async () => {
  for (const kind of ["dropout", "uniform", "normal", "truncated"] as const) {
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
});

test("the native engine makes no random tensor element by element in JavaScript", async (context) => {
  const { description } = await testEngine();
  if (description.kind !== "native") return context.skip("this machine has no native engine");
  for (const kind of ["dropout", "uniform", "normal", "truncated"] as const) {
    const { draws } = await drawn(kind, stream(1));
    assert.ok(draws <= 4, `${kind}: ${draws} draws`);
  }
});

test("after the step TensorFlow.js is as it was", async () => {
  const { tf } = await testEngine();
  const before = [tf.dropout, tf.randomUniform, tf.randomNormal, tf.truncatedNormal];
  await drawn("dropout", stream(1));
  assert.deepEqual([tf.dropout, tf.randomUniform, tf.randomNormal, tf.truncatedNormal], before);
});
