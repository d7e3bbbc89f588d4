/** Binary tables as samples: the columns that a job names, of one file or several, row after row. */
import { createHash } from "node:crypto";
import type { DataColumn } from "../../core/data-summary.ts";
import { LockstepError } from "../../core/errors.ts";
import type { TableSource } from "../../core/format-sources.ts";
import { encodeJson } from "../../core/json.ts";
import { checkedWeight } from "../../core/sample-weight.ts";
import { sizeOf } from "../../core/transforms.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { arrowPieces } from "./arrow.ts";
import { type ByteSource, type DataFile, piecesOf, sha256OfPieces } from "./byte-source.ts";
import { keepRows, nothingElse, type RowProducer } from "./data-cache.ts";
import { parquetPieces } from "./parquet.ts";
import { sampleReader } from "./sample-reader.ts";
import type { NamedColumns, TablePiece } from "./table-columns.ts";
import { tfrecordPieces, unpacked } from "./tfrecord.ts";

const decoders: Readonly<
  Record<TableSource["kind"], (source: ByteSource, named: NamedColumns) => AsyncIterable<TablePiece>>
> = { parquet: parquetPieces, arrow: arrowPieces, tfrecord: tfrecordPieces };

/** The packages that decode, as package.json pins them (a test compares): another version may make other rows of the same bytes. */
export const decoderVersions = { hyparquet: "1.33.0", "hyparquet-compressors": "1.1.2" } as const;

/** In the order of a row: features, the samples' weights if they have some, the label. */
interface Columns {
  readonly features: readonly DataColumn[];
  readonly weight?: DataColumn;
  readonly label: DataColumn;
}

/** `files`: one data set together. */
export async function openTable(
  source: TableSource,
  files: readonly DataFile[],
  memoryBytes: number,
): Promise<DescribedDataset> {
  const { kind, features, label, weight } = source;
  // Gzip around the whole file is no part of the data.
  const bytesOf = kind === "tfrecord" ? unpacked : piecesOf;
  const hashes: string[] = [];
  for (const file of files) hashes.push(await sha256OfPieces(file.read(bytesOf)));
  const key = { kind, features, label, ...(weight === undefined ? {} : { weight }), sha256: hashes };
  const { rows, columns } = await decodedRows(source, files, { ...key, decoder: decoderVersions }, memoryBytes);
  const width = widthOf(columns);
  const row = new Float32Array(width);
  const bytes = new Uint8Array(row.buffer);
  const form = {
    length: rows.count,
    features: { shape: featuresShape(columns) },
    label: { shape: columns.label.shape },
    isWeighted: weight !== undefined,
  };
  const labelAt = width - sizeOf(columns.label.shape);
  return {
    length: form.length,
    features: form.features,
    label: form.label,
    digest: `sha256:${createHash("sha256").update(encodeJson(key)).digest("hex")}`,
    files: files.map(({ name }) => name),
    columns,
    ...sampleReader(form, {
      sample(index, features, label, weight) {
        rows.read(index, bytes);
        features.set(row.subarray(0, features.length));
        label.set(row.subarray(labelAt));
        if (columns.weight) weight.set(row.subarray(features.length, labelAt));
      },
      label(index, label) {
        const own = new Uint8Array(label.buffer, label.byteOffset, label.byteLength);
        rows.read(index, own, bytes.length - own.length);
      },
    }),
  };
}

/** A single feature keeps its shape; several are put one after the other. */
function featuresShape({ features }: Columns): readonly number[] {
  const [only, ...others] = features;
  if (only !== undefined && others.length === 0 && only.shape.length > 0) return only.shape;
  return [features.reduce((sum, { shape }) => sum + sizeOf(shape), 0)];
}

function inOrder({ features, weight, label }: Columns): readonly DataColumn[] {
  return [...features, ...(weight ? [weight] : []), label];
}

function widthOf(columns: Columns): number {
  return inOrder(columns).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

/** The rows of all files, and what columns they have, which their first piece says. */
async function decodedRows(source: TableSource, files: readonly DataFile[], key: object, memoryBytes: number) {
  const pieces = piecesIn(source, files);
  try {
    const { value: first } = await pieces.next();
    if (first === undefined) throw noRows(files);
    const columns = columnsOf(first, source.weight !== undefined);
    const options = { memoryBytes, isCostly: false, name: files[0]!.name }; // no pattern matches nothing
    let isBegun = true;
    const produce: RowProducer = async (add) => {
      // The first piece, which may be all there is, is not decoded twice; whoever wants the rows again begins again.
      const all = isBegun ? continued(first, pieces) : piecesIn(source, files);
      isBegun = false;
      for await (const piece of all) await add(rowsOf(piece, columns));
      return nothingElse;
    };
    const { rows } = await keepRows(key, 4 * widthOf(columns), produce, options);
    return { rows, columns };
  } finally {
    await pieces.return(undefined);
  }
}

interface FilePiece {
  readonly file: string;
  readonly piece: TablePiece;
  /** Of the file, counted as its messages count. */
  readonly firstRow: number;
}

/** Those that have rows. */
async function* piecesIn(source: TableSource, files: readonly DataFile[]): AsyncGenerator<FilePiece, undefined> {
  const { kind } = source;
  for (const file of files) {
    let firstRow = 0;
    for await (const piece of file.read((bytes) => decoders[kind](bytes, source))) {
      if (piece.count > 0) yield { file: file.name, piece, firstRow };
      firstRow += piece.count;
    }
  }
}

async function* continued<T>(first: T, others: AsyncIterable<T>): AsyncGenerator<T> {
  yield first;
  yield* others;
}

function noRows(files: readonly DataFile[]): LockstepError {
  const names = files.map(({ name }) => name).join(", ");
  return new LockstepError("invalid-data", `${names} ${files.length === 1 ? "has" : "have"} no rows.`);
}

function columnsOf({ file, piece }: FilePiece, isWeighted: boolean): Columns {
  const described = piece.columns.map(({ name, type, shape }) => ({ name, type, shape }));
  const label = described.pop()!; // it is always there
  const weight = isWeighted ? described.pop() : undefined;
  if (weight && weight.shape.length > 0) {
    throw new LockstepError(
      "invalid-data",
      `${file}, column "${weight.name}" has lists; expected the samples' weights, single numbers.`,
      { hint: "Name another column as the weight." },
    );
  }
  return { features: described, ...(weight && { weight }), label };
}

/** `firstRow` of the file, from 0. */
function rowsOf({ file, piece, firstRow }: FilePiece, expected: Columns): Uint8Array {
  const { count, columns } = piece;
  const all = inOrder(expected);
  const width = widthOf(expected);
  const rows = new Float32Array(count * width);
  let at = 0;
  for (const [i, column] of columns.entries()) {
    checkShape(file, column, all[i]!);
    if (all[i] === expected.weight) checkWeights(file, column, firstRow);
    const size = sizeOf(column.shape);
    for (let row = 0; row < count; row++) {
      rows.set(column.values.subarray(row * size, (row + 1) * size), row * width + at);
    }
    at += size;
  }
  return new Uint8Array(rows.buffer);
}

function checkWeights(file: string, { name, values }: TablePiece["columns"][number], firstRow: number): void {
  for (const [row, value] of values.entries()) {
    const where = () => `${file}, row ${firstRow + row}, column "${name}"`;
    checkedWeight(value, where, () => String(value));
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
