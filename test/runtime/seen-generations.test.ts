/** Rule 7: what a process makes etcd know of when it was put back within a generation. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SeenGenerations } from "../../src/runtime/seen-generations.ts";

const first = { era: 1, after: 0 };

test("rule 7: put back within a generation, etcd knows less than was seen until an era is opened", () => {
  const seen = new SeenGenerations();
  assert.equal(seen.note(4, first, 0), false);
  assert.equal(seen.highest, 4);
  assert.equal(seen.note(4, first, 1), true);
  assert.equal(seen.highest, 5);
  assert.equal(seen.note(4, first, 1), false, "it is said once");
  // A coordinator that has noticed nothing forms the next one.
  assert.equal(seen.note(5, first, 1), true);
  assert.equal(seen.highest, 6);
  assert.equal(seen.note(5, { era: 2, after: 6 }, 1), true, "it is known of in this era, too");
  assert.equal(seen.note(7, { era: 2, after: 6 }, 1), false);
  assert.equal(seen.highest, 7);
});

test("rule 7: who notices it only when an era is open that follows takes part in that", () => {
  const seen = new SeenGenerations();
  seen.note(4, first, 0);
  assert.equal(seen.note(6, { era: 2, after: 5 }, 1), true);
  assert.equal(seen.note(6, { era: 2, after: 5 }, 1), false);
  assert.equal(seen.highest, 6);
});

test("rule 7: put back to before an era was opened, etcd knows too little, and what was announced is to be announced again", () => {
  const seen = new SeenGenerations();
  seen.note(6, { era: 2, after: 5 }, 0);
  assert.equal(seen.note(4, first, 1), true);
  assert.equal(seen.highest, 6);
});

test("rule 7: what an era is after counts as seen: a generation of before ends with it for those, too, who have noticed nothing", () => {
  const seen = new SeenGenerations();
  seen.note(4, first, 0);
  assert.equal(seen.note(4, { era: 2, after: 5 }, 0), true);
  assert.equal(seen.highest, 5);
});

test("rule 7: who has read nothing before has lost nothing, and before the first generation nobody has", () => {
  const seen = new SeenGenerations();
  assert.equal(seen.note(4, first, 1), false);
  assert.equal(seen.highest, 4);
  const early = new SeenGenerations();
  early.note(0, first, 0);
  assert.equal(early.note(0, first, 1), true, "its key may be gone");
  assert.equal(early.highest, 0);
  assert.equal(early.note(1, first, 1), false);
});
