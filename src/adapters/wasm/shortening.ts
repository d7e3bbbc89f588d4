/** Numbers to bfloat16 and back, and their sums, eight at a time: the SIMD twin of core/wire.ts and of `addRoundedPlainly`. */
import { maxPages } from "./additions.ts";
import { assemble, op, type WasmFunction } from "./assembler.ts";

/** How many numbers are done in one turn: a count must be a multiple of it. */
export const shortenedAtOnce = 8;

/** By addresses of rows of float32, or of 16 bits each, and how many numbers. */
export interface Shortening {
  round(row: number, count: number): void;
  pack(into: number, from: number, count: number): void;
  unpack(into: number, from: number, count: number): void;
  /** By what the left and the right row hold. */
  readonly sums: Readonly<Record<SumKind, Sum>>;
}

/** Of two rows, "float" or "short": sums in float32, rounded; 16 bits of each as well, unless `packed` is 0. */
export type SumKind = `${"float" | "short"}${"Float" | "Short"}`;
export type Sum = (into: number, packed: number, left: number, right: number, count: number) => void;

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

/** What the local `value` holds, rounded. */
function roundedIn(value: number): readonly number[] {
  const odd = [...op.get(value), ...op.i32(16), ...op.i32x4ShiftRight, ...all(1), ...op.v128And];
  const rounded = [...op.get(value), ...all(0x7fff), ...op.i32x4Add, ...odd, ...op.i32x4Add];
  // What is no number differs from itself, and stays none.
  const none = [...op.get(value), ...all(0x40_0000), ...op.v128Or];
  const isNone = [...op.get(value), ...op.get(value), ...op.f32x4Differ];
  return [...none, ...rounded, ...isNone, ...op.v128Select, ...all(-0x1_0000), ...op.v128And];
}

function round(): WasmFunction {
  const [row, count, value] = [0, 1, 2];
  const four = (at: number) => [
    ...[...op.get(row), ...op.v128Load(at), ...op.set(value)],
    ...[...op.get(row), ...roundedIn(value), ...op.v128Store(at)],
  ];
  return { name: "round", parameters: 2, vectors: 1, body: loop(count, [...four(0), ...four(16)], [[row, 32]]) };
}

const sumKinds: readonly SumKind[] = ["floatFloat", "floatShort", "shortFloat", "shortShort"];

function sum(kind: SumKind): WasmFunction[] {
  return [true, false].map((packs) => sumOf(kind, packs));
}

function sumOf(kind: SumKind, packs: boolean): WasmFunction {
  const [into, packed, left, right, count, leftShorts, rightShorts, value, low, high] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
  const isShort = { [left]: kind.startsWith("short"), [right]: kind.endsWith("Short") };
  const load = (row: number, shorts: number) =>
    isShort[row] ? [...op.get(row), ...op.v128Load(0), ...op.set(shorts)] : [];
  const half = (row: number, shorts: number, isHigh: boolean) =>
    isShort[row]
      ? [...op.get(shorts), ...(isHigh ? op.widenHigh : op.widenLow), ...op.i32(16), ...op.i32x4ShiftLeft]
      : [...op.get(row), ...op.v128Load(isHigh ? 16 : 0)];
  const four = (isHigh: boolean) => {
    const result = isHigh ? high : low;
    return [
      ...[...half(left, leftShorts, isHigh), ...half(right, rightShorts, isHigh), ...op.f32x4Add, ...op.set(value)],
      ...[...roundedIn(value), ...op.set(result)],
      ...[...op.get(into), ...op.get(result), ...op.v128Store(isHigh ? 16 : 0)],
    ];
  };
  const upper = (result: number) => [...op.get(result), ...op.i32(16), ...op.i32x4ShiftRight];
  const body = [
    ...[...load(left, leftShorts), ...load(right, rightShorts), ...four(false), ...four(true)],
    ...(packs ? [...op.get(packed), ...upper(low), ...upper(high), ...op.narrow, ...op.v128Store(0)] : []),
  ];
  const bytes = (row: number) => [row, isShort[row] ? 16 : 32] as const;
  const steps = [[into, 32] as const, bytes(left), bytes(right), ...(packs ? [[packed, 16] as const] : [])];
  return { name: nameOf(kind, packs), parameters: 5, vectors: 5, body: loop(count, body, steps) };
}

function nameOf(kind: SumKind, packs: boolean): string {
  return packs ? `${kind}Packed` : kind;
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
  const functions = [round(), pack(), unpack(), ...sumKinds.flatMap(sum)];
  const module = new WebAssembly.Module(assemble(functions, maxPages));
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const simple = exports as unknown as Omit<Shortening, "sums">; // what the module above exports
  const sums = exports as Readonly<Record<string, Sum>>; // so are these
  const sumOf = (kind: SumKind): Sum => {
    const [packing, plain] = [sums[nameOf(kind, true)]!, sums[nameOf(kind, false)]!];
    return (into, packed, left, right, count) => (packed === 0 ? plain : packing)(into, packed, left, right, count);
  };
  const byKind = Object.fromEntries(sumKinds.map((kind) => [kind, sumOf(kind)])) as Record<SumKind, Sum>;
  return { round: simple.round, pack: simple.pack, unpack: simple.unpack, sums: byKind };
}
