import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../../src/ports/clock.ts";
import type { RunState } from "../../src/runtime/run-view.ts";
import { SaveClock } from "../../src/runtime/save-clock.ts";

function saves(everyMs: number) {
  let nowMs = 0;
  let votes = 0;
  const clock: Clock = {
    monotonicMs: () => nowMs,
    wallMs: () => 0,
    sleep: () => Promise.reject(new Error("nobody waits here")),
  };
  const saveClock = new SaveClock(clock, everyMs, () => votes++);
  /** `revision`: of `latest`. How many votes there were by then. */
  return (atMs: number, revision: number | null, leads = true): number => {
    nowMs = atMs;
    const latest = revision === null ? null : { modRevision: revision };
    saveClock.look({ latest } as Pick<RunState, "latest">, leads); // all of it that is read
    return votes;
  };
}

test("the leader votes for a save when none was published for so long, and once each time", () => {
  const look = saves(100);
  assert.deepEqual(
    [look(99, null), look(100, null), look(150, null), look(199, null), look(200, null)],
    [0, 1, 1, 1, 2],
  );
});

test("a checkpoint that is published, by whomever and for whatever reason, counts", () => {
  const look = saves(100);
  assert.deepEqual([look(90, 7), look(150, 7), look(189, 7), look(190, 7)], [0, 0, 0, 1]);
});

test("who does not lead does not vote, and who begins to lead counts from the last checkpoint", () => {
  const look = saves(100);
  assert.deepEqual([look(20, 7, false), look(500, 8, false), look(590, 8), look(600, 8)], [0, 0, 0, 1]);
});
