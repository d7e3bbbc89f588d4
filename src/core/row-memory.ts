import { pack, roundTo, type ShortFormat, unpack } from "./wire.ts";

/**
 * Memory for rows of float32 that the threads of a worker share, and what is done with them. Whoever adds does so number by number,
 * rounded to nearest even: the same bits on every machine and however many numbers are added at once.
 */
export interface RowMemory {
  /** Zeroed bytes, aligned for any number. They are never given back. */
  allocate(sizeBytes: number): Uint8Array;
  /** into[i] = left[i] + right[i], for `count` numbers from each place on. `into` may be one of the others, at its place. */
  add(into: Place, left: Place, right: Place, count: number): void;
  /** The same of numbers that may have travelled: each sum is rounded to the form, and written down in 16 bits too where that is wanted. */
  addRounded(wire: ShortFormat, sum: RoundedSum, left: ArrivedPlace, right: ArrivedPlace, count: number): void;
  /** As in wire.ts. */
  roundTo(wire: ShortFormat, row: Float32Array): void;
  pack(wire: ShortFormat, into: Uint16Array, from: Float32Array): void;
  unpack(wire: ShortFormat, into: Float32Array, from: Uint16Array): void;
}

export interface Place<Row extends Float32Array | Uint16Array = Float32Array> {
  readonly row: Row;
  readonly at: number;
}

/** Among numbers of float32, or such as travelled in 16 bits each. */
export type ArrivedPlace = Place<Float32Array | Uint16Array>;

export interface RoundedSum {
  readonly into: Place;
  readonly packed: Place<Uint16Array> | null;
}

/** Any memory, and plain arithmetic. */
export const plainMemory: RowMemory = {
  allocate: (sizeBytes) => new Uint8Array(new SharedArrayBuffer(sizeBytes)),
  add: addPlainly,
  addRounded: addRoundedPlainly,
  ...{ roundTo, pack, unpack },
};

/** The numbers that lie in these bytes, which are aligned for them: the same memory, not a copy. */
export function floatsIn({ buffer, byteOffset, byteLength }: Uint8Array): Float32Array {
  return new Float32Array(buffer, byteOffset, byteLength / Float32Array.BYTES_PER_ELEMENT);
}

export function shortsIn({ buffer, byteOffset, byteLength }: Uint8Array): Uint16Array {
  return new Uint16Array(buffer, byteOffset, byteLength / Uint16Array.BYTES_PER_ELEMENT);
}

export function wordsIn({ buffer, byteOffset, byteLength }: Uint8Array): Int32Array {
  return new Int32Array(buffer, byteOffset, byteLength / Int32Array.BYTES_PER_ELEMENT);
}

export function doublesIn({ buffer, byteOffset, byteLength }: Uint8Array): Float64Array {
  return new Float64Array(buffer, byteOffset, byteLength / Float64Array.BYTES_PER_ELEMENT);
}

export function addPlainly(into: Place, left: Place, right: Place, count: number): void {
  const sum = into.row.subarray(into.at, into.at + count);
  const a = left.row.subarray(left.at, left.at + count);
  const b = right.row.subarray(right.at, right.at + count);
  for (let i = 0; i < count; i++) sum[i] = a[i]! + b[i]!;
}

export function addRoundedPlainly(
  wire: ShortFormat,
  { into, packed }: RoundedSum,
  left: ArrivedPlace,
  right: ArrivedPlace,
  count: number,
): void {
  addPlainly(into, floatsAt(wire, left, count), floatsAt(wire, right, count), count);
  const sums = into.row.subarray(into.at, into.at + count);
  roundTo(wire, sums);
  if (packed) pack(wire, packed.row.subarray(packed.at, packed.at + count), sums);
}

function floatsAt(wire: ShortFormat, { row, at }: ArrivedPlace, count: number): Place {
  if (row instanceof Float32Array) return { row, at };
  const floats = new Float32Array(count);
  unpack(wire, floats, row.subarray(at, at + count));
  return { row: floats, at: 0 };
}

/** Multiples of it are where an engine wants what it computes with in place. */
const alignmentBytes = 64;
const alignedBuffers = new WeakSet<ArrayBufferLike>();

/** Says of memory that it begins at such a multiple in the process, which JavaScript does not tell. */
export function noteAligned(buffer: ArrayBufferLike): void {
  alignedBuffers.add(buffer);
}

/**
 * Whether what begins there, in memory that begins at such a multiple, does too. That is so in every process or in none, whatever memory
 * it has got: how something is computed, and so to which bits, may depend on this, and not on `isAligned`.
 */
export function isAtMultiple(byteOffset: number): boolean {
  return byteOffset % alignmentBytes === 0;
}

/** Whether an engine can read and write these numbers where they lie. */
export function isAligned({ byteOffset, buffer }: ArrayBufferView): boolean {
  return isAtMultiple(byteOffset) && alignedBuffers.has(buffer);
}
