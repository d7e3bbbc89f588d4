/** Numbers to bfloat16 and back, eight at a time: the SIMD twin of core/wire.ts. */
import { maxPages } from "./additions.ts";
import { assemble, op, type WasmFunction } from "./assembler.ts";

/** How many numbers are done in one turn: a count must be a multiple of it. */
export const shortenedAtOnce = 8;

/** By addresses of rows of float32, or of 16 bits each, and how many numbers. */
export interface Shortening {
  round(row: number, count: number): void;
  pack(into: number, from: number, count: number): void;
  unpack(into: number, from: number, count: number): void;
}

/** Until `count` is 0: the body, then every address moved on by as many bytes as it says. */
function loop(count: number, body: readonly number[], steps: readonly (readonly [address: number, bytes: number])[]) {
  const move = (local: number, by: readonly number[]) => [...op.get(local), ...by, ...op.set(local)];
  return [
    ...[...op.block, ...op.loop],
    ...[...op.get(count), ...op.isZero, ...op.branchIf(1)],
    ...body,
    ...steps.flatMap(([address, bytes]) => move(address, [...op.i32(bytes), ...op.plus])),
    ...move(count, [...op.i32(shortenedAtOnce), ...op.minus]),
    ...[...op.branch(0), ...op.end, ...op.end],
  ];
}

const all = (bits: number) => [...op.i32(bits), ...op.splat];

function round(): WasmFunction {
  const [row, count, value] = [0, 1, 2];
  const odd = [...op.get(value), ...op.i32(16), ...op.i32x4ShiftRight, ...all(1), ...op.v128And];
  const rounded = [...op.get(value), ...all(0x7fff), ...op.i32x4Add, ...odd, ...op.i32x4Add];
  // What is no number differs from itself, and stays none.
  const none = [...op.get(value), ...all(0x40_0000), ...op.v128Or];
  const isNone = [...op.get(value), ...op.get(value), ...op.f32x4Differ];
  const four = (at: number) => [
    ...[...op.get(row), ...op.v128Load(at), ...op.set(value)],
    ...[...op.get(row), ...none, ...rounded, ...isNone, ...op.v128Select],
    ...[...all(-0x1_0000), ...op.v128And, ...op.v128Store(at)],
  ];
  return { name: "round", parameters: 2, vectors: 1, body: loop(count, [...four(0), ...four(16)], [[row, 32]]) };
}

function pack(): WasmFunction {
  const [into, from, count] = [0, 1, 2];
  const upper = (at: number) => [...op.get(from), ...op.v128Load(at), ...op.i32(16), ...op.i32x4ShiftRight];
  const body = [...op.get(into), ...upper(0), ...upper(16), ...op.narrow, ...op.v128Store(0)];
  const steps = [
    [into, 16],
    [from, 32],
  ] as const;
  return { name: "pack", parameters: 3, vectors: 0, body: loop(count, body, steps) };
}

function unpack(): WasmFunction {
  const [into, from, count, value] = [0, 1, 2, 3];
  const four = (widen: readonly number[], at: number) => [
    ...[...op.get(into), ...op.get(value), ...widen],
    ...[...op.i32(16), ...op.i32x4ShiftLeft, ...op.v128Store(at)],
  ];
  const body = [
    ...[...op.get(from), ...op.v128Load(0), ...op.set(value)],
    ...[...four(op.widenLow, 0), ...four(op.widenHigh, 16)],
  ];
  const steps = [
    [into, 32],
    [from, 16],
  ] as const;
  return { name: "unpack", parameters: 3, vectors: 1, body: loop(count, body, steps) };
}

export function shorteningIn(memory: WebAssembly.Memory): Shortening {
  const module = new WebAssembly.Module(assemble([round(), pack(), unpack()], maxPages));
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return exports as unknown as Shortening; // what the module above exports
}
