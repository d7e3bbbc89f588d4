/** The columns of a table as they are kept with its rows; and their codes, which are final once all rows are read. */
import type { DataColumn } from "../../core/data-summary.ts";
import type { DataFile } from "./byte-source.ts";

export interface ColumnsOf<Column> {
  readonly features: readonly Column[];
  readonly label: Column;
  readonly weight?: DataColumn;
}

/** A column that is kept with its rows, wherever their files lie next time. */
export type KeptColumn = Omit<DataColumn, "missing"> & {
  readonly missing?: { readonly count: number; readonly file: number; readonly place: string };
};

/** Codes that were given for the time being, in part of a row, and what each of them has become. */
export interface FinalCodes {
  readonly begin: number;
  readonly end: number;
  readonly final: Uint32Array;
}

/** `values`: whole rows of `width` numbers. What is missing, or in no dictionary, stays as it is. */
export function putFinalCodes(values: Float32Array, width: number, changes: readonly FinalCodes[]): void {
  for (let row = 0; row < values.length; row += width) {
    for (const { begin, end, final } of changes) {
      for (let place = row + begin; place < row + end; place++) {
        const code = values[place]!;
        if (code >= 0) values[place] = final[code]!; // NaN is not
      }
    }
  }
}

export function keptColumns(columns: ColumnsOf<DataColumn>, files: readonly DataFile[]): ColumnsOf<KeptColumn> {
  const kept = ({ missing, ...column }: DataColumn): KeptColumn => {
    if (missing === undefined) return column;
    const isIn = (name: string) =>
      missing.first.startsWith(name) && /^, (line|row) \d/.test(missing.first.slice(name.length));
    const file = files.findIndex(({ name }) => isIn(name));
    return { ...column, missing: { count: missing.count, file, place: missing.first.slice(files[file]!.name.length) } };
  };
  return { ...columns, features: columns.features.map(kept), label: kept(columns.label) };
}

export function columnsIn(kept: ColumnsOf<KeptColumn>, files: readonly DataFile[]): ColumnsOf<DataColumn> {
  const column = ({ missing, ...column }: KeptColumn): DataColumn => {
    if (missing === undefined) return column;
    const { count, file, place } = missing;
    return { ...column, missing: { count, first: `${files[file]!.name}${place}` } };
  };
  return { ...kept, features: kept.features.map(column), label: column(kept.label) };
}
