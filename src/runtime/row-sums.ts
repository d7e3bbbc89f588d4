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

/** Where a sum goes: the numbers, and where they travel in 16 bits, those too. */
export interface Target {
  readonly numbers: Numbers;
  readonly packed: Uint16Array | null;
}

/** Puts the program's sum over `rows` into `target`. All of them have one length and the form's kind; a sum is rounded as the form says. */
export function runSum(
  program: SumProgram,
  rows: readonly Arrived[],
  { numbers, packed }: Target,
  memory: RowMemory,
  form: WireFormat | "float64",
): void {
  const { result } = program;
  // As the form says, see `rowOf` and `numbersOf`.
  if (form === "float64") sumStatistics(program, rows as readonly Float64Array[], numbers as Float64Array);
  else if (isShort(form)) {
    const target = { numbers: numbers as Float32Array, packed };
    sumShort(program, rows as readonly (Float32Array | Uint16Array)[], target, memory, form);
  } else if (result.kind === "given") numbers.set(rows[result.index]!);
  else sumValues(program, rows as readonly Float32Array[], numbers as Float32Array, memory);
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

/** Every number is read and written once where there is one addition; what is in between of more of them stays in the cache. */
function sumShort(
  { additions, temporaries, result }: SumProgram,
  rows: readonly (Float32Array | Uint16Array)[],
  { numbers, packed }: { readonly numbers: Float32Array; readonly packed: Uint16Array | null },
  memory: RowMemory,
  form: ShortFormat,
): void {
  if (result.kind === "given") {
    // Rounded already: it is one shard's, or a sum of a worker's own.
    const row = rows[result.index]!;
    if (row instanceof Float32Array) numbers.set(row);
    else memory.unpack(form, numbers, row);
    if (packed) memory.pack(form, packed, numbers);
    return;
  }
  const between = temporariesOf(memory, temporaries);
  const step = additions.length === 1 ? numbers.length : blockLength;
  for (let at = 0; at < numbers.length; at += step) {
    const count = Math.min(step, numbers.length - at);
    const place = ({ kind, index }: Operand) =>
      kind === "given" ? { row: rows[index]!, at } : { row: between[index]!, at: 0 };
    additions.forEach(({ into, left, right }, i) => {
      const isLast = i === additions.length - 1;
      const sum = isLast
        ? { into: { row: numbers, at }, packed: packed && { row: packed, at } }
        : { into: { row: between[into.index]!, at: 0 }, packed: null };
      memory.addRounded(form, sum, place(left), place(right), count);
    });
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
