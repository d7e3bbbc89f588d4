import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeJson, encodeJson } from "../../src/core/json.ts";
import { RandomStream } from "../../src/core/random.ts";

test("every double survives to the bit, NaN, infinities, zeros and the smallest included", () => {
  const random = new RandomStream(1, "report");
  const bits = new Uint32Array(2);
  const double = new Float64Array(bits.buffer);
  const special = [0, -0, Number.NaN, Infinity, -Infinity, Number.MIN_VALUE, -Number.MAX_VALUE, 0.1, 1e21, 2 ** 53 + 2];
  for (let i = 0; i < 20_000 + special.length; i++) {
    bits[0] = random.nextUint32();
    bits[1] = random.nextUint32();
    const value = i < special.length ? special[i]! : double[0]!;
    assert.ok(Object.is(decodeJson(encodeJson(value)), value), String(value));
    assert.ok(Object.is(decodeJson<{ a: number[] }>(encodeJson({ a: [value] })).a[0], value), String(value));
  }
});

test("the text depends on the value alone, not on the order in which its fields were written", () => {
  const one = { b: 1, a: { y: [1, { d: 4, c: 3 }], x: null } };
  const other = { a: { x: null, y: [1, { c: 3, d: 4 }] }, b: 1 };
  assert.equal(encodeJson(one), encodeJson(other));
  assert.equal(encodeJson(one), '{"a":{"x":null,"y":[1,{"c":3,"d":4}]},"b":1}');
});

test("keys are ordered by code units, as no locale would", () => {
  assert.equal(encodeJson({ a: 1, B: 2, ä: 3, _: 4 }), '{"B":2,"_":4,"a":1,"ä":3}');
});

test("lists keep their order; different values have different texts", () => {
  const values = [
    null,
    0,
    -0,
    "0",
    "",
    [],
    {},
    [0],
    { a: 0 },
    { a: -0 },
    Number.NaN,
    "NaN",
    [1, 2],
    [2, 1],
    true,
    "true",
  ];
  const texts = values.map((value) => encodeJson(value));
  assert.equal(new Set(texts).size, values.length);
  for (const [i, text] of texts.entries()) assert.deepEqual(decodeJson(text), values[i]);
});

test("a field whose value is undefined is as one that is left out", () => {
  assert.equal(encodeJson({ a: 1, b: undefined }), encodeJson({ a: 1 }));
});
