/** Lines of text that is in memory, as ranges of its bytes. */
import type { Range } from "../../core/sampler.ts";

const lineFeed = 10;
const carriageReturn = 13;

/** Without its end (LF or CRLF). */
export interface ByteLine extends Range {
  /** Where the line after it begins. */
  readonly next: number;
}

/** The lines from `begin` on; what no line feed ends is one where the text is at its end, and else not yet. */
export function byteLines(bytes: Buffer, begin: number, isEnd: boolean): ByteLine[] {
  const lines: ByteLine[] = [];
  for (let at = begin; at < bytes.length; ) {
    const found = bytes.indexOf(lineFeed, at);
    if (found < 0 && !isEnd) return lines;
    const end = found < 0 ? bytes.length : found;
    lines.push({ begin: at, end: found > at && bytes[found - 1] === carriageReturn ? found - 1 : end, next: end + 1 });
    at = end + 1;
  }
  return lines;
}

const byteOrderMark = Buffer.from("\uFEFF");

/** Where text begins whose first bytes these are: after a byte-order mark, if it has one. */
export function beginningOf(bytes: Buffer): number {
  return bytes.subarray(0, byteOrderMark.length).equals(byteOrderMark) ? byteOrderMark.length : 0;
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
