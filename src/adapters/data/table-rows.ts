/** Pieces of binary tables as rows of float32, in which the columns have the order that the job names them in. */
import { kindOf, labelNames } from "../../core/columns.ts";
import type { DataColumn } from "../../core/data-summary.ts";
import { LockstepError } from "../../core/errors.ts";
import type { TableSource } from "../../core/format-sources.ts";
import { sizeOf } from "../../core/transforms.ts";
import { arrowPieces } from "./arrow.ts";
import type { ByteSource, DataFile } from "./byte-source.ts";
import { ColumnReader } from "./column-reader.ts";
import type { Dictionary } from "./dictionary.ts";
import { putGroups } from "./group-codes.ts";
import { parquetPieces } from "./parquet.ts";
import { type ColumnPiece, mayBeMissing, type NamedColumns, readTextValue, type TablePiece } from "./table-columns.ts";
import { tfrecordPieces } from "./tfrecord.ts";

const decoders: Readonly<
  Record<TableSource["kind"], (source: ByteSource, named: NamedColumns) => AsyncIterable<TablePiece>>
> = { parquet: parquetPieces, arrow: arrowPieces, tfrecord: tfrecordPieces };

export interface FilePiece {
  readonly file: string;
  readonly piece: TablePiece;
  /** Of the file, counted as its messages count. */
  readonly firstRow: number;
}

export type TableColumn = DataColumn & { readonly name: string; readonly parts?: readonly TableColumn[] };

/** A column, and what reads its values; null where they are numbers, or lists of them, of which none may be missing. */
export type ReadColumn = TableColumn & { readonly reader: ColumnReader | null };

/** Those that have rows. */
export async function* piecesIn(
  kind: TableSource["kind"],
  named: NamedColumns,
  files: readonly DataFile[],
): AsyncGenerator<FilePiece, undefined> {
  for (const file of files) {
    let firstRow = 0;
    for await (const piece of file.read((bytes) => decoders[kind](bytes, named))) {
      if (piece.count > 0) yield { file: file.name, piece, firstRow };
      firstRow += piece.count;
    }
  }
}

/** What is known of a column by a piece of it; a dictionary is not. */
export function describedColumn(column: ColumnPiece, named: NamedColumns): TableColumn {
  const { name } = column;
  if (!("texts" in column)) return { name, type: column.type, shape: column.shape };
  const kind = kindOf(named, name);
  return typeof kind === "object" ? { name, type: kind.kind, shape: [kind.length] } : { name, type: kind, shape: [] };
}

/** `known`: the dictionary of the data that a model was trained with; null for that data itself. */
export function readerFor(
  named: NamedColumns,
  { name, shape }: TableColumn,
  known: readonly string[] | null,
): ColumnReader | null {
  const kind = kindOf(named, name);
  if (kind === "number" && (shape.length > 0 || !mayBeMissing(named, name))) return null;
  const isLabel = named.label !== undefined && labelNames(named.label).includes(name);
  return new ColumnReader({ name, kind, missing: named.missing ?? null, known, isLabel });
}

/**
 * The rows of a piece, `most` at a time: texts may become many times what they take in the file.
 * @param groups the texts of the groups so far; with it, the code of its group is behind each row
 */
export function* rowsOf(
  { file, piece, firstRow }: FilePiece,
  columns: readonly ReadColumn[],
  most: number,
  groups: Dictionary | null = null,
): Generator<Float32Array<ArrayBuffer>> {
  for (const [i, column] of piece.columns.entries()) if (!("texts" in column)) checkShape(file, column, columns[i]!);
  const width = columns.reduce((sum, { shape }) => sum + sizeOf(shape), 0) + Number(groups !== null);
  const where = (row: number) => `${file}, row ${firstRow + row}`;
  for (let begin = 0; begin < piece.count; begin += most) {
    const rows = new Float32Array(Math.min(most, piece.count - begin) * width);
    let at = 0;
    for (const [i, column] of piece.columns.entries()) {
      const { reader, shape } = columns[i]!;
      putColumn(column, reader, begin, { rows, width, at }, where);
      at += sizeOf(shape);
    }
    if (groups !== null) putGroups(rows, { width }, (row) => groups.codeOf(piece.groups![begin + row]!));
    yield rows;
  }
}

/** Writes a column's values, of the rows of its piece from `first` on, into rows of `width` numbers, in which it begins with `at`. */
function putColumn(
  column: ColumnPiece,
  reader: ColumnReader | null,
  first: number,
  { rows, width, at }: { readonly rows: Float32Array; readonly width: number; readonly at: number },
  where: (row: number) => string,
): void {
  const size = "texts" in column ? 0 : sizeOf(column.shape);
  for (let place = at, row = first; place < rows.length; place += width, row++) {
    if ("texts" in column) {
      // Whatever has texts has a reader.
      readTextValue(column.texts[row], reader!, rows, place, () => where(row));
    } else if (reader !== null && Number.isNaN(column.values[row])) reader.readMissing(rows, place, () => where(row));
    else rows.set(column.values.subarray(row * size, (row + 1) * size), place);
  }
}

function checkShape(file: string, { name, shape }: DataColumn, expected: DataColumn): void {
  if (shape.length === expected.shape.length && shape.every((size, i) => size === expected.shape[i])) return;
  const shown = (sizes: readonly number[]) =>
    sizes.length === 0 ? "single numbers" : `lists of [${sizes.join(", ")}]`;
  throw new LockstepError(
    "invalid-data",
    `${file}, column "${name}" has ${shown(shape)}; expected ${shown(expected.shape)}, as the rows before.`,
    { hint: "All rows need lists of one length: pad or cut them first." },
  );
}
