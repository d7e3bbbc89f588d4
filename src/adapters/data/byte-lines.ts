/** Lines of a file of text that is in memory, as ranges of its bytes. */
import type { Range } from "../../core/sampler.ts";
import { isBlank } from "./csv-row.ts";

const lineFeed = 10;
const carriageReturn = 13;
const byteOrderMark = Buffer.from("\uFEFF");

/** Lines without their ends (LF or CRLF); without a byte-order mark at the file's start, and blank lines at its end. */
export function byteLines(bytes: Buffer): Range[] {
  const lines: Range[] = [];
  const hasMark = bytes.subarray(0, byteOrderMark.length).equals(byteOrderMark);
  for (let begin = hasMark ? byteOrderMark.length : 0; begin < bytes.length; ) {
    const found = bytes.indexOf(lineFeed, begin);
    const next = found < 0 ? bytes.length : found;
    lines.push({ begin, end: found > begin && bytes[found - 1] === carriageReturn ? found - 1 : next });
    begin = next + 1;
  }
  while (lines.length > 0 && isBlank(textOf(bytes, lines.at(-1)!))) lines.pop();
  return lines;
}

/** Anywhere but at a file's start, a byte-order mark is a character like others. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

export function textOf(bytes: Buffer, { begin, end }: Range): string {
  return decoder.decode(bytes.subarray(begin, end));
}

/** Where an error is: lines count from 1. */
export function place(file: string, lineIndex: number): string {
  return `${file}, line ${lineIndex + 1}`;
}
