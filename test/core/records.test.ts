import assert from "node:assert/strict";
import { test } from "node:test";
import { type Arrival, agreement } from "../../src/core/records.ts";

const arrival = (rank: number, digest = "sha256:a", step = 24): Arrival => ({
  workerId: `worker-${rank}`,
  step,
  digest,
});

test("nobody agrees before everybody has arrived", () => {
  assert.equal(agreement([], 3), "waiting");
  assert.equal(agreement([arrival(0), arrival(1)], 3), "waiting");
  assert.equal(agreement([arrival(0), arrival(1), arrival(2)], 3), "agreed");
  assert.equal(agreement([arrival(0)], 1), "agreed");
});

test("two digests at one place are divergence, once everybody has been heard who may tell which is right", () => {
  assert.equal(agreement([arrival(0), arrival(1, "sha256:b"), arrival(2)], 3), "diverged");
  assert.equal(agreement([arrival(0), arrival(1, "sha256:b")], 3), "waiting");
  assert.equal(agreement([arrival(0), arrival(1, "sha256:b")], 2), "diverged");
  assert.equal(agreement([arrival(0), arrival(1), arrival(2, "sha256:b")], 3), "diverged");
});

test("equal digests at different steps are divergence too", () => {
  assert.equal(agreement([arrival(0), arrival(1, "sha256:a", 25)], 2), "diverged");
});
