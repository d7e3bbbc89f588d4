import assert from "node:assert/strict";
import { test } from "node:test";
import type { Compute } from "../../src/ports/compute.ts";
import { HeldState } from "../../src/runtime/held-state.ts";
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

test("whenever it is made ready, the next copy needs no pages from the system", async () => {
  const length = 16 * 1024 * 1024;
  const half = (length / 2) * Float32Array.BYTES_PER_ELEMENT;
  const memory = new StateMemory(length);
  // Held, so that the system gets none of it back meanwhile.
  const held: Float32Array[] = [];
  /** By how much writing to the next copy adds to this process' memory, however large the system's pages are. */
  const grownByNext = (): number => {
    const values = memory.take();
    held.push(values);
    const before = process.memoryUsage.rss();
    values.fill(1);
    return process.memoryUsage.rss() - before;
  };
  // The second one is new too: the first is not given back.
  for (let copy = 0; copy < 2; copy++) {
    await memory.prepare();
    assert.ok(grownByNext() < half);
  }
  assert.ok(grownByNext() > half, "which was not made ready");
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

/** More than any machine has. */
const absurd = 2 ** 51;

test("memory that could not be made ready is tried for again", async () => {
  const memory = new StateMemory(absurd);
  await assert.rejects(memory.prepare(), RangeError);
  await assert.rejects(memory.prepare(), RangeError, "and was not left as being prepared");
});

test("that memory cannot be made ready is said to whoever takes a copy, and to nobody else", async (context) => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on("unhandledRejection", note);
  context.after(() => process.off("unhandledRejection", note));
  // It is not asked for anything before there is memory.
  const held = new HeldState({} as Compute, { weightCount: absurd, trainableCount: 0, slotNames: [] });
  held.prepareCopies();
  // Node tells of unhandled rejections before the next immediate.
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(unhandled, []);
  await assert.rejects(async () => held.resting(), RangeError);
});
