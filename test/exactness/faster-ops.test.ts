/** What a graph says in other ops than TensorFlow.js does: they are there, and give the same numbers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Scalar, Tensor } from "@tensorflow/tfjs";
import { currentRecorder } from "../../src/adapters/tfjs/recorder.ts";
import type { Step } from "../../src/ports/engine.ts";
import { testEngine } from "../fixtures/engine.ts";

/** What comes out of a step as a graph and op by op, and the graph's ops. */
async function bothWays(shapeOfState: number[], inputs: readonly Tensor[], step: Step) {
  const { tf, hold } = await testEngine();
  const state = hold([shapeOfState]);
  state.load([tf.randomNormal(shapeOfState, 0, 1, "float32", 3).dataSync<"float32">()]);
  const ops = new Set<string>();
  const recorded = state.record("step", (weights, given) => {
    const outputs = step(weights, given);
    const nodes = currentRecorder()?.nodes.all as { getOp(): string }[] | undefined; // messages of TensorFlow's
    for (const node of nodes ?? []) ops.add(node.getOp());
    return outputs;
  });
  const graph = recorded.run(inputs).map((tensor) => tensor.dataSync<"float32">());
  const opByOp = tf.tidy(() => step(state.tensors(), inputs).map((tensor) => tensor.dataSync<"float32">()));
  return { graph, opByOp, ops };
}

test("what comes back through a relu is one op of the graph, with the same bits, negative zeros included", async (context) => {
  const { tf, description } = await testEngine();
  if (description.kind !== "native") return context.skip("this machine has no native engine");
  const x = tf.tensor1d([-3, -0, 0, 1e-45, 2, Number.POSITIVE_INFINITY, -1e30, 5, 0.5]);
  const back = tf.tensor1d([1, 2, 3, 4, -5, 6, -7, -0, 8]);
  const { graph, opByOp, ops } = await bothWays([1], [x, back], (_, [input, gradient]) => [
    tf.grad((values) => tf.relu(values))(input!, gradient!),
  ]);
  assert.ok(ops.has("ReluGrad"), [...ops].join(" "));
  assert.deepEqual(graph, opByOp);
  assert.ok(graph[0]!.some((value) => Object.is(value, -0)));
});

test("the gradient of tile is the sum over its copies, whichever axes are repeated", async () => {
  const { tf } = await testEngine();
  for (const [shape, reps] of [
    [[3], [4]],
    [[3], [1]],
    [
      [1, 3],
      [5, 1],
    ],
    [
      [2, 1, 3],
      [1, 4, 2],
    ],
    [
      [2, 3, 1, 2],
      [2, 1, 3, 2],
    ],
    [
      [1, 1, 1],
      [2, 3, 4],
    ],
  ] as const) {
    const tiled = shape.map((size, axis) => size * reps[axis]!);
    const x = tf.zeros([...shape]);
    // Whole numbers: their sums are the same in any order.
    const back = tf
      .range(
        0,
        tiled.reduce((product, size) => product * size, 1),
      )
      .reshape(tiled);
    const gradient = tf.grad((given) => tf.tile(given, [...reps]))(x, back);
    assert.deepEqual(gradient.shape, shape);
    const expected = new Float32Array(x.size);
    const values = back.dataSync<"float32">();
    values.forEach((value, at) => {
      let [rest, into, stride] = [at, 0, 1];
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        into += ((rest % tiled[axis]!) % shape[axis]!) * stride;
        stride *= shape[axis]!;
        rest = Math.floor(rest / tiled[axis]!);
      }
      expected[into]! += value;
    });
    assert.deepEqual(gradient.dataSync<"float32">(), expected, `${shape} times ${reps}`);
  }
});

test("a layer normalization's gradient has as many operations for many places as for few", async (context) => {
  const { tf, description } = await testEngine();
  if (description.kind !== "native") return context.skip("this machine has no native engine");
  const counts = [2, 50].map((places) => {
    const layer = tf.layers.layerNormalization();
    const x = tf.randomNormal([3, places, 4], 0, 1, "float32", 5);
    layer.build(x.shape);
    let operations = 0;
    const count = tf.engine().backend as unknown as { executeSingleOutput: (...words: unknown[]) => unknown };
    const { executeSingleOutput } = count;
    count.executeSingleOutput = (...words) => {
      operations++;
      return Reflect.apply(executeSingleOutput, count, words);
    };
    try {
      tf.tidy(() => tf.variableGrads(() => (layer.apply(x) as Tensor).square().sum<Scalar>()));
    } finally {
      count.executeSingleOutput = executeSingleOutput;
    }
    return operations;
  });
  assert.ok(counts[0]! > 0);
  assert.equal(counts[1], counts[0]);
});
