import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { LockstepError } from "../../src/core/errors.ts";
import {
  dataSizeBytes,
  decodeHeader,
  decodeHeaderSize,
  encodeHeader,
  lengthSizeBytes,
  maximumHeaderSizeBytes,
} from "../../src/core/safetensors.ts";

/*
 * fixtures/python.safetensors was written once by the stock Python library (safetensors 0.8.0, numpy 2.4.6):
 *
 *   def bits(*words): return np.array(words, dtype="<u4").view("<f4")
 *   save_file({
 *     "dense/kernel": np.arange(6, dtype="<f4").reshape(2, 3),
 *     "dense/bias": bits(0x7fc00001, 0xff800000, 0x80000000),
 *     'größe "a\\b"': bits(0x00000001, 0x7fa00000),
 *     "empty": np.zeros((0, 3), dtype="<f4"),
 *     "scalar": np.array(1.5, dtype="<f4"),
 *   }, "python.safetensors", metadata={"note": "größe"})
 */
const pythonFile = readFileSync(new URL("../fixtures/python.safetensors", import.meta.url));
// The Python library sorts by name.
const pythonTensors = [
  { name: "dense/bias", shape: [3], words: [0x7fc00001, 0xff800000, 0x80000000] },
  { name: "dense/kernel", shape: [2, 3], words: [0, 0x3f800000, 0x40000000, 0x40400000, 0x40800000, 0x40a00000] },
  { name: "empty", shape: [0, 3], words: [] },
  { name: 'größe "a\\b"', shape: [2], words: [0x00000001, 0x7fa00000] },
  { name: "scalar", shape: [], words: [0x3fc00000] },
];

test("a file is written byte for byte as the stock Python library writes it", () => {
  const header = encodeHeader(pythonTensors, { note: "größe" });
  const data = new Uint8Array(new Uint32Array(pythonTensors.flatMap(({ words }) => words)).buffer);
  assert.deepEqual(Buffer.concat([header, data]), pythonFile);
});

test("a file of the stock Python library reads back: names, shapes, data and metadata", () => {
  const size = decodeHeaderSize(pythonFile.subarray(0, lengthSizeBytes), pythonFile.length);
  const data = pythonFile.subarray(lengthSizeBytes + size);
  const { tensors, metadata } = decodeHeader(pythonFile.subarray(lengthSizeBytes, lengthSizeBytes + size), data.length);
  const read = tensors.map(({ name, shape, beginBytes, endBytes }) => {
    const words = new Uint32Array(new Uint8Array(data.subarray(beginBytes, endBytes)).buffer);
    return { name, shape, words: [...words] };
  });
  assert.deepEqual(read, pythonTensors);
  assert.deepEqual(metadata, { note: "größe" });
});

test("tensors come back in the order in which they were written, whatever their names", () => {
  const names = ["b", "10", "9", "a", "__proto__", "constructor", "empty", "1"];
  const tensors = names.map((name, index) => ({ name, shape: name === "empty" ? [0] : [index + 1] }));
  const header = encodeHeader(tensors);
  assert.equal(header.length % 8, 0);
  const dataBytes = tensors.reduce((sum, { shape }) => sum + dataSizeBytes(shape), 0);
  const decoded = decodeHeader(header.subarray(lengthSizeBytes), dataBytes);
  assert.deepEqual(
    decoded.tensors.map(({ name, shape }) => ({ name, shape })),
    tensors,
  );
  assert.deepEqual(decoded.metadata, {});
});

test("a header may name its tensors in another order than that of their data, which counts", () => {
  const text = JSON.stringify({ second: tensor(4, 12, [2]), empty: tensor(4, 4, [0]), first: tensor(0, 4) });
  const { tensors } = decodeHeader(new TextEncoder().encode(text), 12);
  assert.deepEqual(
    tensors.map(({ name }) => name),
    ["first", "empty", "second"],
  );
});

test("a file without tensors is a whole file", () => {
  assert.deepEqual(Buffer.from(encodeHeader([])).toString("latin1"), "\b\0\0\0\0\0\0\0{}      ");
  assert.deepEqual(decodeHeader(encodeHeader([]).subarray(lengthSizeBytes), 0), { tensors: [], metadata: {} });
});

test("what no reader would accept is not written", () => {
  const wrong = [
    [{ name: "", shape: [] }],
    [{ name: "__metadata__", shape: [] }],
    [{ name: "a\u001b[2J", shape: [] }],
    [{ name: "\ud800", shape: [] }],
    [{ name: "a".repeat(1025), shape: [] }],
    [{ name: "a", shape: [1.5] }],
    [{ name: "a", shape: [-1] }],
    [{ name: "a", shape: [2 ** 26, 2 ** 26] }],
    [
      { name: "a", shape: [] },
      { name: "a", shape: [] },
    ],
  ];
  for (const tensors of wrong) assert.throws(() => encodeHeader(tensors), LockstepError, JSON.stringify(tensors));
});

test("a header that cannot be that large is refused before it is read", () => {
  const length = (value: bigint) => new Uint8Array(new BigUint64Array([value]).buffer);
  assert.equal(decodeHeaderSize(length(8n), 16), 8);
  assert.equal(decodeHeaderSize(length(BigInt(maximumHeaderSizeBytes)), 1e12), maximumHeaderSizeBytes);
  const wrong = [
    [length(9n), 16],
    [length(0n), 16],
    [length(1n), 16],
    [length(2n ** 64n - 1n), 1e12],
    [length(BigInt(maximumHeaderSizeBytes) + 1n), 1e12],
    [length(8n), 8],
    [length(8n).subarray(1), 7],
    [new Uint8Array(0), 0],
  ] as const;
  for (const [bytes, size] of wrong)
    assertRefused("corrupt-checkpoint", () => decodeHeaderSize(bytes, size), `${bytes}`);
});

