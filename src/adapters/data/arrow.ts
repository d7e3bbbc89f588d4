/**
 * Arrow's IPC formats. A stream is messages, each of metadata and a body: the schema, dictionaries, and record batches. A file is
 * such messages between two magics, and its footer has the schema and says where the others are; most writers have them in a stream's
 * order, and polars has dictionaries behind the rows and a schema that is no message. So a file is read by its footer, a stream from
 * its beginning, and both one batch at a time.
 */
import { LockstepError } from "../../core/errors.ts";
import { ArrowBatch, type ArrowValues, type UnpackZstd } from "./arrow-batch.ts";
import { type ArrowField, fieldOf, heldBy } from "./arrow-schema.ts";
import { type ByteSource, damaged, decoding } from "./byte-source.ts";
import { FlatTable } from "./flat-buffer.ts";
import {
  checkColumns,
  columnsRead,
  heldTypes,
  type NamedColumns,
  type TablePiece,
  tablePiece,
} from "./table-columns.ts";
import { checkZstdFrame } from "./zstd.ts";

const fileMagic = Buffer.from("ARROW1");
/** Before a message's metadata: a mark, and their length. */
const prefixBytes = 8;
/** Kinds of messages. */
const [schema, dictionaryBatch, recordBatch] = [1, 2, 3];

interface Message {
  readonly kind: number;
  readonly header: FlatTable;
  readonly body: Uint8Array;
}

export async function* arrowPieces(source: ByteSource, named: NamedColumns): AsyncGenerator<TablePiece> {
  const { compressors } = await import("hyparquet-compressors");
  const unpackZstd: UnpackZstd = (packed, sizeBytes) => {
    checkZstdFrame(packed, sizeBytes);
    return compressors.ZSTD!(packed, sizeBytes);
  };
  const wanted = new Set(columnsRead(named));
  const dictionaries = new Map<number, ArrowValues>();
  let fields: readonly ArrowField[] | null = null;
  let types: ReadonlyMap<string, string> = new Map();
  let firstRow = 0;
  for await (const { kind, header, body } of messagesOf(source)) {
    const piece = await decoding(source, async () => {
      if (kind === schema) {
        fields = fieldsOf(source.name, header, named);
        types = heldTypes(source.name, named, (column) => heldBy(fieldNamed(fields!, column)));
        return null;
      }
      if (fields === null) throw new RangeError("it has rows before it says what columns they have");
      if (kind === dictionaryBatch) {
        const id = header.size(0);
        const field = fieldOfDictionary(
          id,
          fields.filter(({ name }) => wanted.has(name)),
        );
        if (field === null) return null;
        if (header.uint8(2) !== 0) throw new RangeError(`dictionary ${id} comes in parts, which is not read`);
        const data = header.table(1);
        if (data === null) throw new RangeError(`dictionary ${id} has no entries`);
        dictionaries.set(id, new ArrowBatch(data, body, unpackZstd).entries(field));
        return null;
      }
      if (kind !== recordBatch) return null;
      const batch = new ArrowBatch(header, body, unpackZstd);
      const values = batch.columns(fields, wanted, dictionaries);
      const rows = { file: source.name, types, firstRow, count: batch.count };
      return tablePiece(named, rows, (column) => values.get(column)!); // all that are wanted are there
    });
    if (piece === null) continue;
    firstRow += piece.count;
    yield piece;
  }
  if (fields === null) throw damaged(source.name, "it says nothing of its columns");
}

function fieldsOf(file: string, header: FlatTable, named: NamedColumns): readonly ArrowField[] {
  if (header.int16(0) !== 0) throw new RangeError("its numbers are big-endian, which is not read");
  const fields = header.tables(1).map((table) => fieldOf(table));
  checkColumns(
    file,
    fields.map(({ name }) => name),
    named,
  );
  return fields;
}

function fieldNamed(fields: readonly ArrowField[], column: string): ArrowField {
  return fields.find(({ name }) => name === column)!; // checkColumns has found it
}

/** Whose values the dictionary's entries are: a column, or what is in its lists. */
function fieldOfDictionary(id: number, fields: readonly ArrowField[]): ArrowField | null {
  for (const field of fields) {
    const found = field.dictionary?.id === id ? field : fieldOfDictionary(id, field.children);
    if (found !== null) return found;
  }
  return null;
}

/** All messages, dictionaries before the rows that need them. */
async function* messagesOf(source: ByteSource): AsyncGenerator<Message> {
  if (fileMagic.equals(await source.read(0, fileMagic.length))) yield* messagesInFile(source);
  else yield* messagesInStream(source);
}

