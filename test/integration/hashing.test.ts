/** Large files are hashed by threads of their own, with the same outcome. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { promisify } from "node:util";
import { beginHashing, sharedBytes } from "../../src/adapters/fs/hashing.ts";
import { sharedMemory } from "../../src/core/shared-memory.ts";

const large = 9_000_001;

function sharedNumbers(seed: number): Uint8Array {
  const bytes = new Uint8Array(sharedMemory(large));
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * seed) >> 3;
  return bytes;
}

test("threads hash what is shared and what is not, in order, several at once", async () => {
  const tasks = [3, 5, 7, 11, 13].map(async (seed) => {
    const shared = sharedNumbers(seed);
    // Of memory with more in it, which is not part of it.
    const own = new Uint8Array(1000).fill(seed).subarray(10, 400);
    const expected = createHash("sha256").update(own).update(shared).update(own).digest("hex");
    assert.equal(sharedBytes([own, shared, own]), large);
    const hashing = beginHashing(large);
    hashing.update([own, shared.subarray(0, 5_000_000)]);
    hashing.update([shared.subarray(5_000_000)]);
    hashing.update([own]);
    // It has taken a copy.
    own.fill(0);
    assert.equal(await hashing.digest(), expected);
    hashing.end();
    hashing.end();
  });
  await Promise.all(tasks);
});

test("a process ends when all is hashed, and not before", async () => {
  const program = `
    import { beginHashing } from "./src/adapters/fs/hashing.ts";
    const given = beginHashing(${large});
    given.update([new Uint8Array(new SharedArrayBuffer(${large}))]);
    given.end();
    const hashing = beginHashing(${large});
    hashing.update([new Uint8Array(new SharedArrayBuffer(${large}))]);
    process.stdout.write(await hashing.digest());
    hashing.end();
  `;
  const args = ["--import", "tsx", "--input-type=module", "--eval", program];
  const { stdout } = await promisify(execFile)(process.execPath, args, {
    cwd: new URL("../..", import.meta.url),
  });
  assert.equal(stdout, createHash("sha256").update(new Uint8Array(large)).digest("hex"));
});
