/** Carries out a sum over rows, block by block. */
import { floatsIn, type RowMemory } from "../core/row-memory.ts";
import type { Operand, SumProgram } from "../core/sum-program.ts";
import { isShort, type ShortFormat, type WireFormat } from "../core/wire.ts";

export type Numbers = Float32Array | Float64Array;
/** Rows as they arrive: in 16 bits a number, where that is the form. */
export type Arrived = Numbers | Uint16Array;

/** Numbers in a block: a few of them fit into a processor's first cache. */
const blockLength = 4096;

/** Rows for what is in between, by memory. Used only while a sum is carried out. */
const temporaries = new WeakMap<RowMemory, Float32Array[]>();

/** Puts the program's sum over `rows` into `target`. All of them have one length and the form's kind; a sum is rounded as the form says. */
export function runSum(
  program: SumProgram,
  rows: readonly Arrived[],
  target: Numbers,
  memory: RowMemory,
  form: WireFormat | "float64",
): void {
  const { result } = program;
  // As the form says, see `rowOf` and `numbersOf`.
  if (form === "float64") sumStatistics(program, rows as readonly Float64Array[], target as Float64Array);
  else if (isShort(form))
    sumShort(program, rows as readonly (Float32Array | Uint16Array)[], target as Float32Array, memory, form);
  else if (result.kind === "given") target.set(rows[result.index]!);
  else sumValues(program, rows as readonly Float32Array[], target as Float32Array, memory);
}

function sumValues(program: SumProgram, rows: readonly Float32Array[], target: Float32Array, memory: RowMemory): void {
  const { additions } = program;
  const between = temporariesOf(memory, program.temporaries);
  // One addition needs nothing in between.
  const step = additions.length === 1 ? target.length : blockLength;
  for (let at = 0; at < target.length; at += step) {
    const count = Math.min(step, target.length - at);
    const place = ({ kind, index }: Operand) =>
      kind === "given" ? { row: rows[index]!, at } : { row: between[index]!, at: 0 };
    additions.forEach(({ into, left, right }, i) => {
      const isLast = i === additions.length - 1;
      memory.add(isLast ? { row: target, at } : place(into), place(left), place(right), count);
    });
  }
}

/** Rows that travelled are read block by block, and every sum is rounded while it is in the cache. */
function sumShort(
  { additions, temporaries, result }: SumProgram,
  rows: readonly (Float32Array | Uint16Array)[],
  target: Float32Array,
  memory: RowMemory,
  form: ShortFormat,
): void {
  const between = temporariesOf(memory, temporaries + rows.length);
  for (let at = 0; at < target.length; at += blockLength) {
    const count = Math.min(blockLength, target.length - at);
    const place = ({ kind, index }: Operand) => {
      if (kind === "temporary") return { row: between[index]!, at: 0 };
      const row = rows[index]!;
      if (row instanceof Float32Array) return { row, at };
      const read = between[temporaries + index]!;
      memory.unpack(form, read.subarray(0, count), row.subarray(at, at + count));
      return { row: read, at: 0 };
    };
    additions.forEach(({ into, left, right }, i) => {
      const sum = i === additions.length - 1 ? { row: target, at } : place(into);
      memory.add(sum, place(left), place(right), count);
      memory.roundTo(form, sum.row.subarray(sum.at, sum.at + count));
    });
    if (result.kind === "temporary") continue;
    const only = place(result);
    target.set(only.row.subarray(only.at, only.at + count), at);
  }
}

/** They are few. */
function sumStatistics(program: SumProgram, rows: readonly Float64Array[], target: Float64Array): void {
  const { additions, temporaries, result } = program;
  if (result.kind === "given") return void target.set(rows[result.index]!);
  const between = new Float64Array(temporaries);
  for (let i = 0; i < target.length; i++) {
    const at = ({ kind, index }: Operand) => (kind === "given" ? rows[index]![i]! : between[index]!);
    let sum = 0;
    for (const { into, left, right } of additions) {
      sum = at(left) + at(right);
      between[into.index] = sum;
    }
    target[i] = sum;
  }
}

function temporariesOf(memory: RowMemory, count: number): readonly Float32Array[] {
  let rows = temporaries.get(memory);
  if (!rows) {
    rows = [];
    temporaries.set(memory, rows);
  }
  while (rows.length < count) rows.push(floatsIn(memory.allocate(blockLength * Float32Array.BYTES_PER_ELEMENT)));
  return rows;
}
