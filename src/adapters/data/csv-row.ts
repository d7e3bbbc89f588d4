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
  if (!decimal.test(cell)) return null;
  const value = Math.fround(Number(cell));
  return Number.isFinite(value) ? value : null;
}

function shortened(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 40)}…`;
}
