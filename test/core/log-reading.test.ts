import assert from "node:assert/strict";
import { test } from "node:test";
import { type LogLine, longestGap, recoveryFrom } from "../../src/core/log-reading.ts";

const line = (atMs: number, process: string, message: string, fields: Record<string, unknown> = {}): LogLine => ({
  ...{ atMs, process, message },
  ...fields,
});
const first = "first step of the generation";

const lines = [
  line(100, "a", first, { generation: 1, step: 1 }),
  line(110, "b", first, { generation: 1, step: 1 }),
  line(190, "a", "step", { generation: 1, step: 2 }),
  line(230, "a", "a peer is out of reach"),
  line(240, "coordinator", "forming", { generation: 2 }),
  line(260, "coordinator", "running", { generation: 2 }),
  line(270, "b", "took the state", { step: 2 }),
  line(290, "a", first, { generation: 2, step: 3 }),
  line(300, "b", first, { generation: 2, step: 3 }),
];

test("a recovery is read from the lines after the fault: detection, next generation, copies, everyone's first step", () => {
  const { times, generation, stepsLost } = recoveryFrom(lines, { atMs: 200, generation: 1, survivors: ["a", "b"] });
  assert.deepEqual(times, { detect: 30, form: 60, catchUp: 70, firstStep: 100 });
  assert.deepEqual([generation, stepsLost], [2, 0]);
});

test("a step that a survivor had committed and that is taken again is lost", () => {
  const again = lines.map((known) =>
    known.message === first && known.generation === 2 ? { ...known, step: 2 } : known,
  );
  assert.equal(recoveryFrom(again, { atMs: 200, generation: 1, survivors: ["a", "b"] }).stepsLost, 1);
});

test("while a survivor has not taken a step there is no first step", () => {
  const { times } = recoveryFrom(lines, { atMs: 200, generation: 1, survivors: ["a", "b", "c"] });
  assert.equal(times.firstStep, null);
});

test("a standstill until the end of the span is a gap", () => {
  assert.equal(longestGap(lines, ["a"], 100, 500), 210);
  assert.equal(longestGap(lines, ["c"], 100, 500), 400);
});
