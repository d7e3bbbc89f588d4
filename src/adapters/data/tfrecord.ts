/**
 * TensorFlow's record files with a `tf.train.Example` in each record: features by name, each a list of floats, of whole numbers
 * or of bytes. Every record's two checksums are verified.
 */
import { LockstepError, messageOf } from "../../core/errors.ts";
import { bytesField, fieldsOf } from "../tensorboard/protobuf.ts";
import { maskedCrc32c } from "../tensorboard/records.ts";
import { type ByteSource, damaged } from "./byte-source.ts";
import { unpackedPieces } from "./gunzip.ts";
import { roundable } from "./number-array.ts";
import { checkColumns, columnPiece, type NamedColumns, namesOf, noNumbers, type TablePiece } from "./table-columns.ts";

const headerBytes = 12;
const footerBytes = 4;
/** Records that become one piece; fewer where they have many numbers. */
const pieceRecords = 1024;
/** Numbers after which a piece ends with its record. */
const pieceValues = 1 << 20;

export async function* tfrecordPieces(source: ByteSource, named: NamedColumns): AsyncGenerator<TablePiece> {
  const columns = namesOf(named);
  let firstRow = 0;
  let types: readonly string[] | null = null;
  let rows: (readonly unknown[])[] = [];
  let valueCount = 0;
  const piece = (types: readonly string[]): TablePiece => ({
    count: rows.length,
    columns: columns.map((column, i) =>
      columnPiece(
        { file: source.name, column, type: types[i]! },
        rows.map((row) => row[i]),
        firstRow,
      ),
    ),
  });
  for await (const record of recordsOf(source)) {
    const where = `${source.name}, record ${firstRow + rows.length}`;
    const features = exampleFeatures(where, record);
    if (types === null) checkColumns(source.name, [...features.keys()], named);
    const values = columns.map((column) => featureValues(where, column, features.get(column) ?? null));
    types ??= values.map(({ type }) => type);
    // A list of one is a number, as FixedLenFeature([]) reads it.
    rows.push(values.map(({ numbers }) => (numbers.length === 1 ? numbers[0] : numbers)));
    for (const { numbers } of values) valueCount += numbers.length;
    if (rows.length < pieceRecords && valueCount < pieceValues) continue;
    yield piece(types);
    firstRow += rows.length;
    [rows, valueCount] = [[], 0];
  }
  if (rows.length > 0) yield piece(types!); // there was a record
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

function featureValues(
  where: string,
  column: string,
  feature: Uint8Array | null,
): { type: string; numbers: readonly (number | bigint)[] } {
  const at = `${where}, feature "${column}"`;
  if (feature === null) throw missing(at);
  return asExample(where, () => {
    const texts = bytesField(feature, 1);
    if (texts !== null) throw noNumbers(where, column, "bytes");
    const floats = bytesField(feature, 2);
    const integers = bytesField(feature, 3);
    const list = floats ?? integers;
    const numbers = list === null ? [] : floats === null ? integersIn(list) : floatsIn(list);
    if (numbers.length === 0) throw missing(at);
    return { type: floats === null ? "int64" : "float32", numbers };
  });
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

function integersIn(list: Uint8Array): number[] {
  const numbers: number[] = [];
  // One that stands alone is read from its bytes too: as float64 it would lose digits, and its sign.
  for (const { number, bytes } of fieldsOf(list)) if (number === 1) readVarints(bytes, numbers);
  return numbers;
}

/** Adds numbers of 64 bits with a sign, each in groups of seven bits. */
function readVarints(bytes: Uint8Array, into: number[]): void {
  let value = 0n;
  let shift = 0n;
  for (const byte of bytes) {
    value |= BigInt(byte & 127) << shift;
    shift += 7n;
    if (shift > 70n) throw new RangeError("a whole number has no end");
    if (byte >= 128) continue;
    into.push(roundable(BigInt.asIntN(64, value)));
    value = 0n;
    shift = 0n;
  }
  if (shift !== 0n) throw new RangeError("a whole number has no end");
}

function missing(where: string): LockstepError {
  return new LockstepError("invalid-data", `${where} is missing; expected numbers.`, {
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
