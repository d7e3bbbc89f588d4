/** Additions four at a time: the SIMD twin of `addPlainly` (core/row-memory.ts). */
import { assemble, op } from "./assembler.ts";

export interface Additions {
  /** Addresses of rows of float32, and how many numbers. */
  add(into: number, left: number, right: number, count: number): void;
}

/** All that 32 bits can address. */
export const maxPages = 65_536;

const [into, left, right, count] = [0, 1, 2, 3];
/** Numbers in one turn of the loop. */
const unrolled = 16;

/** Moves all addresses on by so many numbers. */
const advance = (numbers: number) => [
  ...[into, left, right].flatMap((address) => [
    ...op.get(address),
    ...op.i32(4 * numbers),
    ...op.plus,
    ...op.set(address),
  ]),
  ...[...op.get(count), ...op.i32(numbers), ...op.minus, ...op.set(count)],
];

const fourAt = (offset: number) => [
  ...[...op.get(into), ...op.get(left), ...op.v128Load(offset), ...op.get(right), ...op.v128Load(offset)],
  ...[...op.f32x4Add, ...op.v128Store(offset)],
];

const body = [
  ...[...op.block, ...op.loop],
  ...[...op.get(count), ...op.i32(unrolled), ...op.isLess, ...op.branchIf(1)],
  ...[0, 16, 32, 48].flatMap(fourAt),
  ...advance(unrolled),
  ...[...op.branch(0), ...op.end, ...op.end],
  // What is left, one by one.
  ...[...op.block, ...op.loop],
  ...[...op.get(count), ...op.isZero, ...op.branchIf(1)],
  ...[...op.get(into), ...op.get(left), ...op.f32Load, ...op.get(right), ...op.f32Load, ...op.f32Add, ...op.f32Store],
  ...advance(1),
  ...[...op.branch(0), ...op.end, ...op.end],
];

export function additionsIn(memory: WebAssembly.Memory): Additions {
  const module = new WebAssembly.Module(assemble([{ name: "add", parameters: 4, vectors: 0, body }], maxPages));
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return exports as unknown as Additions; // what the module above exports
}
