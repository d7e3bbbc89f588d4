/**
 * One column of a row group of a Parquet file. hyparquet's own loops over pages and runs trust the lengths and counts that are in
 * them: damaged ones keep it busy without end, where no timeout can stop it. So pages, levels and indices are read here, each length
 * and count compared with what can be. hyparquet has what ends by itself: headers, plain values, conversions, the assembly of lists.
 */
import type {
  ColumnMetaData,
  CompressionCodec,
  DataReader,
  DecodedArray,
  Encoding,
  PageHeader,
  SchemaElement,
  SchemaTree,
} from "hyparquet";
import { alpDecode } from "hyparquet/src/alp.js";
import { assembleLists, assembleNested } from "hyparquet/src/assemble.js";
import { parquetHeader } from "hyparquet/src/column.js";
import { convert, DEFAULT_PARSERS } from "hyparquet/src/convert.js";
import { deltaBinaryUnpack } from "hyparquet/src/delta.js";
import { byteStreamSplit } from "hyparquet/src/encoding.js";
import { readPlain } from "hyparquet/src/plain.js";
import { getMaxDefinitionLevel, getMaxRepetitionLevel, getTreePath, isFlatColumn } from "hyparquet/src/schema.js";
import { readVarInt } from "hyparquet/src/thrift.js";
import { flatten } from "hyparquet/src/utils.js";
import { compressors } from "hyparquet-compressors";
import { textOrBytes } from "./utf8.ts";
import { checkZstdFrame } from "./zstd.ts";

/** Unpacked, a page may be this large; writers end them at a megabyte or so. */
const mostPageBytes = 2 ** 30;
const mostIndexBits = 32;
/** Of differences, in a block; writers have 128. Each part of a block has a multiple of 32. */
const mostInBlock = 2 ** 20;
const partMultiple = 32;

type ColumnDecoder = Parameters<typeof convert>[1];

interface Page {
  /** With what is missing. */
  readonly count: number;
  readonly encoding: Encoding;
  /** Empty where the column has none. */
  readonly repetitions: number[];
  readonly definitions: number[];
  readonly values: Uint8Array;
}

/** As hyparquet wants it described. */
interface Column extends ColumnDecoder {
  readonly mostRepeated: number;
  readonly mostDefined: number;
}

/** hyparquet would put other characters in the place of bytes that are no UTF-8. */
const parsers: typeof DEFAULT_PARSERS = { ...DEFAULT_PARSERS, stringFromBytes: (bytes) => bytes && textOrBytes(bytes) };

/**
 * The column's values, one a row: lists are arrays, and what is missing is null. `bytes`: all of its pages. Throws a RangeError, or an
 * error of hyparquet's, where they are damaged.
 */
export function readColumn(bytes: Uint8Array, chunk: ColumnMetaData, schema: SchemaTree): DecodedArray {
  const schemaPath = getTreePath(schema, chunk.path_in_schema);
  const column: Column = {
    pathInSchema: chunk.path_in_schema,
    type: chunk.type,
    codec: chunk.codec,
    element: scaled(schemaPath.at(-1)!.element), // the root is there
    schemaPath,
    parsers,
    mostRepeated: getMaxRepetitionLevel(schemaPath),
    mostDefined: getMaxDefinitionLevel(schemaPath),
  };
  const reader = readerOf(bytes);
  const parts: DecodedArray[] = [];
  let dictionary: DecodedArray = [];
  for (let left = Number(chunk.num_values); left > 0; ) {
    const header = parquetHeader(reader);
    const begin = reader.offset;
    reader.offset += within(header.compressed_page_size, bytes.length - begin, "bytes");
    const packed = bytes.subarray(begin, reader.offset);
    if (header.type === "DICTIONARY_PAGE") {
      dictionary = readDictionary(packed, header, column);
      continue;
    }
    const page = readPage(packed, header, left, column);
    left -= page.count;
    if (page.count === 0) continue;
    const present = presentIn(page, column);
    const values = readValues(page, present, column, dictionary);
    if (isFlatColumn(schemaPath) && present === page.count) {
      parts.push(values);
      continue;
    }
    // A list may go on in the next page.
    const before = parts.at(-1);
    const rows = Array.isArray(before) ? before : [];
    const definitions = present === page.count ? [] : page.definitions;
    const assembled = assembleLists(rows, definitions, page.repetitions, values, schemaPath);
    if (assembled !== before) parts.push(assembled);
  }
  const values = flatten(parts);
  const top = schemaPath[1];
  if (top === undefined || top.children.length === 0) return values;
  const columns = new Map([[chunk.path_in_schema.join("."), values]]);
  assembleNested(columns, top, parsers);
  return columns.get(top.path.join(".")) ?? [];
}

