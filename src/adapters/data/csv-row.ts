import { LockstepError } from "../../core/errors.ts";

/** Cells of one line. Cells may be quoted; a quote inside quotes is doubled. `where` names the line in errors. */
export function splitRow(line: string, where: string): string[] {
  if (!line.includes('"')) return line.split(",");
  const cells: string[] = [];
  let rest = line;
  for (;;) {
    const quoted = /^\s*"((?:[^"]|"")*)"\s*(?:,|$)/.exec(rest);
    const plain = quoted === null ? /^([^",]*)(?:,|$)/.exec(rest) : null;
    const match = quoted ?? plain;
    if (match === null) {
      throw new LockstepError(
        "invalid-data",
        `${where} has a quote that does not enclose a whole cell: ${shortened(rest)}.`,
        {
          hint: "Quote whole cells, on one line, and double the quotes inside them.",
        },
      );
    }
    cells.push(quoted === null ? match[1]! : match[1]!.replaceAll('""', '"'));
    rest = rest.slice(match[0].length);
    if (!match[0].endsWith(",")) return cells;
  }
}

const decimal = /^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$/;

/** A cell's number as float32, or null where it is no decimal number or too large for one. */
export function cellNumber(cell: string): number | null {
  return fewDigits(cell) ?? anyNumber(cell);
}

/** Of pixels, classes and counts, which whole files consist of, and which take long to read one by one otherwise. */
function fewDigits(cell: string): number | null {
  if (cell.length === 0 || cell.length > 7) return null; // seven digits are exact in float32
  let value = 0;
  for (let i = 0; i < cell.length; i++) {
    const digit = cell.charCodeAt(i) - 48;
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
