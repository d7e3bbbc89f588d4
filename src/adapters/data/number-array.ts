/** Arrays of numbers as files hold them: kept in the file's own element type, and read as float32, any part at a time. */
import { LockstepError } from "../../core/errors.ts";
import { sizeOf } from "../../core/transforms.ts";

const bytesOf = {
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

export interface NumberArray {
  /** What messages call it: a file, or an array in one. */
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  /** Writes the elements from `begin` to before `end`, in row-major order, into `target` from `at` on. */
  copy(begin: number, end: number, target: Float32Array, at: number): void;
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

/**
 * The array whose elements are at the end of `bytes`. Nothing else may use `bytes` afterwards: they become the elements where
 * that is possible. Throws "invalid-data" where there are more or fewer bytes than the shape says, no samples, or elements
 * that are no finite float32 numbers.
 */
export function numberArray(name: string, bytes: Uint8Array, layout: ArrayLayout): NumberArray {
  const { type, shape } = layout;
  checkShape(name, shape);
  const [has, wants] = [bytes.length - layout.offsetBytes, sizeBytesOf(layout)];
  if (has !== wants) {
    throw new LockstepError(
      "invalid-data",
      `${name} has ${has} bytes of elements; expected ${wants}, as its header says ${type} of shape [${shape.join(", ")}].`,
      { hint: has < wants ? "The file is cut off: get it again." : "The file is damaged: get it again." },
    );
  }
  let elements = elementsOf(bytes.subarray(layout.offsetBytes), layout);
  if (layout.isFortranOrder && shape.length > 1) elements = inRowOrder(elements, shape);
  const array = { name, type, shape, copy: copier(elements, type) };
  if (type.startsWith("float")) checkFinite(array);
  return array;
}

function checkShape(name: string, shape: readonly number[]): void {
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

/** Typed arrays are little-endian wherever Node.js runs lockstep. */
function elementsOf(source: Uint8Array, { type, isBigEndian }: ArrayLayout): Elements {
  const size = bytesOf[type];
  // A typed array begins at a multiple of its element's size.
  const isAligned = source.byteOffset % size === 0;
  const bytes = isAligned ? source : Uint8Array.from(source);
  const { buffer, byteOffset, length } = bytes;
  if (isBigEndian && size > 1) {
    const swapped = Buffer.from(buffer, byteOffset, length);
    if (size === 2) swapped.swap16();
    else if (size === 4) swapped.swap32();
    else swapped.swap64();
  }
  const count = length / size;
  switch (type) {
    case "bool":
      for (let i = 0; i < length; i++) if (bytes[i]! > 1) bytes[i] = 1;
      return new Uint8Array(buffer, byteOffset, count);
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

/** The same array with its last index varying fastest. */
function inRowOrder(elements: Elements, shape: readonly number[]): Elements {
  const ordered = elements.slice();
  const strides = shape.map((_, axis) => sizeOf(shape.slice(0, axis)));
  const index = shape.map(() => 0);
  let from = 0;
  for (let to = 0; to < ordered.length; to++) {
    ordered[to] = elements[from]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      from -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return ordered;
}

function copier(elements: Elements, type: ElementType): NumberArray["copy"] {
  if (elements instanceof BigUint64Array || elements instanceof BigInt64Array) {
    return (begin, end, target, at) => {
      for (let i = begin; i < end; i++) target[at + i - begin] = roundable(elements[i]!);
    };
  }
  if (type === "float16") {
    return (begin, end, target, at) => {
      for (let i = begin; i < end; i++) target[at + i - begin] = halfValue(elements[i]!);
    };
  }
  return (begin, end, target, at) => target.set(elements.subarray(begin, end), at);
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

function checkFinite(array: NumberArray): void {
  const count = sizeOf(array.shape);
  const piece = new Float32Array(Math.min(count, 65_536));
  for (let begin = 0; begin < count; begin += piece.length) {
    const end = Math.min(begin + piece.length, count);
    array.copy(begin, end, piece, 0);
    for (let i = 0; i < end - begin; i++) {
      if (Number.isFinite(piece[i])) continue;
      const value = Number.isNaN(piece[i]) ? "NaN" : "infinite, or too large for float32";
      throw new LockstepError(
        "invalid-data",
        `${array.name}: the element at [${placeIn(array.shape, begin + i).join(", ")}] is ${value}; expected finite numbers.`,
        { hint: "Fill in missing values, or leave out such samples, before training. Indices count from 0." },
      );
    }
  }
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
