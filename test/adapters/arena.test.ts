/** Additions four at a time are those one by one, bit for bit, and an arena's rows are everybody's and nobody else's. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Arena, arenaMemory } from "../../src/adapters/wasm/arena.ts";
import { RandomStream } from "../../src/core/random.ts";
import { plainMemory, type RowMemory } from "../../src/core/row-memory.ts";

const arena = new Arena(arenaMemory()!);
const rowOf = (values: ArrayLike<number>): Float32Array => {
  const bytes = arena.allocate(4 * values.length);
  const row = new Float32Array(bytes.buffer, bytes.byteOffset, values.length);
  row.set(values);
  return row;
};

/** The ends of each kind of number, and a few in between. */
const edges = [
  ...[0, 1, 2, 0x007f_ffff, 0x0080_0000, 0x0080_0001, 0x3f80_0000, 0x3f80_0001, 0x3eaa_aaab, 0x4b80_0000],
  ...[0x7f7f_ffff, 0x7f80_0000, 0x7fc0_0000, 0x7f80_0001, 0x7f00_0000, 0x3400_0000],
].flatMap((bits) => [bits, (bits | 0x8000_0000) >>> 0]);
const random = new RandomStream(9, "report");
const anyBits = () => random.nextBelow(2 ** 16) * 2 ** 16 + random.nextBelow(2 ** 16);
const pairs = [
  ...edges.flatMap((a) => edges.map((b) => [a, b] as const)),
  ...Array.from({ length: 100_000 }, () => [anyBits(), anyBits()] as const),
];
const floats = (bits: readonly number[]) => new Float32Array(Uint32Array.from(bits).buffer);

/** The same bits, where a number is one; which NaN it is, nobody promises. */
function assertSame(actual: Float32Array, expected: Float32Array, what: string): void {
  const bits = new Uint32Array(actual.buffer, actual.byteOffset, actual.length);
  const wanted = new Uint32Array(expected.buffer, expected.byteOffset, expected.length);
  for (let i = 0; i < wanted.length; i++) {
    const isSame = bits[i] === wanted[i] || (Number.isNaN(actual[i]) && Number.isNaN(expected[i]));
    assert.ok(isSame, `${what}, number ${i}: ${actual[i]} and ${expected[i]}`);
  }
}

test("every pair of edges and 100,000 pairs of any bits have the same sum with and without SIMD", () => {
  const left = floats(pairs.map(([a]) => a));
  const right = floats(pairs.map(([, b]) => b));
  const expected = new Float32Array(left.length);
  const place = (row: Float32Array) => ({ row, at: 0 });
  plainMemory.add(place(expected), place(left), place(right), left.length);
  for (const [what, into] of [
    ["apart", (_left: Float32Array, _right: Float32Array) => rowOf(new Float32Array(left.length))],
    ["into the left", (left: Float32Array, _right: Float32Array) => left],
    ["into the right", (_left: Float32Array, right: Float32Array) => right],
  ] as const) {
    const [a, b] = [rowOf(left), rowOf(right)];
    const sum = into(a, b);
    arena.add(place(sum), place(a), place(b), left.length);
    assertSame(sum, expected, what);
  }
  const zeros = rowOf([-0, -0, 0, 0]);
  arena.add(place(zeros), place(zeros), place(rowOf([-0, 0, -0, 0])), 4);
  assert.deepEqual([...zeros], [-0, 0, 0, 0]);
});

test("exactly as many numbers are added as are asked for, from any place on", () => {
  const length = 80;
  const numbers = (factor: number) => Float32Array.from({ length }, (_, i) => factor * (i + 1));
  const [left, right] = [rowOf(numbers(1)), rowOf(numbers(100))];
  for (const at of [0, 1, 3, 5]) {
    for (let count = 0; count <= length - at; count++) {
      const into = rowOf(new Float32Array(length).fill(-1));
      arena.add({ row: into, at }, { row: left, at }, { row: right, at }, count);
      const expected = Array.from({ length }, (_, i) => (i >= at && i < at + count ? 101 * (i + 1) : -1));
      assert.deepEqual([...into], expected, `${count} from ${at}`);
    }
  }
});

