/** Which of the states that wait for a checkpoint gets one next. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { initialProgress } from "../../src/core/progress.ts";
import { nextToPublish, type Point } from "../../src/runtime/point.ts";

/** "b1+" is a boundary that all have agreed on, "s2" a save that they have not. */
function point(text: string): Point {
  return {
    kind: text.startsWith("b") ? "boundary" : "save",
    periodic: false,
    release: null,
    name: text,
    generation: 1,
    progress: initialProgress(1, 1),
    state: { lineage: 1, era: 1, step: 0, epoch: 0, digest: "" },
    weightsDigest: "",
    end: null,
    content: () => {
      throw new Error("is not written");
    },
    agreed: text.endsWith("+"),
  };
}

const cases: readonly [points: string, next: string | null][] = [
  ["", null],
  ["s1", null],
  ["b1", null],
  ["s1+", "s1+"],
  ["s1+ s2", "s1+"],
  ["s1+ s2+ s3+ s4", "s3+"],
  ["s1+ s2+ b3+ s4+", "b3+"],
  ["b1+ s2+ b3+", "b1+"],
  ["s1 b2+", null],
];

for (const [points, next] of cases) {
  test(`of ${points === "" ? "nothing" : points} the next to publish is ${next ?? "none"}`, () => {
    const list = points.split(" ").filter((text) => text !== "");
    assert.equal(nextToPublish(list.map(point))?.name ?? null, next);
  });
}
