import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { sharedMemory } from "../../src/core/shared-memory.ts";

test("shared memory that nobody needs any more is collected as other memory is", async () => {
  const made: WeakRef<SharedArrayBuffer>[] = [];
  for (let i = 0; i < 40; i++) {
    made.push(new WeakRef(sharedMemory(64 * 1024 * 1024)));
    // What a WeakRef was made of lives until the turn ends.
    await setImmediate();
  }
  const left = made.filter((reference) => reference.deref() !== undefined).length;
  assert.ok(left < 20, `${left} of ${made.length} are left`);
});
