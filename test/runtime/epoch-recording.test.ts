/** Showing epochs to whoever watches: at most once a term, and never at training's expense. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { initialProgress } from "../../src/core/progress.ts";
import type { EpochLog, LoggedBoundary } from "../../src/ports/epoch-log.ts";
import type { Log } from "../../src/ports/log.ts";
import { EpochRecording } from "../../src/runtime/epoch-recording.ts";
import type { Point } from "../../src/runtime/point.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";

function recordingWith(record: EpochLog["record"]) {
  const warnings: string[] = [];
  const quiet = () => {};
  const log: Log = { debug: quiet, info: quiet, error: quiet, warn: (line) => warnings.push(line), with: () => log };
  const clock = new ManualClock();
  const gradient = async () => Float32Array.of(1, 2, 3);
  const parameters = [
    { name: "kernel", shape: [3], size: 3, offset: 0 },
    { name: "mean", shape: [1], size: 1, offset: 3 },
  ];
  const info = { parameters, trainableCount: 3 };
  return {
    recording: new EpochRecording({ epochLog: { record }, compute: { gradient }, info, clock, log }),
    warnings,
    clock,
  };
}

function pointAt(epoch: number, kind: Point["kind"] = "boundary"): Point {
  const progress = { ...initialProgress(1, 1), epoch, step: epoch * 10 };
  const state = { lineage: 1, era: 1, step: progress.step, epoch, digest: "" };
  return { kind, progress, state } as Point; // nothing else of it is looked at
}

test("a boundary is recorded once a term, and what is no boundary never", async () => {
  const recorded: [number, number][] = [];
  const names: (readonly string[])[] = [];
  const { recording } = recordingWith(async ({ token, gradients }: LoggedBoundary) => {
    recorded.push([token, (await gradients())!.length]);
    names.push((await gradients())!.map(({ name }) => name));
  });
  for (const [epoch, token] of [
    [1, 7],
    [1, 7],
    [2, 7],
    [2, 9],
  ] as const)
    await recording.record(pointAt(epoch), token);
  await recording.record(pointAt(3, "save"), 9);
  assert.deepEqual(recorded, [
    [7, 1],
    [7, 1],
    [9, 1],
  ]);
  assert.deepEqual(names[0], ["kernel"], "a layer's statistics have no gradient");
});

test("what cannot be written is one warning, however often, until it can be again", async () => {
  let fails = true;
  const { recording, warnings } = recordingWith(async () => {
    if (fails) throw new Error("no space");
  });
  for (const epoch of [1, 2, 3]) await recording.record(pointAt(epoch), 7);
  assert.equal(warnings.length, 1);
  fails = false;
  await recording.record(pointAt(4), 7);
  fails = true;
  await recording.record(pointAt(5), 7);
  assert.equal(warnings.length, 2);
});

test("a folder that does not answer holds nobody up for longer than its time, and is not asked meanwhile", async () => {
  let asked = 0;
  let answer = () => {};
  const { recording, warnings, clock } = recordingWith(() => {
    asked++;
    return new Promise<void>((resolve) => {
      answer = resolve;
    });
  });
  const first = recording.record(pointAt(1), 7);
  await clock.advance(2000);
  await first;
  assert.equal(warnings.length, 1);
  await recording.record(pointAt(2), 7);
  assert.equal(asked, 1);
  answer();
  await new Promise((resolve) => setImmediate(resolve));
  const third = recording.record(pointAt(3), 7);
  answer();
  await third;
  assert.equal(asked, 2);
});