function tensor(begin: unknown, end: unknown, shape: unknown = [1], dtype: unknown = "F32"): object {
  return { dtype, shape, data_offsets: [begin, end] };
}

const malformed: readonly [what: string, header: string | object, dataBytes: number][] = [
  ["not JSON", "{", 0],
  ["not an object", "[]", 0],
  ["null", "null", 0],
  ["space before the object", " {}", 0],
  ["a byte order mark", "\ufeff{}", 0],
  ["something after the object", "{} {}", 0],
  ["a tensor that is no object", { a: 1 }, 0],
  ["a tensor that is a list", { a: [] }, 0],
  ["a missing dtype", { a: { shape: [1], data_offsets: [0, 4] } }, 4],
  ["a missing shape", { a: { dtype: "F32", data_offsets: [0, 4] } }, 4],
  ["missing offsets", { a: { dtype: "F32", shape: [1] } }, 4],
  ["an unknown field", { a: { ...tensor(0, 4), extra: 1 } }, 4],
  ["a dtype that is not text", { a: tensor(0, 4, [1], 32) }, 4],
  ["a shape that is a number", { a: tensor(0, 4, 1) }, 4],
  ["a negative dimension", { a: tensor(0, 4, [-1, -1]) }, 4],
  ["a fraction of a dimension", { a: tensor(0, 4, [0.5, 2]) }, 4],
  ["a dimension as text", { a: tensor(0, 4, ["1"]) }, 4],
  ["a shape past all numbers", { a: tensor(0, 4, [2 ** 53 - 1, 2 ** 53 - 1]) }, 4],
  ["a shape whose product wraps around at 64 bits", { a: tensor(0, 4, [2 ** 32, 2 ** 32]) }, 4],
  ["one offset", { a: { ...tensor(0, 4), data_offsets: [0] } }, 4],
  ["three offsets", { a: { ...tensor(0, 4), data_offsets: [0, 4, 8] } }, 4],
  ["negative offsets", { a: tensor(-4, 0) }, 4],
  ["offsets as text", { a: tensor("0", "4") }, 4],
  ["an end before the beginning", { a: tensor(4, 0) }, 4],
  ["a size that is not the shape's", { a: tensor(0, 8, [1]) }, 8],
  ["data past the end", { a: tensor(0, 4) }, 0],
  ["data that belong to nobody", { a: tensor(0, 4) }, 8],
  ["data that belong to nobody, without tensors", {}, 4],
  ["a gap before the first tensor", { a: tensor(4, 8) }, 8],
  ["a gap between tensors", { a: tensor(0, 4), b: tensor(8, 12) }, 12],
  ["tensors on the same bytes", { a: tensor(0, 4), b: tensor(0, 4) }, 4],
  ["tensors that overlap", { a: tensor(0, 8, [2]), b: tensor(4, 12, [2]) }, 12],
  ["an empty name", { "": tensor(0, 4) }, 4],
  ["a control character in a name", { "a\u001b[2J": tensor(0, 4) }, 4],
  ["half a surrogate pair in a name", { "\ud800": tensor(0, 4) }, 4],
  ["a name past its bound", { ["a".repeat(1025)]: tensor(0, 4) }, 4],
  ["metadata that are no record", { __metadata__: [] }, 0],
  ["metadata with a number", { __metadata__: { step: 1 } }, 0],
  ["a doubled name", `{"a":${JSON.stringify(tensor(0, 4))},"a":${JSON.stringify(tensor(0, 4))}}`, 4],
  [
    "a doubled name, once escaped",
    `{"a":${JSON.stringify(tensor(0, 4))},"\\u0061" :${JSON.stringify(tensor(0, 4))}}`,
    4,
  ],
  ["a doubled field", '{"a":{"dtype":"F16","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4],
  ["doubled metadata", '{"__metadata__":{"a":"1"},"__metadata__":{"a":"2"}}', 0],
  ["a doubled key of the metadata", '{"__metadata__":{"a":"1","a":"2"}}', 0],
];

for (const [what, header, dataBytes] of malformed) {
  test(`a header with ${what} is refused as corrupt`, () => {
    const text = typeof header === "string" ? header : JSON.stringify(header);
    const act = () => decodeHeader(new TextEncoder().encode(text), dataBytes);
    assertRefused("corrupt-checkpoint", act, text);
  });
}

test("a header that is not UTF-8 is refused as corrupt", () => {
  const header = Buffer.from(JSON.stringify({ ä: tensor(0, 4) }), "latin1");
  assertRefused("corrupt-checkpoint", () => decodeHeader(header, 4), "latin1");
});

test("tensors of other types are incompatible, not corrupt", () => {
  const header = new TextEncoder().encode(JSON.stringify({ a: tensor(0, 2, [1], "F16") }));
  assertRefused("incompatible", () => decodeHeader(header, 2), "F16");
});

test("escapes, braces and colons in names and metadata are only text", () => {
  const name = '{"a":\\"}, \\\\" : {';
  const header = encodeHeader([{ name, shape: [1] }], { '"}{': '":' });
  const decoded = decodeHeader(header.subarray(lengthSizeBytes), 4);
  assert.equal(decoded.tensors[0]?.name, name);
  assert.deepEqual(decoded.metadata, { '"}{': '":' });
});

function assertRefused(code: string, act: () => unknown, what: string): void {
  assert.throws(act, (error) => {
    assert.ok(error instanceof LockstepError, `${what}: ${String(error)}`);
    assert.equal(error.code, code, what);
    assert.match(error.message, /safetensors file/);
    return true;
  });
}
