/**
 * Groups of samples, as the last number of each row: a code that stands for the group's text. While rows are read it is one for the
 * time being; once all texts are known it goes by their order, so that rows of equal texts have equal codes whatever they are read from.
 */
import type { RowStore } from "./row-store.ts";

/** Numbers of a row, with the code of its group behind the others. */
interface GroupedRows {
  readonly width: number;
}

/** Codes are whole numbers of 32 bits: float32 would not have all of them. */
export function putGroups(rows: Float32Array, { width }: GroupedRows, code: (row: number) => number): void {
  const codes = new Uint32Array(rows.buffer, rows.byteOffset, rows.length);
  for (let at = width - 1, row = 0; at < codes.length; at += width) codes[at] = code(row++);
}

/** `rows`: whole ones. `final`: what each code has become. */
export function putFinalGroups(rows: Float32Array, { width }: GroupedRows, final: Uint32Array): void {
  const codes = new Uint32Array(rows.buffer, rows.byteOffset, rows.length);
  for (let at = width - 1; at < codes.length; at += width) codes[at] = final[codes[at]!]!;
}

/** The group of each row. */
export function groupsIn(rows: RowStore, { width }: GroupedRows): Uint32Array {
  const groups = new Uint32Array(rows.count);
  let row = 0;
  for (const piece of rows.pieces()) {
    const codes = new Uint32Array(piece.buffer, piece.byteOffset, piece.length / 4);
    for (let at = width - 1; at < codes.length; at += width) groups[row++] = codes[at]!;
  }
  return groups;
}
