/**
 * Files of text with a sample in each record, as rows of numbers: those of all files together, in their order. They are read piece by
 * piece, twice: for the digest, by which rows that have been read before are found, and for the rows.
 */
import { createHash, type Hash } from "node:crypto";
import { type DataColumn, joinedLabel } from "../../core/data-summary.ts";
import { LockstepError } from "../../core/errors.ts";
import type { Separator } from "../../core/job.ts";
import { sizeOf } from "../../core/transforms.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { place, textOf } from "./byte-lines.ts";
import { type ByteSource, changedWhileRead, type DataFile, piecesOf } from "./byte-source.ts";
import type { FinishedColumn } from "./column-reader.ts";
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
import { type ByteRecord, recordPieces } from "./records.ts";
import type { RowStore } from "./row-store.ts";
import { sampleReader } from "./sample-reader.ts";

/** What a row has, one after the other: features, the sample's weight, the label. */
interface RowForm {
  readonly features: readonly number[];
  readonly isWeighted: boolean;
  readonly label: readonly number[];
}

export interface TextFormat {
  /** Null where each line is a record. */
  readonly separator: Separator | null;
  /** Whether the first record of each file names the columns. */
  readonly hasHeader: boolean;
  /** What a file has to have, for messages. */
  readonly expected: string;
  /** What decides, beside the bytes, which samples they are: part of the digest. */
  readonly settings: object;
  /** What decides rows and no digest: whether samples have weights is asked of training data alone. */
  readonly isOther: boolean;
  /** Whether samples are in groups. */
  readonly isGrouped: boolean;
  /** Of the job: a column, or a list. */
  readonly label: string | readonly string[];
  /** `first`: the first record that there is. */
  open(file: string, first: string): RecordParser;
}

interface FinishedColumns {
  readonly features: readonly FinishedColumn[];
  /** Several where the job names a list of them. */
  readonly labels: readonly FinishedColumn[];
  readonly weight?: DataColumn;
}

export interface RecordParser {
  readonly form: RowForm;
  /** The header of another file than the first. */
  compareHeader(file: string, header: string): void;
  /** Writes a sample's row from `begin` on; gives the text by which it is grouped. */
  read(file: string, bytes: Buffer, record: ByteRecord, values: Float32Array, begin: number): string | null;
  /** Once all records are read. */
  finish(): FinishedColumns;
}

/** Rows that are read before they are passed on. */
const pieceBytes = 1 << 20;
/** No sample takes less: a value and the end of a line. */
const shortestRecordBytes = 2;

export async function openTextTable(
  format: TextFormat,
  files: readonly DataFile[],
  memoryBytes: number,
): Promise<DescribedDataset> {
  const { form, recordBytes } = await begun(format, files);
  const hash = hashOf(format, files);
  let sizeBytes = 0;
  for (const file of files) {
    for await (const piece of file.read((source) => piecesOf(hash.ofFile(source)))) sizeBytes += piece.length;
  }
  const sha256 = hash.digest();
  const places = placesIn(form, format.isGrouped);
  const mostRows = sizeBytes / shortestRecordBytes + files.length;
  const { rows, about } = await keepRows(
    { kind: "records", isOther: format.isOther, sha256 },
    4 * places.width,
    rowProducer(format, files, { sha256, places, mostRows }),
    {
      ...{ memoryBytes, isCostly: false, name: files[0]!.name }, // no pattern matches nothing
      mostBytes: mostRows * 4 * places.width,
      expectedBytes: (sizeBytes / recordBytes) * 4 * places.width,
    },
  );
  return {
    length: rows.count,
    digest: `sha256:${sha256}`,
    files: files.map(({ name }) => name),
    features: { shape: form.features },
    label: { shape: form.label },
    columns: columnsIn(about, files),
    ...(format.isGrouped && { groups: groupsIn(rows, places) }),
    placeOf: (index) => placeOf(format, files, index),
    ...rowReader(rows, form, places),
  };
}

/** Lines are counted again, since few samples are ever asked for: rows do not know theirs. */
async function placeOf(format: TextFormat, files: readonly DataFile[], index: number): Promise<string> {
  let before = index;
  for (const file of files) {
    let skipped = format.hasHeader ? 1 : 0;
    for await (const { records } of file.read((source) => recordPieces(source, format.separator))) {
      const record = records[before + skipped];
      if (record !== undefined) return place(file.name, record.line);
      const passed = Math.min(skipped, records.length);
      skipped -= passed;
      before -= records.length - passed;
    }
  }
  return `sample ${index}, counted from 0`; // the files have changed
}

/** One file's digest is what it was when there was one file. */
function hashOf({ settings }: TextFormat, files: readonly DataFile[]) {
  const isOne = files.length === 1;
  const text = JSON.stringify(isOne ? settings : { ...settings, files: files.length });
  const hash: Hash = createHash("sha256").update(`${text}\n`);
  return {
    /** The same bytes: each is to be read once, in its order. The lengths tell where one file ends. */
    ofFile(source: ByteSource): ByteSource {
      if (!isOne) hash.update(`${source.sizeBytes}\n`);
      const read = async (begin: number, end: number) => {
        const bytes = await source.read(begin, end);
        hash.update(bytes);
        return bytes;
      };
      return { ...source, read };
    },
    digest: () => hash.digest("hex"),
  };
}

