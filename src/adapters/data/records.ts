/** Records of cells: lines, but for those that go on in the next one, since a quoted cell has a line break in it. */
import { LockstepError } from "../../core/errors.ts";
import type { Separator } from "../../core/job.ts";
import type { Range } from "../../core/sampler.ts";
import { byteLines, textOf } from "./byte-lines.ts";
import { endsInQuotes } from "./csv-row.ts";
import { type Line, linesOf } from "./lines.ts";

/** A record of a file in memory, as a range of its bytes. */
export interface ByteRecord extends Range {
  /** From 0: of its first line. */
  readonly line: number;
}

const quote = 34;

/** A quote that nothing closes ends with its line: whoever splits that line says what is wrong. */
export function byteRecords(bytes: Buffer, separator: Separator): readonly ByteRecord[] {
  const lines = byteLines(bytes);
  const records: ByteRecord[] = [];
  let nextQuote = bytes.indexOf(quote);
  let canJoin = true;
  for (let line = 0; line < lines.length; line++) {
    const { begin, end } = lines[line]!;
    if (nextQuote >= 0 && nextQuote < begin) nextQuote = bytes.indexOf(quote, begin);
    let last = line;
    if (canJoin && nextQuote >= 0 && nextQuote < end) {
      let isOpen = endsInQuotes(textOf(bytes, lines[line]!), separator, false);
      while (isOpen && last + 1 < lines.length) isOpen = endsInQuotes(textOf(bytes, lines[++last]!), separator, true);
      if (isOpen) [last, canJoin] = [line, false];
    }
    records.push({ begin, end: lines[last]!.end, line });
    line = last;
  }
  return records;
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
