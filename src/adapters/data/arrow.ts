/**
 * Arrow's IPC formats. A stream is messages, each of metadata and a body: the schema, dictionaries, and record batches. A file is
 * such a stream between two magics, with a list of its batches behind; so both are read as streams, one batch at a time.
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

/** All messages in their order, up to the mark of the stream's end, or its end. */
async function* messagesOf(source: ByteSource): AsyncGenerator<Message> {
  const isFile = fileMagic.equals(await source.read(0, fileMagic.length));
  if (isFile && !fileMagic.equals(await source.read(source.sizeBytes - fileMagic.length, source.sizeBytes))) {
    throw damaged(source.name, 'it does not end with "ARROW1"');
  }
  if (!isFile) await checkBeginning(source);
  let at = isFile ? 8 : 0;
  while (at < source.sizeBytes) {
    const prefix = await source.read(at, at + 8);
    if (prefix.length < 4) throw damaged(source.name, "it ends within a message");
    const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.length);
    // Before version 0.15 there was the length alone.
    const isMarked = view.getInt32(0, true) === -1;
    if (isMarked && prefix.length < 8) throw damaged(source.name, "it ends within a message");
    const metadataBytes = view.getInt32(isMarked ? 4 : 0, true);
    if (metadataBytes === 0) return;
    const begin = at + (isMarked ? 8 : 4);
    if (metadataBytes < 0 || begin + metadataBytes > source.sizeBytes)
      throw damaged(source.name, "it ends within a message");
    const metadata = await source.read(begin, begin + metadataBytes);
    const message = await decoding(source, async () => {
      const table = FlatTable.root(metadata);
      const header = table.table(2);
      if (header === null) throw new RangeError("a message is empty");
      return { kind: table.uint8(1), header, bodyBytes: table.size(3) };
    });
    at = begin + metadataBytes + message.bodyBytes;
    if (at > source.sizeBytes) throw damaged(source.name, "it ends within a message");
    yield { ...message, body: await source.read(at - message.bodyBytes, at) };
  }
  if (isFile) throw damaged(source.name, "its rows have no end");
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
