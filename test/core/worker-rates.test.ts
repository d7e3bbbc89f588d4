import assert from "node:assert/strict";
import { test } from "node:test";
import { WorkerRates } from "../../src/core/worker-rates.ts";

const report = (workerId: string, step: number, generation = 1) => ({
  ...{ workerId, generation, step, samplesPerSecond: 100 },
});
const at = (ms: number) => ({ monotonicMs: ms, wallMs: 1_000_000 + ms });

test("a worker's step time is the time between two reports by the steps between them", () => {
  const rates = new WorkerRates();
  for (let ms = 0; ms <= 4000; ms += 100) rates.note(report("a", ms / 50), at(ms));
  assert.deepEqual(
    rates.ring.items.map(({ step, stepMs }) => [step, stepMs]),
    [
      [40, 50],
      [80, 50],
    ],
  );
});

test("the time in which a membership changed is no step time", () => {
  const rates = new WorkerRates();
  rates.note(report("a", 1), at(0));
  rates.note(report("a", 2, 2), at(60_000));
  rates.note(report("a", 42, 2), at(62_000));
  assert.deepEqual(
    rates.ring.items.map(({ stepMs }) => stepMs),
    [50],
  );
});

test("what is kept is bounded in time and in workers, and rows keep their numbers", () => {
  const rates = new WorkerRates();
  for (let ms = 0; ms <= 900_000; ms += 2000) {
    for (let worker = 0; worker < 70; worker += 1) rates.note(report(`w${worker}`, ms), at(ms));
  }
  const { first, items } = rates.ring;
  assert.ok(items.length <= 64 * 151, String(items.length));
  assert.equal(first + items.length, 64 * 450);
  assert.equal(new Set(items.map(({ workerId }) => workerId)).size, 64);
});
