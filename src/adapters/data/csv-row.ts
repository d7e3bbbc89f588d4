import { LockstepError } from "../../core/errors.ts";
import type { Separator } from "../../core/job.ts";
import type { Range } from "../../core/sampler.ts";

/** A quoted cell, and one that is not: each with the separator after it, or at the line's end. */
const cellPatterns = {
  ",": [/^[^\S\uFEFF]*"([^"]*(?:""[^"]*)*)"[^\S\uFEFF]*(?:,|$)/, /^([^",]*)(?:,|$)/],
  ";": [/^[^\S\uFEFF]*"([^"]*(?:""[^"]*)*)"[^\S\uFEFF]*(?:;|$)/, /^([^";]*)(?:;|$)/],
  // A tab is white space too, but ends the cell.
  "\t": [/^[^\S\uFEFF\t]*"([^"]*(?:""[^"]*)*)"[^\S\uFEFF\t]*(?:\t|$)/, /^([^"\t]*)(?:\t|$)/],
} as const satisfies Readonly<Record<Separator, readonly [RegExp, RegExp]>>;

/** Cells of one line. Cells may be quoted; a quote inside quotes is doubled. `where` names the line in errors. */
export function splitRow(line: string, where: string, separator: Separator): string[] {
  if (!line.includes('"')) return line.split(separator);
  const [quotedCell, plainCell] = cellPatterns[separator];
  const cells: string[] = [];
  let rest = line;
  for (;;) {
    const quoted = quotedCell.exec(rest);
    const plain = quoted === null ? plainCell.exec(rest) : null;
    const match = quoted ?? plain;
    if (match === null) {
      throw new LockstepError(
        "invalid-data",
        `${where} has a quote that does not enclose a whole cell: ${shortened(rest)}.`,
        {
          hint: "Quote whole cells, and double the quotes inside them.",
        },
      );
    }
    cells.push(quoted === null ? match[1]! : match[1]!.replaceAll('""', '"'));
    rest = rest.slice(match[0].length);
    if (!match[0].endsWith(separator)) return cells;
  }
}

/**
 * Whether a line ends within a quoted cell, so that its record goes on in the next one.
 * @param inQuotes whether it begins within one
 */
export function endsInQuotes(line: string, separator: Separator, inQuotes: boolean): boolean {
  let at = 0;
  let isQuoted = inQuotes;
  for (;;) {
    if (!isQuoted) {
      while (at < line.length && line[at] !== separator && isBlank(line[at]!)) at++;
      isQuoted = line[at] === '"';
      if (isQuoted) at++;
    }
    if (isQuoted) {
      at = closingQuote(line, at);
      if (at < 0) return true;
      isQuoted = false;
    }
    at = line.indexOf(separator, at);
    if (at < 0) return false;
    at++;
  }
}

/** The quote that is not doubled, from here on; −1 where there is none. */
function closingQuote(line: string, from: number): number {
  let at = line.indexOf('"', from);
  while (at >= 0 && line[at + 1] === '"') at = line.indexOf('"', at + 2);
  return at;
}

/** White space, but for the byte-order mark, which JavaScript counts as such. */
const decimal = /^[^\S\uFEFF]*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[^\S\uFEFF]*$/;
const blank = /^[^\S\uFEFF]*$/;

export const isBlank = (text: string): boolean => blank.test(text);

const zero = 48;
/** More than seven digits may not be exact in float32. */
const exactDigits = 7;

/**
 * A line of nothing but whole numbers of few digits, as many as `into` has room for: pixels, classes and counts, which
 * whole files consist of, and which take several times as long to read as text. False where it is anything else; `into`
 * holds something meaningless then.
 */
export function readShortNumbers(
  bytes: Uint8Array,
  { begin, end }: Range,
  into: Float32Array,
  separator: Separator,
): boolean {
  const separatorCode = separator.charCodeAt(0);
  let column = 0;
  let value = 0;
  let digits = 0;
  for (let i = begin; i < end; i++) {
    const byte = bytes[i]!;
    if (byte === separatorCode) {
      if (digits === 0 || digits > exactDigits || column >= into.length) return false;
      into[column++] = value;
      value = 0;
      digits = 0;
    } else {
      const digit = byte - zero;
      if (digit < 0 || digit > 9) return false;
      value = value * 10 + digit;
      digits++;
    }
  }
  if (digits === 0 || digits > exactDigits || column !== into.length - 1) return false;
  into[column] = value;
  return true;
}

/** A cell's number as float32, or null where it is no decimal number or too large for one. */
export function cellNumber(cell: string): number | null {
  return fewDigits(cell) ?? anyNumber(cell);
}

/** Most cells of most files, which take long to read one by one otherwise. */
function fewDigits(cell: string): number | null {
  if (cell.length === 0 || cell.length > exactDigits) return null;
  let value = 0;
  for (let i = 0; i < cell.length; i++) {
    const digit = cell.charCodeAt(i) - zero;
    if (digit < 0 || digit > 9) return null;
    value = value * 10 + digit;
  }
  return value;
}

function anyNumber(cell: string): number | null {
  if (!decimal.test(cell)) return null;
  const value = Math.fround(Number(cell));
  return Number.isFinite(value) ? value : null;
}

function shortened(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 40)}…`;
}
