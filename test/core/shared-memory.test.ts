import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { sharedMemory } from "../../src/core/shared-memory.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void; // which the flag adds to new contexts

/** What the collector counts, once it has collected what nobody needs; it gives memory back beside the thread. */
async function counted(): Promise<number> {
  for (let turn = 0; turn < 2; turn++) {
    collect();
    await setImmediate();
  }
  return process.memoryUsage().external;
}

test("the collector counts shared memory as memory in use, and collects it once nobody needs it", async () => {
  const sizeBytes = 64 * 1024 * 1024;
  const count = 8;
  const before = await counted();
  const held = Array.from({ length: count }, () => sharedMemory(sizeBytes));
  const whileHeld = (await counted()) - before;
  assert.ok(whileHeld > (count - 1) * sizeBytes, `${whileHeld} bytes for ${count} times ${sizeBytes}`);
  held.length = 0;
  const afterwards = (await counted()) - before;
  assert.ok(afterwards < sizeBytes, `${afterwards} bytes are left`);
});
