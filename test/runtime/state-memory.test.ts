import assert from "node:assert/strict";
import { test } from "node:test";
import { bothDigestsOf, digestOf, weightsDigestOf } from "../../src/runtime/state.ts";
import { StateMemory } from "../../src/runtime/state-memory.ts";

test("memory of a saved state is used again once it is given back, and never before", async () => {
  const memory = new StateMemory(10);
  await memory.prepare();
  const first = memory.take();
  const second = memory.take();
  assert.notEqual(first.buffer, second.buffer);
  memory.giveBack(first);
  // Given back twice, it is still lent to one only.
  memory.giveBack(first);
  assert.equal(memory.take(), first);
  assert.notEqual(memory.take(), first);
});

test("memory of somebody else's is not taken in", () => {
  const memory = new StateMemory(10);
  const foreign = new Float32Array(10);
  memory.giveBack(foreign);
  assert.notEqual(memory.take(), foreign);
});

test("digests that are taken in slices are those of the whole", async () => {
  // More than one slice each of weights and slots, and no whole number of them.
  const weightCount = 300_001;
  const snapshot = { progress: "{}", values: Float32Array.from({ length: 3 * weightCount }, (_, i) => i * 0.1) };
  const expected = { state: digestOf(snapshot), weights: weightsDigestOf(snapshot, { weightCount }) };
  assert.deepEqual(await bothDigestsOf(snapshot, { weightCount }), expected);
});
