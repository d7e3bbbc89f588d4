/** Records of cells: lines, but for those that go on in the next one, since a quoted cell has a line break in it. */
import { LockstepError } from "../../core/errors.ts";
import type { Separator } from "../../core/job.ts";
import type { Range } from "../../core/sampler.ts";
import { beginningOf, byteLines, place, textOf } from "./byte-lines.ts";
import type { ByteSource } from "./byte-source.ts";
import { endsInQuotes, isBlank } from "./csv-row.ts";
import { type Line, linesOf } from "./lines.ts";
import { refuseUtf16 } from "./read-file.ts";

/** A record of a file, as a range of the bytes that it was read with. */
export interface ByteRecord extends Range {
  /** From 0, in the file: of its first line. */
  readonly line: number;
}

/** Some of a file's records, one after the other. */
export interface RecordPiece {
  readonly bytes: Buffer;
  readonly records: readonly ByteRecord[];
}

const quote = 34;
/** Read at once, unless it is said; more where one record is longer. */
const defaultPieceBytes = 1 << 20;
/** A record that is longer is none: something that is no text, or a quote that nothing closes. */
const longestRecordBytes = 1 << 28;

/**
 * The records of a file of any size, in the order of the file and each byte read once; blank lines at its end are none. Of JSON lines,
 * which are a record each, `separator` is null.
 */
export async function* recordPieces(
  source: ByteSource,
  separator: Separator | null,
  pieceBytes = defaultPieceBytes,
): AsyncGenerator<RecordPiece> {
  let rest = Buffer.alloc(0);
  let line = 0;
  for (let at = 0; at < source.sizeBytes; ) {
    // As much again as has been read of a record that goes on: what is read is copied a few times at most.
    const more = await source.read(at, at + Math.max(pieceBytes, rest.length));
    const bytes =
      rest.length === 0 ? Buffer.from(more.buffer, more.byteOffset, more.length) : Buffer.concat([rest, more]);
    const begin = at === 0 ? beginningOf(bytes) : 0;
    if (at === 0) refuseUtf16(source.name, bytes);
    at = more.length === 0 ? source.sizeBytes : at + more.length; // it may have become shorter
    const { records, next, lineCount } = recordsIn(bytes, begin, line, separator, at >= source.sizeBytes);
    if (records.length > 0) yield { bytes, records };
    rest = bytes.subarray(next);
    line += lineCount;
    if (rest.length > longestRecordBytes) {
      throw new LockstepError(
        "invalid-data",
        `${place(source.name, line)} goes on for more than ${longestRecordBytes} bytes; expected the end of a sample before.`,
        {
          hint: "It may be no file of text, or have a quote that nothing closes: quotes are around whole cells, and doubled inside them.",
        },
      );
    }
  }
}

interface FoundRecords {
  readonly records: readonly ByteRecord[];
  /** Where what belongs to none of them begins. */
  readonly next: number;
  /** Lines before that. */
  readonly lineCount: number;
}

/**
 * The records that are whole. A quote that nothing closes ends with its line at the end of the file: whoever splits that line says what
 * is wrong.
 */
function recordsIn(
  bytes: Buffer,
  begin: number,
  firstLine: number,
  separator: Separator | null,
  isEnd: boolean,
): FoundRecords {
  const lines = byteLines(bytes, begin, isEnd);
  while (lines.length > 0 && isBlank(textOf(bytes, lines.at(-1)!))) lines.pop();
  const records: ByteRecord[] = [];
  let nextQuote = separator === null ? -1 : bytes.indexOf(quote, begin);
  let canJoin = true;
  let next = begin;
  let lineCount = 0;
  while (lineCount < lines.length) {
    const first = lines[lineCount]!;
    let last = lineCount;
    if (nextQuote >= 0 && nextQuote < first.begin) nextQuote = bytes.indexOf(quote, first.begin);
    if (separator !== null && canJoin && nextQuote >= 0 && nextQuote < first.end) {
      let isOpen = endsInQuotes(textOf(bytes, first), separator, false);
      while (isOpen && last + 1 < lines.length) isOpen = endsInQuotes(textOf(bytes, lines[++last]!), separator, true);
      if (isOpen && !isEnd) break;
      if (isOpen) [last, canJoin] = [lineCount, false];
    }
    const { end, next: after } = lines[last]!;
    records.push({ begin: first.begin, end, line: firstLine + lineCount });
    next = after;
    lineCount = last + 1;
  }
  return { records, next: Math.min(next, bytes.length), lineCount };
}

/** What one record may take in memory where a file is read piece by piece: a quote that nothing closes is found by it. */
const longestRecord = 16 * 1024 * 1024;

/** Of a file of any size. Line breaks inside of cells are as in the file. */
export async function* recordsOf(file: string, separator: Separator): AsyncGenerator<Line> {
  let open: Line[] = [];
  let length = 0;
  for await (const line of linesOf(file)) {
    const isOpen = endsInQuotes(line.text, separator, open.length > 0);
    if (open.length === 0 && !isOpen) {
      yield line;
      continue;
    }
    open.push(line);
    length += line.text.length;
    if (length > longestRecord) {
      throw new LockstepError("invalid-data", `${file}, line ${open[0]!.number} has a quote that nothing closes.`, {
        hint: "Quote whole cells, and double the quotes inside them.",
      });
    }
    if (isOpen) continue;
    yield joined(open);
    [open, length] = [[], 0];
  }
  yield* open;
}

function joined(lines: readonly Line[]): Line {
  const [first] = lines;
  const text = lines.map((line, i) => (i < lines.length - 1 ? line.text + line.end : line.text)).join("");
  return { text, number: first!.number, end: lines.at(-1)!.end };
}
