/**
 * TensorFlow's record files with a `tf.train.Example` in each record: features by name, each a list of floats, of whole numbers
 * or of bytes. Every record's two checksums are verified.
 */
import { LockstepError, messageOf } from "../../core/errors.ts";
import { bytesField, fieldsOf } from "../tensorboard/protobuf.ts";
import { maskedCrc32c } from "../tensorboard/records.ts";
import { type ByteSource, damaged } from "./byte-source.ts";
import { unpackedPieces } from "./gunzip.ts";
import {
  checkColumns,
  columnsRead,
  type Held,
  heldType,
  mayBeMissing,
  type NamedColumns,
  type TablePiece,
  tablePiece,
} from "./table-columns.ts";
import { textOrBytes } from "./utf8.ts";

const headerBytes = 12;
const footerBytes = 4;
/** Records that become one piece; fewer where they have many numbers. */
const pieceRecords = 1024;
/** Numbers after which a piece ends with its record. */
const pieceValues = 1 << 20;

export async function* tfrecordPieces(source: ByteSource, named: NamedColumns): AsyncGenerator<TablePiece> {
  const columns = columnsRead(named);
  let firstRow = 0;
  let names: readonly string[] | null = null;
  /** Of the features that some record had so far. */
  const types = new Map<string, string>();
  let rows: (readonly unknown[])[] = [];
  let valueCount = 0;
  const piece = (): Promise<TablePiece> => {
    const valuesOf = (column: string) => rows.map((row) => row[columns.indexOf(column)]);
    return tablePiece(named, { file: source.name, types, firstRow, count: rows.length }, valuesOf);
  };
  for await (const record of recordsOf(source)) {
    const where = `${source.name}, record ${firstRow + rows.length}`;
    const features = exampleFeatures(where, record);
    if (names === null) {
      names = [...features.keys()];
      const isLacking = (column: string) => mayBeMissing(named, column) && !features.has(column);
      checkColumns(source.name, [...names, ...columns.filter(isLacking)], named);
    }
    const values = columns.map((column) => featureIn(where, column, features.get(column) ?? null, named));
    for (const [i, { type, size }] of values.entries()) {
      if (type !== null && !types.has(columns[i]!)) types.set(columns[i]!, type);
      valueCount += size;
    }
    rows.push(values.map(({ value }) => value));
    if (rows.length < pieceRecords && valueCount < pieceValues) continue;
    yield await piece();
    firstRow += rows.length;
    [rows, valueCount] = [[], 0];
  }
  if (rows.length > 0) yield await piece();
  // A feature that is in no record is not missing, but another one is meant.
  if (names !== null && types.size < columns.length) checkColumns(source.name, names, named);
}

/** The records, each with its checksums verified; plain or gzip. */
async function* recordsOf(source: ByteSource): AsyncGenerator<Uint8Array> {
  // A long record comes in many parts, which are put together once, when it is whole.
  let parts: Uint8Array[] = [];
  let size = 0;
  let wanted = headerBytes;
  let number = 0;
  for await (const part of unpacked(source)) {
    parts.push(part);
    size += part.length;
    if (size < wanted) continue;
    const kept = parts.length === 1 ? part : Buffer.concat(parts, size);
    let at = 0;
    for (;;) {
      const length = recordLength(source.name, kept.subarray(at), number);
      wanted = headerBytes + (length === null ? 0 : length + footerBytes);
      if (length === null || at + wanted > kept.length) break;
      const end = at + headerBytes + length;
      const data = kept.subarray(at + headerBytes, end);
      if (new DataView(kept.buffer, kept.byteOffset + end).getUint32(0, true) !== maskedCrc32c(data)) {
        throw damaged(source.name, `record ${number} is not what its checksum says`);
      }
      yield data;
      number++;
      at = end + footerBytes;
    }
    size = kept.length - at;
    parts = size === 0 ? [] : [kept.subarray(at)];
  }
  if (size > 0) throw damaged(source.name, `it ends within record ${number}`);
}

/** Null where the header is not there yet. Its checksum comes first: a wrong length would lead anywhere. */
function recordLength(file: string, bytes: Uint8Array, number: number): number | null {
  if (bytes.length < headerBytes) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerBytes);
  if (view.getUint32(8, true) === maskedCrc32c(bytes.subarray(0, 8))) return Number(view.getBigUint64(0, true));
  if (number > 0) throw damaged(file, `the length of record ${number} is not what its checksum says`);
  throw new LockstepError("invalid-data", `${file} is no TFRecord file: its first checksum is wrong.`, {
    hint: "Write it with tf.io.TFRecordWriter, plain or with GZIP.",
  });
}