/** hyparquet scales decimals where a file says in the older words of Parquet that they are some; it need not. */
function scaled(element: SchemaElement): SchemaElement {
  const { logical_type: logical } = element;
  return logical?.type === "DECIMAL" ? { ...element, converted_type: "DECIMAL", scale: logical.scale } : element;
}

function readDictionary(packed: Uint8Array, header: PageHeader, column: Column): DecodedArray {
  const sizeBytes = within(header.uncompressed_page_size, mostPageBytes, "bytes");
  const count = within(header.dictionary_page_header?.num_values, 8 * sizeBytes, "entries");
  return plain(unpack(packed, sizeBytes, column.codec), count, column);
}

/** `left`: values that the column has behind the pages before. */
function readPage(packed: Uint8Array, header: PageHeader, left: number, column: Column): Page {
  const { codec, mostRepeated, mostDefined } = column;
  const sizeBytes = within(header.uncompressed_page_size, mostPageBytes, "bytes");
  if (header.type === "DATA_PAGE" && header.data_page_header !== undefined) {
    const { num_values: values, encoding } = header.data_page_header;
    const count = within(values, left, "values");
    let rest = unpack(packed, sizeBytes, codec);
    const levels = (most: number) => {
      if (most === 0) return [];
      const [runs, behind] = prefixed(rest);
      rest = behind;
      return readRuns(runs, bitsOf(most), count, most);
    };
    return { count, encoding, repetitions: levels(mostRepeated), definitions: levels(mostDefined), values: rest };
  }
  if (header.type === "DATA_PAGE_V2" && header.data_page_header_v2 !== undefined) {
    const { num_values: values, encoding, is_compressed: isPacked, ...lengths } = header.data_page_header_v2;
    const count = within(values, left, "values");
    const middle = within(lengths.repetition_levels_byte_length, packed.length, "bytes");
    const begin = middle + within(lengths.definition_levels_byte_length, packed.length - middle, "bytes");
    const levels = (from: number, to: number, most: number) =>
      most === 0 ? [] : readRuns(packed.subarray(from, to), bitsOf(most), count, most);
    const rest = packed.subarray(begin);
    return {
      count,
      encoding,
      repetitions: levels(0, middle, mostRepeated),
      definitions: levels(middle, begin, mostDefined),
      // Nothing at all is packed by no bytes.
      values: isPacked === false || sizeBytes === begin ? rest : unpack(rest, sizeBytes - begin, codec),
    };
  }
  throw new RangeError("a page is none of data");
}

function presentIn({ count, definitions }: Page, { mostDefined }: Column): number {
  if (mostDefined === 0) return count;
  let present = 0;
  for (const level of definitions) if (level === mostDefined) present++;
  return present;
}

function unpack(packed: Uint8Array, sizeBytes: number, codec: CompressionCodec): Uint8Array {
  if (codec === "ZSTD") checkZstdFrame(packed, sizeBytes);
  const page = codec === "UNCOMPRESSED" ? packed : compressors[codec]!(packed, sizeBytes); // parquet.ts lets no others in
  if (page.length === sizeBytes) return page;
  throw new RangeError(`a page unpacks to ${page.length} bytes and not ${sizeBytes}`);
}

/** The values of a page that are there. */
function readValues({ encoding, values }: Page, count: number, column: Column, dictionary: DecodedArray): DecodedArray {
  const { type } = column;
  const reader = readerOf(values);
  if (count === 0) return [];
  switch (encoding) {
    case "PLAIN":
      return plain(values, count, column);
    case "PLAIN_DICTIONARY":
    case "RLE_DICTIONARY": {
      const width = within(values[0], mostIndexBits, "bits an index");
      return readRuns(values.subarray(1), width, count, dictionary.length - 1).map((index) => dictionary[index]);
    }
    case "RLE":
      if (type !== "BOOLEAN") throw new RangeError(`a page has runs of ${type}`);
      return readRuns(prefixed(values)[0], 1, count, 1).map(Boolean);
    case "BYTE_STREAM_SPLIT":
      return convert(byteStreamSplit(reader, count, type, column.element.type_length), column);
    case "ALP":
      return convert(alpDecode(reader, count, type), column);
    case "DELTA_BINARY_PACKED":
      return convert(differences(reader, type === "INT32" ? new Int32Array(count) : new BigInt64Array(count)), column);
    case "DELTA_LENGTH_BYTE_ARRAY":
      return convert(byteStrings(reader, new Int32Array(count)), column);
    case "DELTA_BYTE_ARRAY":
      return convert(byteStrings(reader, differences(reader, new Int32Array(count))), column);
    default:
      throw new RangeError(`a page has values that are encoded as ${encoding}`);
  }
}

