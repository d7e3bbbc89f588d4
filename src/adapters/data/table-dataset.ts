/** Binary tables as samples: the columns that a job names, of one file or several, row after row. */
import { createHash } from "node:crypto";
import { type Dictionaries, labelNames, partsOf } from "../../core/columns.ts";
import { type DataColumn, joinedLabel } from "../../core/data-summary.ts";
import { LockstepError } from "../../core/errors.ts";
import type { TableSource } from "../../core/format-sources.ts";
import { encodeJson } from "../../core/json.ts";
import { checkedWeight } from "../../core/sample-weight.ts";
import { sizeOf } from "../../core/transforms.ts";
import type { DescribedDataset, OpenOptions } from "../../ports/dataset.ts";
import { type DataFile, piecesOf, sha256OfPieces } from "./byte-source.ts";
import { type Decoded, keepRows, type RowProducer } from "./data-cache.ts";
import { Dictionary } from "./dictionary.ts";
import { groupsIn, putFinalGroups } from "./group-codes.ts";
import {
  type ColumnsOf,
  columnsIn,
  type FinalCodes,
  type KeptColumn,
  keptColumns,
  putFinalCodes,
} from "./kept-columns.ts";
import { sampleReader } from "./sample-reader.ts";
import type { NamedColumns } from "./table-columns.ts";
import {
  describedColumn,
  type FilePiece,
  piecesIn,
  type ReadColumn,
  readerFor,
  rowsOf,
  type TableColumn,
} from "./table-rows.ts";
import { unpacked } from "./tfrecord.ts";

/** The packages that decode, as package.json pins them (a test compares): another version may make other rows of the same bytes. */
export const decoderVersions = { hyparquet: "1.33.0", "hyparquet-compressors": "1.1.2" } as const;

/** In a row, the samples' weights are between features and label; behind the label is the code of its group, where the job groups rows. */
interface Columns extends ColumnsOf<TableColumn> {
  readonly weight?: TableColumn;
}

type GroupedSource = TableSource & Pick<NamedColumns, "group">;

/** Rows that become numbers at once. */
const pieceBytes = 1 << 22;

/** `files`: one data set together. */
export async function openTable(
  source: TableSource,
  files: readonly DataFile[],
  memoryBytes: number,
  { dictionaries, group }: Pick<OpenOptions, "dictionaries" | "group"> = {},
): Promise<DescribedDataset> {
  const { kind, features, label, weight, columns: kinds, missing } = source;
  // Gzip around the whole file is no part of the data.
  const bytesOf = kind === "tfrecord" ? unpacked : piecesOf;
  const hashes: string[] = [];
  for (const file of files) hashes.push(await sha256OfPieces(file.read(bytesOf)));
  // Of numbers alone nothing else decides what they are: what is missing is missing, or refused.
  const texts = kinds === undefined ? {} : defined({ columns: kinds, missing, dictionaries });
  const key = { kind, features, label, ...defined({ weight, group }), ...texts, sha256: hashes };
  const { rows, columns, width } = await decodedRows(
    group === undefined ? source : { ...source, group },
    files,
    { ...key, mayLack: missing !== undefined, decoder: decoderVersions },
    { memoryBytes, dictionaries: dictionaries ?? {} },
  );
  const row = new Float32Array(width);
  const bytes = new Uint8Array(row.buffer);
  const form = {
    length: rows.count,
    features: { shape: featuresShape(columns) },
    label: { shape: columns.label.shape },
    isWeighted: weight !== undefined,
  };
  const labelAt = sizeOf(featuresShape(columns)) + Number(weight !== undefined);
  return {
    length: form.length,
    features: form.features,
    label: form.label,
    digest: `sha256:${createHash("sha256").update(encodeJson(key)).digest("hex")}`,
    files: files.map(({ name }) => name),
    columns,
    ...(group !== undefined && { groups: groupsIn(rows, { width }) }),
    ...sampleReader(form, {
      sample(index, features, label, weight) {
        rows.read(index, bytes);
        features.set(row.subarray(0, features.length));
        label.set(row.subarray(labelAt, labelAt + label.length));
        if (columns.weight) weight.set(row.subarray(features.length, labelAt));
      },
      label(index, label) {
        const own = new Uint8Array(label.buffer, label.byteOffset, label.byteLength);
        rows.read(index, own, 4 * labelAt);
      },
    }),
  };
}

