/** Carries out a sum over rows, block by block. */
import { floatsIn, type RowMemory } from "../core/row-memory.ts";
import type { Operand, SumProgram } from "../core/sum-program.ts";

export type Numbers = Float32Array | Float64Array;

/** Numbers in a block: a few of them fit into a processor's first cache. */
const blockLength = 4096;

/** Rows for what is in between, by memory. Used only while a sum is carried out. */
const temporaries = new WeakMap<RowMemory, Float32Array[]>();

/** Puts the program's sum over `rows` into `target`. All of them have one kind and one length. */
export function runSum(program: SumProgram, rows: readonly Numbers[], target: Numbers, memory: RowMemory): void {
  if (program.result.kind === "given") target.set(rows[program.result.index]!);
  else if (target instanceof Float32Array)
    sumValues(program, rows as readonly Float32Array[], target, memory); // one kind
  else sumStatistics(program, rows, target);
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

/** They are few. */
function sumStatistics({ additions, temporaries }: SumProgram, rows: readonly Numbers[], target: Numbers): void {
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
