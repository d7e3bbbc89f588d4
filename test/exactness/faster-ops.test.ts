/** What a graph says in other ops than TensorFlow.js does: they are there, and give the same numbers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Tensor } from "@tensorflow/tfjs";
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
