/** TFRecord with records that are long, and in the forms that other writers choose. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { tfrecordPieces } from "../../src/adapters/data/tfrecord.ts";
import { bytesInMemory } from "../fixtures/byte-source.ts";
import { exampleRecord, floatList, int64List, packed } from "../fixtures/example-record.ts";

const floats = (values: Float32Array) => packed(new Uint8Array(values.buffer));
const one = [int64List, packed(Uint8Array.of(1))] as const;

async function piecesOf(bytes: Uint8Array) {
  const pieces = [];
  for await (const { count, columns } of tfrecordPieces(bytesInMemory("f", bytes), { features: ["x"], label: "y" })) {
    const numbers = columns.map((column) => ("texts" in column ? assert.fail("a column has texts") : column));
    pieces.push({ count, columns: numbers });
  }
  return pieces;
}

test("a feature has as many whole numbers as a record holds", async () => {
  const count = 200_000;
  const numbers = Uint8Array.from({ length: count }, (_, i) => i % 128);
  const [piece] = await piecesOf(exampleRecord({ x: [int64List, packed(numbers)], y: one }));
  assert.deepEqual(piece!.columns[0]!.shape, [count]);
  assert.deepEqual(piece!.columns[0]!.values, Float32Array.from(numbers));
});

test("whole numbers that are not packed keep their sign and their size", async () => {
  const minusFive = [0xfb, ...Array.from({ length: 8 }, () => 0xff), 1];
  const twoTo62 = [...Array.from({ length: 8 }, () => 0x80), 0x40];
  const list = Uint8Array.of(8, ...minusFive, 8, ...twoTo62, 8, 3);
  const [piece] = await piecesOf(exampleRecord({ x: [int64List, list], y: one }));
  assert.deepEqual([...piece!.columns[0]!.values], [-5, 2 ** 62, 3]);
});

test("long records are few to a piece, plain and as gzip", async () => {
  const width = 600_000;
  const values = [1, 2, 3].map((first) => Float32Array.from({ length: width }, (_, i) => first + i));
  const bytes = Buffer.concat(values.map((row) => exampleRecord({ x: [floatList, floats(row)], y: one })));
  for (const file of [bytes, gzipSync(bytes)]) {
    const pieces = await piecesOf(file);
    assert.deepEqual(
      pieces.map(({ count }) => count),
      [2, 1],
    );
    const read = pieces.flatMap(({ columns }) => [...columns[0]!.values.filter((_, i) => i % width === width - 1)]);
    assert.deepEqual(read, [width, width + 1, width + 2]);
  }
});
