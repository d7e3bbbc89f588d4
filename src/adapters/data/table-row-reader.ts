/** Rows of features from a binary table, for a model that is used and not trained. */
import type { Dictionaries } from "../../core/columns.ts";
import { LockstepError } from "../../core/errors.ts";
import type { TableSource } from "../../core/format-sources.ts";
import { sizeOf } from "../../core/transforms.ts";
import { fileAt } from "./byte-source.ts";
import { describedColumn, piecesIn, type ReadColumn, readerFor, rowsOf } from "./table-rows.ts";

/**
 * `size` rows at once, and at last what is left, however the file groups its rows: an engine may round otherwise with another number of
 * them. They are read as the training data's are; other columns, the label among them, are not looked at.
 * @param names the features', in the order of training
 * @param width how many values a row has
 */
export async function* readTableRows(
  file: string,
  source: TableSource,
  { names, width, dictionaries }: { names: readonly string[]; width: number; dictionaries: Dictionaries },
  size: number,
): AsyncGenerator<{ readonly count: number; readonly values: Float32Array }> {
  const { kind, columns, missing } = source;
  const named = { features: names, ...(columns && { columns }), ...(missing && { missing }) };
  let read: readonly ReadColumn[] | null = null;
  let values = new Float32Array(size * width);
  let count = 0;
  for await (const piece of piecesIn(kind, named, [fileAt(file)])) {
    if (read === null) {
      read = piece.piece.columns.map((piece) => {
        const column = describedColumn(piece, named);
        const known = Object.hasOwn(dictionaries, column.name) ? dictionaries[column.name]! : [];
        return { ...column, reader: readerFor(named, column, known) };
      });
      const has = read.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
      if (has !== width) {
        throw new LockstepError("invalid-data", `${file} has ${has} values a row; the model takes ${width}.`);
      }
    }
    for (const rows of rowsOf(piece, read, size)) {
      for (let begin = 0; begin < rows.length; ) {
        const part = rows.subarray(begin, begin + (size - count) * width);
        values.set(part, count * width);
        begin += part.length;
        count += part.length / width;
        if (count < size) continue;
        yield { count, values };
        values = new Float32Array(size * width);
        count = 0;
      }
    }
  }
  if (count > 0) yield { count, values: values.subarray(0, count * width) };
}