/** The bytes of the records: a file's, or what gzip made them of. */
export function unpacked(source: ByteSource): AsyncGenerator<Uint8Array> {
  return unpackedPieces(source, (cause) => damaged(source.name, `as gzip (${messageOf(cause)})`, cause));
}

/** Example → features → a map's entries, of key and feature; the last of two with one key counts, as in any protobuf. */
function exampleFeatures(where: string, record: Uint8Array): Map<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  return asExample(where, () => {
    for (const field of fieldsOf(record)) {
      if (field.number !== 1 || typeof field.value === "number") continue;
      for (const entry of fieldsOf(field.value)) {
        if (entry.number !== 1 || typeof entry.value === "number") continue;
        const key = bytesField(entry.value, 1);
        found.set(Buffer.from(key ?? []).toString("utf8"), bytesField(entry.value, 2) ?? new Uint8Array(0));
      }
    }
    return found;
  });
}

interface FeatureValue {
  /** Null where it is missing. */
  readonly type: string | null;
  /** A number, a text, or a list of numbers; null where it is missing. */
  readonly value: unknown;
  /** Numbers, or a text's bytes. */
  readonly size: number;
}

function featureIn(where: string, column: string, feature: Uint8Array | null, named: NamedColumns): FeatureValue {
  return asExample(where, () => {
    const { held, values } = valuesOf(feature ?? new Uint8Array(0));
    if (values.length === 0 || held === null) {
      if (mayBeMissing(named, column)) return { type: null, value: null, size: 0 };
      throw missing(`${where}, feature "${column}"`);
    }
    const type = heldType(where, column, held, named);
    if (held.of !== "texts") {
      // A list of one is a number, as FixedLenFeature([]) reads it.
      return { type, value: values.length === 1 ? values[0] : values, size: values.length };
    }
    const [text] = values as readonly Uint8Array[];
    if (values.length === 1) return { type, value: textOrBytes(text!), size: text!.length };
    throw new LockstepError("invalid-data", `${where}, feature "${column}" has ${values.length} texts; expected one.`, {
      hint: "Join them, or make a feature of each. Records count from 0.",
    });
  });
}

/** What a feature has; nothing at all where it has no list. */
function valuesOf(feature: Uint8Array): { readonly held: Held | null; readonly values: readonly unknown[] } {
  const [texts, floats, integers] = [1, 2, 3].map((list) => bytesField(feature, list));
  if (texts) return { held: { of: "texts" }, values: textsIn(texts) };
  if (floats) return { held: { of: "numbers", type: "float32", isList: false }, values: floatsIn(floats) };
  if (!integers) return { held: null, values: [] };
  const values = integersIn(integers);
  return { held: { of: "numbers", type: "int64", isList: values.length > 1 }, values };
}

function textsIn(list: Uint8Array): Uint8Array[] {
  const texts: Uint8Array[] = [];
  for (const { number, value } of fieldsOf(list)) if (number === 1 && typeof value !== "number") texts.push(value);
  return texts;
}

/** Packed, or one by one, as older writers have it. */
function floatsIn(list: Uint8Array): number[] {
  const numbers: number[] = [];
  for (const { number, value } of fieldsOf(list)) {
    if (number !== 1 || typeof value === "number") continue;
    if (value.length % 4 !== 0) throw new RangeError("a list of floats ends within one");
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
    for (let at = 0; at < value.length; at += 4) numbers.push(view.getFloat32(at, true));
  }
  return numbers;
}

function integersIn(list: Uint8Array): bigint[] {
  const numbers: bigint[] = [];
  // One that stands alone is read from its bytes too: as float64 it would lose digits, and its sign.
  for (const { number, bytes } of fieldsOf(list)) if (number === 1) readVarints(bytes, numbers);
  return numbers;
}

/** Adds numbers of 64 bits with a sign, each in groups of seven bits. */
function readVarints(bytes: Uint8Array, into: bigint[]): void {
  let value = 0n;
  let shift = 0n;
  for (const byte of bytes) {
    value |= BigInt(byte & 127) << shift;
    shift += 7n;
    if (shift > 70n) throw new RangeError("a whole number has no end");
    if (byte >= 128) continue;
    into.push(BigInt.asIntN(64, value));
    value = 0n;
    shift = 0n;
  }
  if (shift !== 0n) throw new RangeError("a whole number has no end");
}

function missing(where: string): LockstepError {
  return new LockstepError("invalid-data", `${where} is missing; expected it in every record.`, {
    hint: "Every record needs every feature: fill in what is missing. Records count from 0.",
  });
}

function asExample<T>(where: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof LockstepError) throw error;
    throw new LockstepError("invalid-data", `${where} is no tf.train.Example: ${messageOf(error)}.`, {
      hint: "Write tf.train.Example(…).SerializeToString() into each record.",
      cause: error,
    });
  }
}
