import assert from "node:assert/strict";
import { test } from "node:test";
import { plainMemory, type RowMemory } from "../../src/core/row-memory.ts";
import { Staging } from "../../src/runtime/staging.ts";

test("pieces are as large as asked for, aligned, and apart; a later generation takes the same memory", () => {
  let allocated = 0;
  const memory: RowMemory = {
    ...plainMemory,
    allocate(sizeBytes) {
      allocated += sizeBytes;
      return plainMemory.allocate(sizeBytes);
    },
  };
  const staging = new Staging(memory);
  const wants = [[4, 100, 8], [1000], [4, 100, 8], [500, 400, 0, 3000, 4], [], [3000, 500, 400, 4]];
  const allocatedBy = wants.map((pieces) => {
    staging.begin(pieces);
    const rows = pieces.map((sizeBytes) => staging.take(sizeBytes));
    rows.forEach((row, i) => {
      row.fill(i + 1);
    });
    rows.forEach((row, i) => {
      assert.equal(row.byteLength, pieces[i]);
      assert.equal(row.byteOffset % 64, 0);
      assert.ok(row.every((byte) => byte === i + 1));
    });
    return allocated;
  });
  assert.deepEqual([allocatedBy[2], allocatedBy[4]], [allocatedBy[1], allocatedBy[3]], "what was there was enough");
  assert.throws(() => staging.take(2 ** 20), /more is taken than was asked for/);
});
