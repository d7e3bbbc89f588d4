/** Elements of arrays as files hold them, and what they are as float32. */
import { LockstepError } from "../../core/errors.ts";
import { sizeOf } from "../../core/transforms.ts";

export const bytesOf = {
  bool: 1,
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  uint64: 8,
  int64: 8,
  float16: 2,
  float32: 4,
  float64: 8,
} as const;

export type ElementType = keyof typeof bytesOf;

/** What an array's file says about it. */
export interface ArrayLayout {
  readonly type: ElementType;
  /** Of the whole array: the first dimension counts the samples. */
  readonly shape: readonly number[];
  readonly isBigEndian: boolean;
  /** The first index varies fastest. */
  readonly isFortranOrder: boolean;
  /** Where the elements begin in the file. */
  readonly offsetBytes: number;
}

type Elements =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array;

/** Size of the elements; may be more than there is, or can be. */
export function sizeBytesOf({ type, shape }: Pick<ArrayLayout, "type" | "shape">): number {
  return sizeOf(shape) * bytesOf[type];
}

/** Throws where an array cannot be samples. */
export function checkShape(name: string, shape: readonly number[]): void {
  if (shape.length === 0) {
    throw new LockstepError(
      "invalid-data",
      `${name} is a single number; expected an array with a row for each sample.`,
    );
  }
  if (shape[0] === 0)
    throw new LockstepError("invalid-data", `${name} has no samples: its shape is [${shape.join(", ")}].`);
  if (shape.includes(0)) {
    throw new LockstepError("invalid-data", `${name} has samples without numbers: its shape is [${shape.join(", ")}].`);
  }
}

/** Turns elements of a file in place into those of typed arrays, which are little-endian wherever Node.js runs lockstep. */
function swap(bytes: Uint8Array, { type, isBigEndian }: Pick<ArrayLayout, "type" | "isBigEndian">): void {
  const size = bytesOf[type];
  if (type === "bool") for (let i = 0; i < bytes.length; i++) if (bytes[i]! > 1) bytes[i] = 1;
  if (!isBigEndian || size === 1) return;
  const swapped = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (size === 2) swapped.swap16();
  else if (size === 4) swapped.swap32();
  else swapped.swap64();
}

/** `bytes` begin at a multiple of an element's size. */
function elementsOf({ buffer, byteOffset, length }: Uint8Array, type: ElementType): Elements {
  const size = bytesOf[type];
  const count = length / size;
  switch (type) {
    case "bool":
    case "uint8":
      return new Uint8Array(buffer, byteOffset, count);
    case "int8":
      return new Int8Array(buffer, byteOffset, count);
    case "uint16":
    case "float16":
      return new Uint16Array(buffer, byteOffset, count);
    case "int16":
      return new Int16Array(buffer, byteOffset, count);
    case "uint32":
      return new Uint32Array(buffer, byteOffset, count);
    case "int32":
      return new Int32Array(buffer, byteOffset, count);
    case "uint64":
      return new BigUint64Array(buffer, byteOffset, count);
    case "int64":
      return new BigInt64Array(buffer, byteOffset, count);
    case "float32":
      return new Float32Array(buffer, byteOffset, count);
    case "float64":
      return new Float64Array(buffer, byteOffset, count);
  }
}

/** Writes elements as float32 into `target`. */
function copyElements(elements: Elements, type: ElementType, target: Float32Array): void {
  if (elements instanceof BigUint64Array || elements instanceof BigInt64Array) {
    for (let i = 0; i < elements.length; i++) target[i] = roundable(elements[i]!);
  } else if (type === "float16") {
    for (let i = 0; i < elements.length; i++) target[i] = halfValue(elements[i]!);
  } else target.set(elements);
}

/** Room for so many elements of a file, and what they are as float32. */
export class ElementRoom {
  /** Where the file's bytes are put. */
  readonly bytes: Uint8Array;
  readonly #layout: ArrayLayout;
  readonly #elements: Elements;

  constructor(layout: ArrayLayout, count: number) {
    this.bytes = new Uint8Array(count * bytesOf[layout.type]);
    this.#layout = layout;
    this.#elements = elementsOf(this.bytes, layout.type);
  }

  /** Writes as many numbers as `target` has. What is in `bytes` means nothing afterwards. */
  take(target: Float32Array): void {
    const { type } = this.#layout;
    swap(this.bytes.subarray(0, target.length * bytesOf[type]), this.#layout);
    copyElements(this.#elements.subarray(0, target.length), type, target);
  }
}

/**
 * A number that rounds to the float32 nearest to `value`. Rounded to 53 bits first and to 24 then, some would come out beside
 * it; so whatever is below the 53 bits only leaves a trace in the last of them.
 */
export function roundable(value: bigint): number {
  const size = value < 0n ? -value : value;
  if (size < 1n << 53n) return Number(value);
  const rounded = Number((size >> 11n) | ((size & 2047n) === 0n ? 0n : 1n)) * 2048;
  return value < 0n ? -rounded : rounded;
}

/** The value of IEEE 754's binary16. */
export function halfValue(bits: number): number {
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Throws where a number is none. `begin`: the place of the first among the file's elements. */
export function checkFinite(name: string, { shape, isFortranOrder }: ArrayLayout, values: Float32Array, begin: number) {
  let at = 0;
  while (at < values.length && Number.isFinite(values[at])) at++;
  if (at === values.length) return;
  const value = Number.isNaN(values[at]) ? "NaN" : "infinite, or too large for float32";
  const place = isFortranOrder ? placeIn(shape.toReversed(), begin + at).reverse() : placeIn(shape, begin + at);
  throw new LockstepError(
    "invalid-data",
    `${name}: the element at [${place.join(", ")}] is ${value}; expected finite numbers.`,
    { hint: "Fill in missing values, or leave out such samples, before training. Indices count from 0." },
  );
}

function placeIn(shape: readonly number[], index: number): number[] {
  const place: number[] = [];
  let rest = index;
  for (const size of shape.toReversed()) {
    place.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return place;
}
