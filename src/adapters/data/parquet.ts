/** Parquet, read with hyparquet, one row group at a time. */
import type { ColumnMetaData, RowGroup, SchemaTree } from "hyparquet";
import { LockstepError } from "../../core/errors.ts";
import { type ByteSource, damaged, decoding } from "./byte-source.ts";
import {
  checkColumns,
  type Held,
  heldTypes,
  listsOf,
  type NamedColumns,
  type TablePiece,
  tablePiece,
} from "./table-columns.ts";

const packings = ["UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4", "LZ4_RAW", "BROTLI"];

export async function* parquetPieces(source: ByteSource, named: NamedColumns): AsyncGenerator<TablePiece> {
  const { parquetMetadataAsync, parquetSchema } = await import("hyparquet");
  const { readColumn } = await import("./parquet-column.ts");
  const file = {
    byteLength: source.sizeBytes,
    slice: async (begin: number, end = source.sizeBytes) => (await source.read(begin, end)).buffer,
  };
  await checkMagic(source);
  const { metadata, schema, types } = await decoding(source, async () => {
    // What a file says of maps, hyparquet may look for without end.
    const metadata = await parquetMetadataAsync(file, { geoparquet: false });
    const schema = parquetSchema(metadata);
    const names = schema.children.map(({ element: { name } }) => {
      if (typeof name === "string") return name;
      throw new RangeError("a column has no name");
    });
    checkColumns(source.name, names, named);
    const types = heldTypes(source.name, named, (column) => heldBy(schema.children[names.indexOf(column)]!));
    return { metadata, schema, types };
  });
  let read = 0;
  for (const group of metadata.row_groups) {
    const count = Number(group.num_rows);
    if (count === 0) continue;
    const rows = { file: source.name, types, firstRow: read, count };
    yield await decoding(source, () =>
      tablePiece(named, rows, async (column) => {
        const chunk = chunkOf(group, column);
        checkPacking(source.name, chunk);
        const values = readColumn(await bytesOf(source, chunk), chunk, schema);
        if (values.length === count) return values;
        throw new RangeError(`column "${column}" has ${values.length} rows in place of ${count}`);
      }),
    );
    read += count;
  }
  const rows = Number(metadata.num_rows);
  if (read !== rows) throw damaged(source.name, `it says that it has ${rows} rows, and has ${read}`);
}

async function checkMagic(source: ByteSource): Promise<void> {
  const magic = Buffer.from("PAR1");
  const isParquet = magic.equals(await source.read(0, 4));
  if (isParquet && source.sizeBytes >= 12 && magic.equals(await source.read(source.sizeBytes - 4, source.sizeBytes))) {
    return;
  }
  if (isParquet) throw damaged(source.name, 'it does not end with "PAR1"');
  throw new LockstepError("invalid-data", `${source.name} is no Parquet file: it does not begin with "PAR1".`, {
    hint: "Write it with pyarrow.parquet.write_table(table, file), or pandas' to_parquet.",
  });
}

function checkPacking(file: string, { codec }: ColumnMetaData): void {
  if (packings.includes(codec)) return;
  throw new LockstepError("invalid-data", `${file} is packed by ${codec}; expected Snappy, gzip, zstd or LZ4.`, {
    hint: 'Write it anew, as write_table(table, file, compression="zstd").',
  });
}

/** Of a list that is the chunk of its numbers: heldBy lets no columns in that have several. */
function chunkOf({ columns }: Partial<RowGroup>, column: string): ColumnMetaData {
  const found = columns?.find(({ meta_data: chunk }) => namesIn(chunk)?.[0] === column);
  if (found?.meta_data === undefined) throw new RangeError(`a row group has no column "${column}"`);
  if (found.file_path) throw new RangeError(`column "${column}" is in another file, which is not read`);
  return found.meta_data;
}

/** Damaged metadata may have no names, whatever its type says. */
function namesIn(chunk: Partial<ColumnMetaData> | undefined): readonly string[] | undefined {
  return chunk?.path_in_schema;
}

async function bytesOf(source: ByteSource, chunk: ColumnMetaData): Promise<Uint8Array> {
  const begin = Number(chunk.dictionary_page_offset || chunk.data_page_offset); // 0 is no dictionary
  const end = begin + Number(chunk.total_compressed_size);
  if (begin >= 0 && begin <= end && end <= source.sizeBytes) return source.read(begin, end);
  throw new RangeError(`a column is in the bytes ${begin} to ${end}, and there are ${source.sizeBytes}`);
}

/** What a column holds, numbers also inside lists. */
function heldBy(tree: SchemaTree): Held {
  const { element, children } = tree;
  if (children.length > 0) {
    const isList = element.converted_type === "LIST" || element.logical_type?.type === "LIST";
    if (!isList || children.length !== 1) return { of: "others", what: "records of several fields" };
    const [inside] = children;
    // A list has one repeated group, and the group has the element.
    return listsOf(heldBy(inside!.children.length === 1 ? inside!.children[0]! : inside!));
  }
  const { type, converted_type: converted, logical_type: logical } = element;
  const numbers = (type: string): Held => ({ of: "numbers", type, isList: false });
  if (logical?.type === "FLOAT16") return numbers("float16");
  if (logical?.type === "DECIMAL" || converted === "DECIMAL") return numbers("decimal");
  const isWhole = logical === undefined || logical.type === "INTEGER";
  const whole = converted === undefined ? null : /^(U?INT)_(\d+)$/.exec(converted);
  if (isWhole && whole) return numbers(`${whole[1]!.toLowerCase()}${whole[2]}`);
  const plain = { BOOLEAN: "bool", INT32: "int32", INT64: "int64", FLOAT: "float32", DOUBLE: "float64" } as const;
  const found = type !== undefined && type in plain ? plain[type as keyof typeof plain] : undefined;
  if (found !== undefined && isWhole && converted === undefined) return numbers(found);
  const isText = converted === "UTF8" || converted === "ENUM" || logical?.type === "STRING" || logical?.type === "ENUM";
  if (type === "BYTE_ARRAY" && isText) return { of: "texts" };
  const what = logical?.type ?? converted ?? (type === "BYTE_ARRAY" ? "bytes" : type) ?? "nothing";
  return { of: "others", what: what.toLowerCase() };
}
