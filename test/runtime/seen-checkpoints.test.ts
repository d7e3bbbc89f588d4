import assert from "node:assert/strict";
import { test } from "node:test";
import type { StoredCheckpoint } from "../../src/ports/checkpoint-storage.ts";
import { SeenCheckpoints } from "../../src/runtime/seen-checkpoints.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";
import { manifestSample } from "../fixtures/manifest.ts";

const stored = (id: string): StoredCheckpoint => ({ id, manifest: manifestSample }) as StoredCheckpoint; // all that is read

test("a checkpoint that is deleted while it is looked for is not called missing; one that stays away is", async () => {
  const clock = new ManualClock();
  let there = [stored("b")];
  const seen = new SeenCheckpoints(async () => there, clock);
  // "a" was still listed in etcd, and is deleted already.
  await seen.look(["a", "b"]);
  assert.equal(seen.isMissing("a"), false);
  there = [stored("b"), stored("c")];
  await clock.advance(1000);
  await seen.look(["b", "c"]);
  assert.ok(seen.sizeOf("c"));
  // "b" is listed on and on, and gone.
  there = [stored("c")];
  await seen.look(["b", "c", "d"]);
  assert.equal(seen.isMissing("b"), false);
  await clock.advance(30_000);
  await seen.look(["b", "c", "d"]);
  assert.equal(seen.isMissing("b"), true);
});

test("storage that does not answer makes nothing missing", async () => {
  const clock = new ManualClock();
  const seen = new SeenCheckpoints(() => Promise.reject(new Error("away")), clock);
  await seen.look(["a"]);
  await clock.advance(60_000);
  await seen.look(["a"]);
  assert.equal(seen.isMissing("a"), false);
});