function plain(values: Uint8Array, count: number, column: Column): DecodedArray {
  return convert(readPlain(readerOf(values), column.type, count, column.element.type_length), column);
}

/** hyparquet goes back in a block of less than nothing, and stays there. */
function differences<T extends Int32Array | BigInt64Array>(reader: DataReader, into: T): T {
  const { offset } = reader;
  const block = within(readVarInt(reader), mostInBlock, "differences in a block");
  const parts = within(readVarInt(reader), block / partMultiple, "parts of a block");
  if (parts === 0 || block % (parts * partMultiple) > 0)
    throw new RangeError(`a block has ${block} differences in ${parts} parts`);
  reader.offset = offset;
  deltaBinaryUnpack(reader, into.length, into);
  return into;
}

/** Strings of bytes, without what they begin with in common with the one before: `prefixes` says how much that is. */
function byteStrings(reader: DataReader, prefixes: Int32Array): Uint8Array[] {
  const lengths = differences(reader, new Int32Array(prefixes.length));
  let before = new Uint8Array(0);
  return Array.from(lengths, (length, i) => {
    const { buffer, byteOffset, byteLength } = reader.view;
    const prefix = before.subarray(0, within(prefixes[i], before.length, "bytes of the value before"));
    const rest = new Uint8Array(
      buffer,
      byteOffset + reader.offset,
      within(length, byteLength - reader.offset, "bytes"),
    );
    reader.offset += length;
    before = Buffer.concat([prefix, rest]);
    return before;
  });
}

/** `count` numbers of `width` bits, `most` at most, in runs: one number so many times, or groups of eight. */
function readRuns(bytes: Uint8Array, width: number, count: number, most: number): number[] {
  const numbers: number[] = [];
  const add = (number: number) => numbers.push(within(number, most, "as a level or an index"));
  const reader = readerOf(bytes);
  // Indices of no bits are all 0; not every writer has runs of them.
  while (width === 0 && numbers.length < count) add(0);
  while (numbers.length < count) {
    const header = readVarInt(reader) >>> 0;
    const length = Math.floor(header / 2);
    const left = count - numbers.length;
    if (header % 2 === 0) {
      const number = bitsAt(bytes, 8 * reader.offset, 8 * Math.ceil(width / 8));
      reader.offset += Math.ceil(width / 8);
      for (let i = within(length, left, "values in a run"); i > 0; i--) add(number);
    } else {
      // The last group may be filled up, or cut off behind the last number.
      for (let i = 0; i < Math.min(8 * length, left); i++) add(bitsAt(bytes, 8 * reader.offset + i * width, width));
      reader.offset += length * width;
    }
  }
  return numbers;
}

/** The number in so many bits, the lowest first. */
function bitsAt(bytes: Uint8Array, begin: number, width: number): number {
  let number = 0;
  for (let taken = 0; taken < width; ) {
    const at = begin + taken;
    const byte = bytes[at >> 3];
    if (byte === undefined) throw new RangeError("a page ends before its values");
    const bits = Math.min(8 - (at & 7), width - taken);
    number += ((byte >> (at & 7)) & ((1 << bits) - 1)) * 2 ** taken;
    taken += bits;
  }
  return number;
}

function bitsOf(most: number): number {
  return 32 - Math.clz32(most);
}

/** Bytes with their length before them, and what is behind them. */
function prefixed(bytes: Uint8Array): [Uint8Array, Uint8Array] {
  const end = 4 + within(readerOf(bytes).view.getUint32(0, true), bytes.length - 4, "bytes");
  return [bytes.subarray(4, end), bytes.subarray(end)];
}

function readerOf(bytes: Uint8Array): DataReader {
  return { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: 0 };
}

function within(value: number | undefined, most: number, what: string): number {
  if (value !== undefined && Number.isInteger(value) && value >= 0 && value <= most) return value;
  throw new RangeError(`a page says ${value} ${what}, where ${most} are possible`);
}
