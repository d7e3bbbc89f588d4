import assert from "node:assert/strict";
import { test } from "node:test";
import { type LogLine, longestGap, recoveryFrom, repeatedSteps } from "../../src/core/log-reading.ts";

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

const stepsOf = (process: string, fromMs: number, ...steps: readonly number[]) =>
  steps.map((step, i) => line(fromMs + i, process, "step", { generation: 1, step }));

test("every committed step that is taken again counts, for each process that takes it", () => {
  const steps = [...stepsOf("a", 100, 1, 2, 3), ...stepsOf("b", 110, 1, 2, 3), ...stepsOf("a", 200, 2, 3, 4)];
  assert.equal(repeatedSteps(steps, 150), 2);
  assert.equal(repeatedSteps([...steps, ...stepsOf("b", 210, 3, 4)], 150), 3);
});

test("a process that was started again may take what the one before it had taken", () => {
  const steps = [...stepsOf("a", 100, 1, 2, 3), line(150, "a", "ready"), ...stepsOf("a", 200, 2, 3, 4)];
  assert.equal(repeatedSteps(steps, 120), 0);
});

test("a replay before a disturbance is neither a repetition nor a loss of that disturbance", () => {
  const replayed = ["a", "b"].flatMap((name) => stepsOf(name, 100, 23, 24, 25, 26, 20, 21));
  const after = ["a", "b"].map((name) => line(300, name, first, { generation: 2, step: 22 }));
  const all = [...replayed, ...after];
  assert.equal(repeatedSteps(all, 200), 0);
  assert.equal(recoveryFrom(all, { atMs: 200, generation: 1, survivors: ["a", "b"] }).stepsLost, 0);
});