/** What the first records say: the form of a row, and how long a record is there. */
async function begun(format: TextFormat, files: readonly DataFile[]) {
  for (const file of files) {
    for await (const { bytes, records } of file.read((source) => recordPieces(source, format.separator))) {
      const [first] = records as [ByteRecord, ...ByteRecord[]]; // a piece has some
      const recordBytes = (records.at(-1)!.end - first.begin + 1) / records.length;
      return { form: format.open(file.name, textOf(bytes, first)).form, recordBytes };
    }
    if (format.hasHeader) break;
  }
  throw empty(files[0]!, format);
}

function empty({ name }: DataFile, { expected }: TextFormat): LockstepError {
  return new LockstepError("invalid-data", `The data file ${name} is empty; expected ${expected}.`);
}

/** Where in a row its parts are, and how many numbers it has. */
interface Places {
  readonly weight: number;
  readonly label: number;
  /** Of the group's code, as a whole number; −1 where there are no groups. */
  readonly group: number;
  readonly width: number;
}

function placesIn({ features, isWeighted, label }: RowForm, isGrouped: boolean): Places {
  const weight = sizeOf(features);
  const labelAt = weight + Number(isWeighted);
  const end = labelAt + sizeOf(label);
  return { weight, label: labelAt, group: isGrouped ? end : -1, width: end + Number(isGrouped) };
}

/** Reads all files anew, however often rows are asked for. */
function rowProducer(
  format: TextFormat,
  files: readonly DataFile[],
  known: { readonly sha256: string; readonly places: Places; readonly mostRows: number },
): RowProducer<ColumnsOf<KeptColumn>> {
  const { group, width } = known.places;
  const rowsInPiece = Math.ceil(Math.min(known.mostRows, Math.max(1, Math.floor(pieceBytes / 4 / width))));
  return async (add) => {
    const hash = hashOf(format, files);
    const groups = format.isGrouped ? new Dictionary(null) : null;
    const values = new Float32Array(rowsInPiece * width);
    const codes = new Uint32Array(values.buffer);
    const rowsTo = (count: number) => new Uint8Array(values.buffer, 0, 4 * count * width);
    let parser: RecordParser | null = null;
    let count = 0;
    let isAny = false;
    for (const file of files) {
      let isBegun = false;
      const { name } = file;
      for await (const { bytes, records } of file.read((s) => recordPieces(hash.ofFile(s), format.separator))) {
        for (const record of records) {
          if (!isBegun) {
            isBegun = true;
            const isFirst = parser === null;
            parser ??= format.open(name, textOf(bytes, record));
            if (format.hasHeader && !isFirst) parser.compareHeader(name, textOf(bytes, record));
            if (format.hasHeader) continue;
          }
          const text = parser!.read(name, bytes, record, values, count * width); // its file is begun
          if (groups !== null) codes[count * width + group] = groups.codeOf(text!); // a row of a group has its text
          if (++count < rowsInPiece) continue;
          await add(rowsTo(count));
          isAny = true;
          count = 0;
        }
      }
      if (!isBegun && format.hasHeader) throw empty(file, format);
    }
    if (count > 0) await add(rowsTo(count));
    if (parser === null || hash.digest() !== known.sha256) {
      throw changedWhileRead(files);
    }
    if (!isAny && count === 0) throw noRows(files);
    return decoded(parser.finish(), groups, known.places, format.label, files);
  };
}

function noRows(files: readonly DataFile[]): LockstepError {
  const [first] = files;
  const what =
    files.length === 1
      ? `The data file ${first!.name} has a header row`
      : `${first!.name} and ${files.length - 1} more data ${files.length === 2 ? "file" : "files"} have a header row each`;
  return new LockstepError("invalid-data", `${what}, but no rows of data.`);
}

function decoded(
  { features, labels, weight }: FinishedColumns,
  groups: Dictionary | null,
  places: Places,
  label: TextFormat["label"],
  files: readonly DataFile[],
): Decoded<ColumnsOf<KeptColumn>> {
  const changes = [...changesOf(features, 0), ...changesOf(labels, places.label)];
  const groupCodes = groups?.finish().final ?? null;
  const finish = (rows: Uint8Array) => {
    const values = new Float32Array(rows.buffer, rows.byteOffset, rows.length / 4);
    putFinalCodes(values, places.width, changes);
    if (groupCodes !== null) putFinalGroups(values, places, groupCodes);
  };
  const labelColumns = labels.map(({ column }) => column);
  const columns = {
    features: features.map(({ column }) => column),
    label: typeof label === "string" ? labelColumns[0]! : joinedLabel(labelColumns), // there is one
    ...(weight && { weight }),
  };
  return {
    about: keptColumns(columns, files),
    finish: changes.length > 0 || groupCodes !== null ? finish : null,
  };
}

/** The codes of columns that lie one after the other from `begin` on. */
function changesOf(columns: readonly FinishedColumn[], begin: number): FinalCodes[] {
  let end = begin;
  return columns.flatMap(({ column, final }) => {
    const from = end;
    end += sizeOf(column.shape);
    return final === null ? [] : [{ begin: from, end, final }];
  });
}

function rowReader(rows: RowStore, { features, isWeighted, label }: RowForm, places: Places) {
  const row = new Float32Array(places.width);
  const bytes = new Uint8Array(row.buffer);
  const labelEnd = places.label + sizeOf(label);
  const form = { length: rows.count, features: { shape: features }, label: { shape: label }, isWeighted };
  return sampleReader(form, {
    sample(index, features, label, weight) {
      rows.read(index, bytes);
      features.set(row.subarray(0, places.weight));
      label.set(row.subarray(places.label, labelEnd));
      if (isWeighted) weight.set(row.subarray(places.weight, places.label));
    },
    label(index, label) {
      rows.read(index, new Uint8Array(label.buffer, label.byteOffset, label.byteLength), 4 * places.label);
    },
  });
}
