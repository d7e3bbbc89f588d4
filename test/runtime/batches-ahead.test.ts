/** Batches that another thread prepares are those that were expected, or are made here: never others. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BatchesAhead, type BatchRequest, prepareBatch } from "../../src/runtime/batches-ahead.ts";
import type { Batch } from "../../src/runtime/training-program.ts";

const shapes = { features: [2], label: [1] };
const weighted = { shapes, isWeighted: true };
/** A batch is a function of epoch and positions. */
const training = (positions: Uint32Array, epoch = 0): Batch => ({
  count: positions.length,
  features: Float32Array.from(
    { length: 2 * positions.length },
    (_, i) => 100 * epoch + positions[i >> 1]! + (i % 2) / 2,
  ),
  label: Float32Array.from(positions),
  weight: Float32Array.from(positions, (position) => position + epoch),
});
const at = (...positions: number[]) => Uint32Array.from(positions);

/** With a thread that does what it is asked when `work` is called, and is started as soon as it may be. */
function ahead({ isOpen = true, data = weighted, patienceMs = 1 } = {}) {
  const asked: BatchRequest[] = [];
  const told = { started: [] as number[], stopped: 0 };
  const batches = new BatchesAhead({
    data,
    mostSamples: 3,
    patienceMs,
    start: (part) => {
      told.started.push(part);
      return { isOpen, prepare: (request) => void asked.push(request), stop: () => void told.stopped++ };
    },
  });
  const work = (count = asked.length) => {
    for (const request of asked.splice(0, count)) prepareBatch({ training }, request);
  };
  return { batches, asked, told, work };
}

function slowSteps(batches: BatchesAhead): void {
  for (let i = 0; i < 20; i++) batches.stepped(5, 10);
}

test("what was expected for a step is there in it; anything else is made by whoever wants it", () => {
  const { batches, work } = ahead();
  slowSteps(batches);
  batches.expect(1, [at(4, 5, 6), at(7)]);
  work();
  assert.equal(batches.take(at(4, 5, 6), 1), null, "it is for the step after");
  batches.expect(1, [at(8), at(9)]);
  assert.deepEqual(batches.take(at(7), 1), training(at(7), 1));
  assert.deepEqual(batches.take(at(4, 5, 6), 1), training(at(4, 5, 6), 1));
  for (const [positions, epoch] of [
    [at(4, 5, 6), 2],
    [at(4, 5), 1],
    [at(4, 5, 7), 1],
    [at(8), 1],
  ] as const) {
    assert.equal(batches.take(positions, epoch), null, `${positions} of epoch ${epoch}`);
  }
});

test("what is read is not written: this step's batches stay while the next ones are prepared", () => {
  const { batches, work } = ahead();
  slowSteps(batches);
  batches.expect(0, [at(1, 2)]);
  work();
  batches.expect(0, [at(3, 4)]);
  const batch = batches.take(at(1, 2), 0);
  work();
  assert.deepEqual(batch, training(at(1, 2), 0));
});

test("a batch that the thread has not begun is made by whoever wants it, and not by both", () => {
  const { batches, told, asked, work } = ahead();
  slowSteps(batches);
  batches.expect(0, [at(1), at(2)]);
  work(1);
  batches.expect(0, []);
  assert.deepEqual(batches.take(at(1), 0), training(at(1), 0));
  assert.equal(batches.take(at(2), 0), null);
  const { slot } = asked[0]!;
  work();
  assert.deepEqual([...slot.features], Array(6).fill(0), "nothing was written");
  assert.equal(told.stopped, 0);
});

test("a request that nobody wants any more does not stand for the one that came after it in its place", () => {
  const { batches, asked, work } = ahead();
  slowSteps(batches);
  // A step is begun three times, as when generations change; the thread has done nothing yet.
  for (const positions of [at(1), at(2), at(3)]) batches.expect(0, [positions]);
  assert.equal(asked[0]!.slot, asked[2]!.slot, "or this shows nothing");
  batches.expect(0, []);
  work();
  assert.deepEqual(batches.take(at(3), 0), training(at(3), 0));
});

test("a thread that has begun a batch and does not end is given up, and what it does later is nobody's", () => {
  const { batches, asked, told } = ahead();
  slowSteps(batches);
  batches.expect(0, [at(1)]);
  Atomics.store(asked[0]!.slot.open, 0, 0); // as it begins
  batches.expect(0, [at(2)]);
  assert.equal(batches.take(at(1), 0), null);
  assert.equal(told.stopped, 1);
  batches.expect(0, []);
  assert.equal(batches.take(at(2), 0), null);
});

test("what fails in the thread is made by whoever wants it, who then says what is wrong", () => {
  const { batches, asked, told } = ahead();
  slowSteps(batches);
  batches.expect(0, [at(1)]);
  const failing = () => {
    throw new Error("a bad row");
  };
  assert.throws(() => prepareBatch({ training: failing }, asked[0]!), /a bad row/);
  batches.expect(0, []);
  assert.equal(batches.take(at(1), 0), null);
  assert.equal(told.stopped, 1);
});

test("a thread that would not help now is asked for again", () => {
  let answers = 0;
  const start = () => {
    answers++;
    return null;
  };
  const batches = new BatchesAhead({ data: weighted, mostSamples: 3, patienceMs: 1, start });
  for (let i = 0; i < 60; i++) batches.stepped(2, 10);
  assert.equal(answers, 3);
});

test("a thread is started once, where a tenth of twenty steps and more goes into batches, and asked once it is open", () => {
  const quick = ahead();
  for (let i = 0; i < 100; i++) quick.batches.stepped(0.9, 10);
  assert.deepEqual(quick.told.started, []);
  const slow = ahead();
  for (let i = 0; i < 19; i++) slow.batches.stepped(2, 10);
  assert.deepEqual(slow.told.started, []);
  for (let i = 0; i < 100; i++) slow.batches.stepped(2, 10);
  assert.deepEqual(slow.told.started, [0.2]);
  const opening = ahead({ isOpen: false });
  slowSteps(opening.batches);
  opening.batches.expect(0, [at(1)]);
  assert.equal(opening.asked.length, 0);
});

test("without weights a batch has none, and more samples than a shard has are not asked for", () => {
  const { batches, asked, work } = ahead({ data: { shapes, isWeighted: false } });
  slowSteps(batches);
  batches.expect(0, [at(1, 2, 3, 4), at(5)]);
  assert.equal(asked.length, 1);
  work();
  batches.expect(0, []);
  const { weight: _, ...without } = training(at(5), 0);
  assert.deepEqual(batches.take(at(5), 0), without);
});