/** Without what is undefined. */
function defined(options: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** A single feature keeps its shape; several are put one after the other. */
function featuresShape({ features }: ColumnsOf<DataColumn>): readonly number[] {
  const [only, ...others] = features;
  if (only !== undefined && others.length === 0 && only.shape.length > 0) return only.shape;
  return [features.reduce((sum, { shape }) => sum + sizeOf(shape), 0)];
}

function inOrder({ features, weight, label }: Columns): readonly TableColumn[] {
  return [...features, ...(weight ? [weight] : []), ...partsOf<TableColumn>(label)];
}

function widthOf(columns: Columns): number {
  return inOrder(columns).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

/** The rows of all files, and what columns they have: their shapes, which the first piece says, and their dictionaries. */
async function decodedRows(
  source: GroupedSource,
  files: readonly DataFile[],
  key: object,
  { memoryBytes, dictionaries }: { readonly memoryBytes: number; readonly dictionaries: Dictionaries },
) {
  const pieces = piecesIn(source.kind, source, files);
  try {
    const { value: first } = await pieces.next();
    if (first === undefined) throw noRows(files);
    const columns = columnsOf(first, source);
    const options = { memoryBytes, isCostly: false, name: files[0]!.name }; // no pattern matches nothing
    const width = widthOf(columns) + Number(source.group !== undefined);
    const mostRows = Math.ceil(pieceBytes / 4 / width);
    let isBegun = true;
    const produce: RowProducer<ColumnsOf<KeptColumn>> = async (add) => {
      // The first piece, which may be all there is, is not decoded twice; whoever wants the rows again begins again.
      const all = isBegun ? continued(first, pieces) : piecesIn(source.kind, source, files);
      isBegun = false;
      const read = inOrder(columns).map((column) => {
        const known = Object.hasOwn(dictionaries, column.name) ? dictionaries[column.name]! : null;
        return { ...column, reader: readerFor(source, column, known) };
      });
      const groups = source.group === undefined ? null : new Dictionary(null);
      for await (const piece of all) {
        checkWeights(piece, source);
        for (const rows of rowsOf(piece, read, mostRows, groups)) await add(new Uint8Array(rows.buffer));
      }
      return decoded(columns, read, files, groups);
    };
    const { rows, about } = await keepRows(key, 4 * width, produce, options);
    return { rows, columns: columnsIn(about, files), width };
  } finally {
    await pieces.return(undefined);
  }
}

/** What is known once all rows are read. */
function decoded(
  columns: Columns,
  read: readonly ReadColumn[],
  files: readonly DataFile[],
  groups: Dictionary | null,
): Decoded<ColumnsOf<KeptColumn>> {
  const changes: FinalCodes[] = [];
  let at = 0;
  const finished = read.map(({ reader, ...column }) => {
    const begin = at;
    at += sizeOf(column.shape);
    const { column: known, final } = reader?.finish() ?? { column, final: null };
    if (final !== null) changes.push({ begin, end: at, final });
    return { ...known, type: column.type };
  });
  const features = finished.slice(0, columns.features.length);
  const labels = finished.slice(-partsOf<TableColumn>(columns.label).length);
  const label = columns.label.parts ? joinedLabel(labels) : labels[0]!; // there is always one
  const about = keptColumns({ ...columns, features, label }, files);
  const finalGroups = groups?.finish().final ?? null;
  const width = at + Number(groups !== null);
  const finish = (rows: Uint8Array) => {
    const values = new Float32Array(rows.buffer, rows.byteOffset, rows.length / 4);
    putFinalCodes(values, width, changes);
    if (finalGroups !== null) putFinalGroups(values, { width }, finalGroups);
  };
  return { about, finish: changes.length > 0 || finalGroups !== null ? finish : null };
}

async function* continued<T>(first: T, others: AsyncIterable<T>): AsyncGenerator<T> {
  yield first;
  yield* others;
}

function noRows(files: readonly DataFile[]): LockstepError {
  const names = files.map(({ name }) => name).join(", ");
  return new LockstepError("invalid-data", `${names} ${files.length === 1 ? "has" : "have"} no rows.`);
}

function columnsOf({ file, piece }: FilePiece, source: TableSource): Columns {
  const described = piece.columns.map((column) => describedColumn(column, source));
  const labels = described.splice(-labelNames(source.label).length); // they are always there
  const weight = source.weight === undefined ? undefined : described.pop();
  if (weight && weight.shape.length > 0) {
    throw new LockstepError(
      "invalid-data",
      `${file}, column "${weight.name}" has lists; expected the samples' weights, single numbers.`,
      { hint: "Name another column as the weight." },
    );
  }
  const label = typeof source.label === "string" ? labels[0]! : joinedLabel(labels);
  return { features: described, ...(weight && { weight }), label };
}

function checkWeights({ file, piece, firstRow }: FilePiece, source: TableSource): void {
  for (const column of piece.columns) {
    if (column.name !== source.weight || "texts" in column) continue;
    for (const [row, value] of column.values.entries()) {
      const where = () => `${file}, row ${firstRow + row}, column "${column.name}"`;
      checkedWeight(value, where, () => String(value));
    }
  }
}
