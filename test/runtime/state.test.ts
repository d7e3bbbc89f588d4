import assert from "node:assert/strict";
import { test } from "node:test";
import type { CheckpointContent, NamedTensor } from "../../src/ports/checkpoint-storage.ts";
import { contentToSnapshot } from "../../src/runtime/state.ts";

const parameters = [
  { name: "kernel", shape: [2, 2], size: 4, offset: 0 },
  { name: "bias", shape: [2], size: 2, offset: 4 },
  { name: "mean", shape: [1], size: 1, offset: 6 },
];
const layout = { weightCount: 7, trainableCount: 6, slotNames: ["m", "v"], parameters };
const length = 7 + 2 * 6;

/** What storage gives: tensors in one piece of memory, which begins with something else. */
function contentIn(row: Float32Array): CheckpointContent {
  let begin = 0;
  const tensor = (name: string, shape: readonly number[]): NamedTensor => {
    const size = shape.reduce((a, b) => a * b, 1);
    begin += size;
    return { name, shape, values: row.subarray(begin - size, begin) };
  };
  const weights = parameters.map(({ name, shape }) => tensor(name, shape));
  const slots = (slot: string) => parameters.slice(0, 2).map(({ name, shape }) => tensor(`${slot}/${name}`, shape));
  return {
    manifest: { id: "one" } as CheckpointContent["manifest"], // the rest is of no interest here
    weights,
    optimizer: [...slots("m"), ...slots("v")],
    state: { progress: "{}" },
  };
}

const row = () => Float32Array.from({ length: length + 3 }, (_, i) => i - 3).subarray(3);

test("a state that lies in memory as the model has it is taken as it lies there", () => {
  const values = row();
  const taken = contentToSnapshot(contentIn(values), layout).values;
  assert.equal(taken.buffer, values.buffer);
  assert.deepEqual(taken, values);
});

test("a state that lies otherwise is copied into the model's order", () => {
  const content = contentIn(row());
  const elsewhere = content.weights.map((tensor) => ({ ...tensor, values: tensor.values.slice() }));
  const [m, ...slots] = content.optimizer;
  const moved = { ...m!, values: row().subarray(7, 11) };
  const contents: readonly CheckpointContent[] = [
    { ...content, weights: elsewhere },
    { ...content, weights: [...elsewhere].reverse() },
    { ...content, optimizer: [moved, ...slots] },
  ];
  for (const other of contents) {
    const { values } = contentToSnapshot(other, layout);
    assert.deepEqual(values, row());
    assert.notEqual(values.buffer, content.weights[0]!.values.buffer);
  }
});

test("a row that another order of the slots would make is not taken for the model's", () => {
  const { values } = contentToSnapshot(contentIn(row()), { ...layout, slotNames: ["v", "m"] });
  assert.deepEqual(values, Float32Array.from([0, 1, 2, 3, 4, 5, 6, 13, 14, 15, 16, 17, 18, 7, 8, 9, 10, 11, 12]));
});
