/**
 * In what form gradients travel. With a form of 16 bits every number is rounded to the nearest that the form can say, ties to even,
 * at *every* node of the tree (reduce-tree.ts): each shard's gradients, and each sum of two nodes, which is added in float32. So
 * what is rounded depends on the number of shards alone, as the order of additions does, and what then travels travels exactly.
 */

export const wireFormats = ["float32", "bfloat16", "float16"] as const;
export type WireFormat = (typeof wireFormats)[number];

/** Those of 16 bits. */
export type ShortFormat = Exclude<WireFormat, "float32">;

export function isShort(wire: WireFormat | "float64"): wire is ShortFormat {
  return wire === "bfloat16" || wire === "float16";
}

/** Rounds all of these numbers where they lie. */
export function roundTo(wire: ShortFormat, row: Float32Array): void {
  const bits = bitsOf(row);
  if (wire === "bfloat16") for (let i = 0; i < bits.length; i++) bits[i] = bfloat16Of(bits[i]!) << 16;
  else for (let i = 0; i < bits.length; i++) bits[i] = float32Of(float16Of(bits[i]!));
}

/** `from`, which is rounded, in 16 bits each. */
export function pack(wire: ShortFormat, into: Uint16Array, from: Float32Array): void {
  const bits = bitsOf(from);
  if (wire === "bfloat16") for (let i = 0; i < bits.length; i++) into[i] = bits[i]! >>> 16;
  else for (let i = 0; i < bits.length; i++) into[i] = float16Of(bits[i]!);
}

/** The same numbers in float32. */
export function unpack(wire: ShortFormat, into: Float32Array, from: Uint16Array): void {
  const bits = bitsOf(into);
  if (wire === "bfloat16") for (let i = 0; i < bits.length; i++) bits[i] = from[i]! << 16;
  else for (let i = 0; i < bits.length; i++) bits[i] = float32Of(from[i]!);
}

function bitsOf({ buffer, byteOffset, length }: Float32Array): Uint32Array {
  return new Uint32Array(buffer, byteOffset, length);
}

const infinity = 0x7f80_0000;

/** The upper half of a float32, rounded. What is no number stays none: its lower half may hold all that says so. */
function bfloat16Of(bits: number): number {
  if ((bits & 0x7fff_ffff) > infinity) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** 1 sign, 5 exponent and 10 fraction bits; exponents are biased by 15 instead of 127. */
function float16Of(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const size = bits & 0x7fff_ffff;
  if (size > infinity) return sign | 0x7e00;
  // From 65,520 on, halfway to the number after the largest, it is infinite.
  if (size >= 0x477f_f000) return sign | 0x7c00;
  const exponent = size >>> 23;
  // Below 2^-14 numbers are multiples of 2^-24; below half of that nothing is left but the sign.
  if (exponent < 113) return exponent < 102 ? sign : sign | shifted(0x0080_0000 | (size & 0x007f_ffff), 126 - exponent);
  // A carry out of the fraction goes into the exponent, as it should.
  return sign | shifted(size - (112 << 23), 13);
}

/** Without the last so many bits, rounded to nearest, ties to even. */
function shifted(value: number, by: number): number {
  const half = 1 << (by - 1);
  const odd = (value >>> by) & 1;
  return (value + half - 1 + odd) >>> by;
}

function float32Of(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 31;
  const fraction = half & 0x3ff;
  if (exponent === 31) return sign | infinity | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // Below 2^-14: the leading 1 is somewhere in the fraction.
  const lead = 31 - Math.clz32(fraction);
  return sign | ((lead + 103) << 23) | ((fraction << (23 - lead)) & 0x007f_ffff);
}