test("numbers are rounded, packed and unpacked with and without SIMD alike, from any place on", () => {
  const all = pairs.flat();
  for (const wire of ["bfloat16", "float16"] as const) {
    for (const [at, count] of [
      [0, all.length],
      ...[0, 1, 3].flatMap((begin) => Array.from({ length: 20 }, (_, length) => [begin, length] as const)),
    ] as const) {
      const bits = all.slice(0, Math.max(count, 64));
      const expected = floats(bits);
      plainMemory.roundTo(wire, expected.subarray(at, at + count));
      const row = rowOf(floats(bits));
      arena.roundTo(wire, row.subarray(at, at + count));
      assertSame(row, expected, `${wire} rounded`);
      const shorts = arena.allocate(2 * bits.length);
      const packed = new Uint16Array(shorts.buffer, shorts.byteOffset, bits.length);
      const plainlyPacked = new Uint16Array(bits.length);
      arena.pack(wire, packed.subarray(at, at + count), row.subarray(at, at + count));
      plainMemory.pack(wire, plainlyPacked.subarray(at, at + count), row.subarray(at, at + count));
      assert.deepEqual(new Uint16Array(packed), plainlyPacked, `${wire} packed`);
      const [read, plainlyRead] = [rowOf(new Float32Array(bits.length)), new Float32Array(bits.length)];
      arena.unpack(wire, read.subarray(at, at + count), packed.subarray(at, at + count));
      plainMemory.unpack(wire, plainlyRead.subarray(at, at + count), packed.subarray(at, at + count));
      assertSame(read, plainlyRead, `${wire} unpacked`);
    }
  }
});

test("sums of numbers that travelled are rounded and packed with and without SIMD alike, from any place on", () => {
  const wire = "bfloat16";
  const shortsIn = (memory: RowMemory, values: Float32Array) => {
    const bytes = memory.allocate(2 * values.length);
    const row = new Uint16Array(bytes.buffer, bytes.byteOffset, values.length);
    plainMemory.pack(wire, row, values);
    return row;
  };
  const rounded = (side: 0 | 1) => {
    const row = floats(pairs.map((pair) => pair[side]));
    plainMemory.roundTo(wire, row);
    return row;
  };
  const [left, right] = [rounded(0), rounded(1)];
  const forms = {
    float: (memory: RowMemory, values: Float32Array) => (memory === arena ? rowOf(values) : values),
    short: shortsIn,
  };
  const parts = [
    [0, pairs.length],
    ...[0, 1, 3].flatMap((at) => [7, 8, 9, 40].map((count) => [at, count] as const)),
  ] as const;
  for (const leftForm of ["float", "short"] as const) {
    for (const rightForm of ["float", "short"] as const) {
      for (const packs of [true, false]) {
        for (const [at, count] of parts) {
          const length = Math.max(count, 64);
          const results = [plainMemory, arena].map((memory) => {
            const into = forms.float(memory, new Float32Array(length).fill(-1));
            const packed = packs ? shortsIn(memory, new Float32Array(length).fill(-1)) : null;
            const place = { row: forms[leftForm](memory, left.subarray(0, length)), at };
            const other = { row: forms[rightForm](memory, right.subarray(0, length)), at };
            memory.addRounded(
              wire,
              { into: { row: into, at }, packed: packed && { row: packed, at } },
              place,
              other,
              count,
            );
            return { into, packed };
          });
          const [plainly, atOnce] = results as [(typeof results)[0], (typeof results)[0]];
          const what = `${leftForm} and ${rightForm}, ${count} from ${at}`;
          assertSame(atOnce.into, plainly.into, what);
          if (!packs) continue;
          const read = [plainly, atOnce].map(({ packed }) => {
            const numbers = new Float32Array(length);
            plainMemory.unpack(wire, numbers, new Uint16Array(packed!));
            return numbers;
          });
          assertSame(read[1]!, read[0]!, `${what}, packed`);
        }
      }
    }
  }
});

test("rows do not overlap, whichever thread takes them, and both find them under their address", () => {
  const memory = arenaMemory()!;
  const [one, two] = [new Arena(memory), new Arena(memory)];
  const rows = Array.from({ length: 20 }, (_, i) => (i % 2 ? one : two).allocate(1000 * i + 1));
  rows.forEach((row, i) => {
    row.fill(i);
  });
  rows.forEach((row, i) => {
    assert.ok(row.every((byte) => byte === i));
    const address = (i % 2 ? one : two).addressOf(row)!;
    assert.deepEqual([...(i % 2 ? two : one).at(address)], [...row]);
  });
});

test("a row that lies elsewhere has no address, and is added all the same", () => {
  const elsewhere = new Float32Array(plainMemory.allocate(4 * 40).buffer).fill(2);
  assert.equal(arena.addressOf(elsewhere), null);
  const sum = rowOf(new Float32Array(40).fill(1));
  arena.add({ row: sum, at: 0 }, { row: sum, at: 0 }, { row: elsewhere, at: 0 }, 40);
  assert.ok(sum.every((value) => value === 3));
});

test("what does not fit into the arena any more is memory like any other", () => {
  const small = new Arena(arenaMemory()!);
  assert.notEqual(small.addressOf(small.allocate(1)), null);
  const tooLarge = 2 ** 32 - 2 ** 16;
  const memory = small.allocate(tooLarge);
  assert.equal(memory.byteLength, tooLarge);
  assert.equal(small.addressOf(memory), null);
});
