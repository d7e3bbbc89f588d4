/** As much of WebAssembly's binary format as a module of a few loops over shared memory needs. */

/** Instructions, by their names in the text format. */
export const op = {
  block: [0x02, 0x40],
  loop: [0x03, 0x40],
  end: [0x0b],
  branch: (depth: number) => [0x0c, depth],
  branchIf: (depth: number) => [0x0d, depth],
  get: (local: number) => [0x20, local],
  set: (local: number) => [0x21, local],
  i32: (value: number) => [0x41, ...signed(value)],
  isZero: [0x45],
  isLess: [0x49],
  plus: [0x6a],
  minus: [0x6b],
  f32Load: [0x2a, 2, 0],
  f32Store: [0x38, 2, 0],
  f32Add: [0x92],
  /** Four at once, so many bytes behind the address. Any alignment will do. */
  v128Load: (offset: number) => [0xfd, 0x00, 0, ...unsigned(offset)],
  v128Store: (offset: number) => [0xfd, 0x0b, 0, ...unsigned(offset)],
  f32x4Add: [0xfd, 0xe4, 0x01],
  f32x4Differ: [0xfd, 0x42],
  splat: [0xfd, 0x11],
  i32x4Add: [0xfd, 0xae, 0x01],
  i32x4ShiftLeft: [0xfd, 0xab, 0x01],
  i32x4ShiftRight: [0xfd, 0xad, 0x01],
  /** Eight of 16 bits from two times four of 32. */
  narrow: [0xfd, 0x86, 0x01],
  widenLow: [0xfd, 0xa9, 0x01],
  widenHigh: [0xfd, 0xaa, 0x01],
  v128And: [0xfd, 0x4e],
  v128Or: [0xfd, 0x50],
  /** Of the first where the third has ones, else of the second. */
  v128Select: [0xfd, 0x52],
} as const;

const i32Type = 0x7f;
const v128Type = 0x7b;

export interface WasmFunction {
  readonly name: string;
  /** All of them 32-bit integers. It returns nothing. */
  readonly parameters: number;
  /** Locals behind the parameters, of 128 bits each. */
  readonly vectors: number;
  readonly body: readonly number[];
}

/** A module of such functions over a shared memory that it imports as "env" "memory". */
export function assemble(functions: readonly WasmFunction[], maxPages: number): Uint8Array<ArrayBuffer> {
  const types = functions.map(({ parameters }) => [0x60, ...vector(Array(parameters).fill([i32Type])), 0]);
  const shared = 0x03; // with a maximum
  const memory = [...text("env"), ...text("memory"), 0x02, shared, 0, ...unsigned(maxPages)];
  const bodies = functions.map(({ body, vectors }) => {
    const locals = vectors === 0 ? [0] : [1, ...unsigned(vectors), v128Type];
    const code = [...locals, ...body, ...op.end];
    return [...unsigned(code.length), ...code];
  });
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector(types)),
    ...section(2, vector([memory])),
    ...section(3, vector(functions.map((_, i) => unsigned(i)))),
    ...section(7, vector(functions.map(({ name }, i) => [...text(name), 0x00, ...unsigned(i)]))),
    ...section(10, vector(bodies)),
  ]);
}

function section(id: number, content: readonly number[]): number[] {
  return [id, ...unsigned(content.length), ...content];
}

function vector(items: readonly (readonly number[])[]): number[] {
  return [...unsigned(items.length), ...items.flat()];
}

function text(value: string): number[] {
  return vector([...Buffer.from(value)].map((byte) => [byte]));
}

/** LEB128. */
function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)];
}

function signed(value: number): number[] {
  const low = value & 127;
  const rest = value >> 7;
  const isLast = (rest === 0 && low < 64) || (rest === -1 && low >= 64);
  return isLast ? [low] : [low | 128, ...signed(rest)];
}