/** What the footer lists, wherever it lies. */
async function* messagesInFile(source: ByteSource): AsyncGenerator<Message> {
  const footer = await footerOf(source);
  const { header, blocks } = await decoding(source, async () => {
    const header = footer.table(1);
    if (header === null) throw new RangeError("it says nothing of its columns");
    const of = (kind: number, field: number) => footer.blocks(field).map((block) => ({ kind, block }));
    return { header, blocks: [...of(dictionaryBatch, 2), ...of(recordBatch, 3)] };
  });
  yield { kind: schema, header, body: new Uint8Array(0) };
  const dictionaries = new Set<number>();
  for (const { kind, block } of blocks) {
    const [begin, metadataBytes, bodyBytes] = block;
    const bodyBegin = begin + metadataBytes;
    if (metadataBytes < prefixBytes || bodyBegin + bodyBytes > source.sizeBytes) {
      throw damaged(source.name, "its footer lists what lies outside of it");
    }
    const message = await source.read(begin, bodyBegin);
    const { kind: found, header } = await decoding(source, async () => {
      const view = new DataView(message.buffer, message.byteOffset, message.length);
      return metadataOf(message.subarray(isMarked(view) ? prefixBytes : 4));
    });
    if (found !== kind) throw damaged(source.name, "its footer lists a message as what it is not");
    // Which rows would go by which of two, the footer does not say.
    const id = kind === dictionaryBatch ? await decoding(source, async () => header.size(0)) : null;
    if (id !== null && dictionaries.has(id)) throw damaged(source.name, `it has dictionary ${id} twice`);
    if (id !== null) dictionaries.add(id);
    yield { kind, header, body: await source.read(bodyBegin, bodyBegin + bodyBytes) };
  }
}

/** Behind it are its length and the magic. */
async function footerOf(source: ByteSource): Promise<FlatTable> {
  const endBytes = 4 + fileMagic.length;
  const end = await source.read(Math.max(0, source.sizeBytes - endBytes), source.sizeBytes);
  if (end.length < endBytes || !fileMagic.equals(end.subarray(4))) {
    throw damaged(source.name, 'it does not end with "ARROW1"');
  }
  const length = new DataView(end.buffer, end.byteOffset).getInt32(0, true);
  const footerEnd = source.sizeBytes - endBytes;
  if (length <= 0 || length > footerEnd - fileMagic.length) {
    throw damaged(source.name, `it says that its footer has ${length} bytes, of the ${source.sizeBytes} that it has`);
  }
  const bytes = await source.read(footerEnd - length, footerEnd);
  return decoding(source, async () => FlatTable.root(bytes));
}

/** In their order, up to the mark of the stream's end, or its end. */
async function* messagesInStream(source: ByteSource): AsyncGenerator<Message> {
  await checkBeginning(source);
  let at = 0;
  while (at < source.sizeBytes) {
    const prefix = await source.read(at, at + prefixBytes);
    if (prefix.length < 4) throw damaged(source.name, "it ends within a message");
    const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.length);
    if (isMarked(view) && prefix.length < prefixBytes) throw damaged(source.name, "it ends within a message");
    const metadataBytes = view.getInt32(isMarked(view) ? 4 : 0, true);
    if (metadataBytes === 0) return;
    const begin = at + (isMarked(view) ? prefixBytes : 4);
    if (metadataBytes < 0 || begin + metadataBytes > source.sizeBytes)
      throw damaged(source.name, "it ends within a message");
    const metadata = await source.read(begin, begin + metadataBytes);
    const message = await decoding(source, async () => metadataOf(metadata));
    at = begin + metadataBytes + message.bodyBytes;
    if (at > source.sizeBytes) throw damaged(source.name, "it ends within a message");
    yield { ...message, body: await source.read(at - message.bodyBytes, at) };
  }
}

/** Whether a mark is before the length of a message's metadata; before version 0.15 there was the length alone. */
function isMarked(prefix: DataView): boolean {
  return prefix.getInt32(0, true) === -1;
}

function metadataOf(bytes: Uint8Array) {
  const table = FlatTable.root(bytes);
  const header = table.table(2);
  if (header === null) throw new RangeError("a message is empty");
  return { kind: table.uint8(1), header, bodyBytes: table.size(3) };
}

async function checkBeginning(source: ByteSource): Promise<void> {
  const begins = await source.read(0, 4);
  const isMarked = begins.length === 4 && begins.every((byte) => byte === 0xff);
  // The length of the first message, in streams from before version 0.15.
  const isLength = begins.length === 4 && begins[3] === 0 && begins[2] === 0;
  if (isMarked || isLength) return;
  throw new LockstepError(
    "invalid-data",
    `${source.name} is no Arrow file or stream: it begins with ${begins.length === 0 ? "nothing" : `0x${Buffer.from(begins).toString("hex")}`}; expected "ARROW1" or 0xffffffff.`,
    { hint: "Write it with pyarrow.feather.write_feather(table, file), or with pyarrow.ipc.new_file or new_stream." },
  );
}
