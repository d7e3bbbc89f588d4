/** Rounding to 16 bits, against the definition: the nearest number that the form can say, the even one of two as near. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RandomStream } from "../../src/core/random.ts";
import { pack, roundTo, type ShortFormat, unpack } from "../../src/core/wire.ts";

const all = Uint16Array.from({ length: 65_536 }, (_, i) => i);

/** What a form's bits say, by its definition. */
function saidBy(wire: ShortFormat, bits: number): number {
  const [exponentBits, fractionBits, bias] = wire === "bfloat16" ? [8, 7, 127] : [5, 10, 15];
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> fractionBits) & (2 ** exponentBits - 1);
  const fraction = bits & (2 ** fractionBits - 1);
  if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** (1 - bias - fractionBits);
  return sign * (1 + fraction / 2 ** fractionBits) * 2 ** (exponent - bias);
}

/** The form's finite numbers that are not negative, in order; with the first one beyond them, which stands for infinity. */
function ladder(wire: ShortFormat): number[] {
  const finite = [...all.subarray(0, 0x8000)].map((bits) => saidBy(wire, bits)).filter(Number.isFinite);
  return [...finite, 2 * finite.at(-1)! - finite.at(-2)!];
}

function nearest(steps: readonly number[], value: number): number {
  const size = Math.abs(value);
  const sign = value < 0 || Object.is(value, -0) ? -1 : 1;
  if (!Number.isFinite(value)) return value;
  let [low, high] = [0, steps.length - 1];
  if (size >= steps[high]!) return sign * Number.POSITIVE_INFINITY;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (steps[middle]! <= size) low = middle;
    else high = middle;
  }
  const [below, above] = [size - steps[low]!, steps[high]! - size];
  const at = below < above || (below === above && low % 2 === 0) ? low : high;
  return sign * (at === steps.length - 1 ? Number.POSITIVE_INFINITY : steps[at]!);
}

const random = new RandomStream(5, "report");
const anyBits = () => random.nextBelow(2 ** 16) * 2 ** 16 + random.nextBelow(2 ** 16);

for (const wire of ["bfloat16", "float16"] as const) {
  test(`${wire}: all 65,536 are read as the form is defined, and packed again as they were`, () => {
    const values = new Float32Array(all.length);
    unpack(wire, values, all);
    const again = new Uint16Array(all.length);
    pack(wire, again, values);
    for (const bits of all) {
      const expected = saidBy(wire, bits);
      assert.ok(Object.is(values[bits], expected), `${bits}: ${values[bits]} and ${expected}`);
      if (!Number.isNaN(expected)) assert.equal(again[bits], bits);
      else assert.ok(Number.isNaN(saidBy(wire, again[bits]!)));
    }
  });

  test(`${wire}: numbers are rounded to the nearest, ties to even; beyond the largest to infinity`, () => {
    const steps = ladder(wire);
    const halves = steps.slice(1).flatMap((step, i) => {
      const middle = (step + steps[i]!) / 2;
      return [middle, middle * (1 + 2 ** -23), middle * (1 - 2 ** -23), -middle];
    });
    const drawn = new Float32Array(Uint32Array.from({ length: 200_000 }, anyBits).buffer);
    const edges = [0, -0, 1e-45, -1e-45, 3.4028234663852886e38, -3.4028234663852886e38, Infinity, -Infinity, NaN];
    const values = Float32Array.from([...edges, ...steps, ...halves, ...drawn]);
    const rounded = values.slice();
    roundTo(wire, rounded);
    for (const [i, value] of values.entries()) {
      const expected = nearest(steps, value);
      assert.ok(Object.is(rounded[i], expected), `${value}: ${rounded[i]} and ${expected}`);
    }
    const twice = rounded.slice();
    roundTo(wire, twice);
    assert.deepEqual(twice, rounded, "what is rounded stays");
    const packed = new Uint16Array(rounded.length);
    pack(wire, packed, rounded);
    const read = new Float32Array(rounded.length);
    unpack(wire, read, packed);
    assert.deepEqual(read, rounded, "what is rounded travels exactly");
  });
}
