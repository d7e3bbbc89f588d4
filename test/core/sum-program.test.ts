import assert from "node:assert/strict";
import { test } from "node:test";
import { Arena, arenaMemory } from "../../src/adapters/wasm/arena.ts";
import { RandomStream } from "../../src/core/random.ts";
import { sumTree } from "../../src/core/reduce-tree.ts";
import { plainMemory, shortsIn } from "../../src/core/row-memory.ts";
import { sumProgram } from "../../src/core/sum-program.ts";
import { roundTo } from "../../src/core/wire.ts";
import { type Numbers, runSum } from "../../src/runtime/row-sums.ts";

const random = new RandomStream(7, "report");
const arena = new Arena(arenaMemory()!);

const rowIn = (memory: typeof plainMemory, length: number): Float32Array => {
  const bytes = memory.allocate(4 * length);
  return new Float32Array(bytes.buffer, bytes.byteOffset, length);
};

/** The sum as the tree defines it, one number after the other. */
function expectedAt(rows: readonly (Numbers | null)[], i: number, round: (value: number) => number): number {
  return sumTree<number>(
    { begin: 0, end: rows.length },
    ({ begin, end }) => (end - begin > 1 ? "descend" : (rows[begin]?.[i] ?? "absent")),
    (left, right) => round(left + right),
  )!;
}

test("block by block, with and without SIMD, a sum has the bits of the tree: every number of shards, any of them absent", () => {
  for (let shards = 1; shards <= 9; shards++) {
    for (const length of [1, 17, 4095, 4096, 4097, 9000]) {
      const isThere = Array.from({ length: shards }, (_, i) => i === shards >> 1 || random.nextBelow(4) > 0);
      for (const memory of [plainMemory, arena]) {
        const rows = isThere.map((there) => {
          if (!there) return null;
          const row = rowIn(memory, length);
          for (let i = 0; i < length; i++) row[i] = (random.nextFloat() - 0.5) * 2 ** random.nextBelow(20);
          return row;
        });
        const given: Float32Array[] = [];
        const program = sumProgram({ begin: 0, end: shards }, ({ begin, end }) => {
          if (end - begin > 1) return "descend";
          const row = rows[begin];
          return row ? given.push(row) - 1 : "absent";
        })!;
        const sum = rowIn(memory, length);
        runSum(program, given, { numbers: sum, packed: null }, memory, "float32");
        for (let i = 0; i < length; i++) {
          if (!Object.is(sum[i], expectedAt(rows, i, Math.fround))) assert.fail(`${shards} shards, number ${i}`);
        }
      }
    }
  }
});

test("in a form of 16 bits every sum is rounded, and travels as it was rounded, whatever has travelled before", () => {
  for (const form of ["bfloat16", "float16"] as const) {
    const rounded = (value: number) => {
      const one = Float32Array.of(value);
      roundTo(form, one);
      return one[0]!;
    };
    for (let shards = 1; shards <= 5; shards++) {
      for (const length of [1, 17, 4097]) {
        for (const memory of [plainMemory, arena]) {
          const rows = Array.from({ length: shards }, () => {
            const row = rowIn(memory, length);
            for (let i = 0; i < length; i++) row[i] = rounded((random.nextFloat() - 0.5) * 2 ** random.nextBelow(9));
            return row;
          });
          const given = rows.map((row, i) => {
            if (i % 2 === 0) return row;
            const packed = shortsIn(memory.allocate(2 * length));
            memory.pack(form, packed, row);
            return packed;
          });
          const program = sumProgram({ begin: 0, end: shards }, ({ begin, end }) =>
            end - begin > 1 ? "descend" : begin,
          )!;
          const [numbers, packed] = [rowIn(memory, length), shortsIn(memory.allocate(2 * length))];
          runSum(program, given, { numbers, packed }, memory, form);
          const read = new Float32Array(length);
          plainMemory.unpack(form, read, packed);
          assert.deepEqual(read, Float32Array.from(numbers), "what travels is what stays");
          for (let i = 0; i < length; i++) {
            if (!Object.is(numbers[i], expectedAt(rows, i, rounded)))
              assert.fail(`${form}, ${shards} shards, number ${i}`);
          }
        }
      }
    }
  }
});

test("statistics are summed in the same order, in float64", () => {
  const rows = Array.from({ length: 7 }, () => Float64Array.from({ length: 5 }, () => random.nextFloat() / 3));
  const program = sumProgram({ begin: 0, end: 7 }, ({ begin, end }) => (end - begin > 1 ? "descend" : begin))!;
  const sum = new Float64Array(5);
  runSum(program, rows, { numbers: sum, packed: null }, plainMemory, "float64");
  sum.forEach((value, i) => {
    assert.ok(
      Object.is(
        value,
        expectedAt(rows, i, (exact) => exact),
      ),
    );
  });
});

test("nothing is the sum of nothing, and one row alone is passed on as it is", () => {
  assert.equal(
    sumProgram({ begin: 0, end: 4 }, () => "absent"),
    null,
  );
  const row = Float32Array.of(-0, Number.NaN, 3);
  const program = sumProgram({ begin: 0, end: 2 }, ({ begin, end }) =>
    end - begin > 1 ? "descend" : begin === 0 ? 0 : "absent",
  )!;
  const sum = new Float32Array(3).fill(1);
  runSum(program, [row], { numbers: sum, packed: null }, plainMemory, "float32");
  assert.deepEqual(sum, row);
});
