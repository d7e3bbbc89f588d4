/** Rows of raw feature values from a file, a piece at a time, for a model that is used and not trained. */
import { extname } from "node:path";
import { LockstepError } from "../../core/errors.ts";
import { listed } from "../../core/field-checks.ts";
import type { DataSource } from "../../core/job.ts";
import { nearestName } from "../../core/nearest-name.ts";
import { place } from "./byte-lines.ts";
import { notANumber, ragged } from "./csv.ts";
import { cellNumber, splitRow } from "./csv-row.ts";
import { fieldNumbers } from "./json-lines.ts";
import { linesOf } from "./lines.ts";
import { locate } from "./read-file.ts";

export interface Rows {
  readonly count: number;
  /** Row after row. */
  readonly values: Float32Array;
}

export interface ExpectedRows {
  readonly source: DataSource;
  /** How many values a row has. */
  readonly width: number;
  /** The features' names in the order of training; null where nobody knows them. */
  readonly names: readonly string[] | null;
}

const jsonExtensions = [".jsonl", ".ndjson", ".json"];

export function isJsonLines(file: string): boolean {
  return jsonExtensions.includes(extname(file).toLowerCase());
}

/** The features' names, from the header of the file that the job trains on; null where it is not here, or another. */
export async function featureNames(
  source: DataSource,
  width: number,
  baseDirectory: string,
): Promise<readonly string[] | null> {
  if (source.kind === "json-lines") return source.features.length === width ? source.features : null;
  if (source.kind !== "csv") return null;
  try {
    for await (const { text, number } of linesOf(locate(source.path, baseDirectory))) {
      const names = splitRow(text, place(source.path, number - 1), source.separator ?? ",").filter(
        (name) => name !== source.label,
      );
      return names.length === width && new Set(names).size === width ? names : null;
    }
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
  }
  return null;
}

/**
 * Reads rows of cells under a header, separated as in the job's data, or, where the file's name ends in .jsonl, .ndjson or .json, one JSON value a
 * line: a list of numbers, a record of them by name, or, for a job that reads text, the text. At most `size` rows at once.
 * `onUnused` hears of columns that no feature has the name of.
 */
export async function* readRows(
  file: string,
  expected: ExpectedRows,
  size: number,
  onUnused: (columns: readonly string[]) => void,
): AsyncGenerator<Rows> {
  if (!isJsonLines(file) && expected.source.kind === "text") {
    throw new LockstepError("invalid-data", `${file} is no file of JSON lines; a job that reads text needs one.`, {
      hint: `Write one text of ${expected.width} characters or more a line, as "…", into a file that ends in .jsonl.`,
    });
  }
  let parse: RowParser | null = isJsonLines(file) ? jsonParser(expected) : null;
  let values = new Float32Array(size * expected.width);
  let count = 0;
  for await (const { text, number } of linesOf(file)) {
    if (parse === null) {
      parse = csvParser(file, text, expected, onUnused);
      continue;
    }
    parse(text, file, number - 1, values.subarray(count * expected.width, (count + 1) * expected.width));
    if (++count < size) continue;
    yield { count, values };
    values = new Float32Array(size * expected.width);
    count = 0;
  }
  if (parse === null) {
    throw new LockstepError(
      "invalid-data",
      `The data file ${file} is empty; expected a header row and rows of numbers.`,
    );
  }
  if (count > 0) yield { count, values: values.subarray(0, count * expected.width) };
}

/** Writes one line's values into `row`. `index`: of the line, from 0. */
type RowParser = (line: string, file: string, index: number, row: Float32Array) => void;

function csvParser(
  file: string,
  header: string,
  { source, width, names }: ExpectedRows,
  onUnused: (columns: readonly string[]) => void,
): RowParser {
  const separator = (source.kind === "csv" ? source.separator : undefined) ?? ",";
  const columns = splitRow(header, place(file, 0), separator);
  const label = source.kind === "csv" || source.kind === "json-lines" ? source.label : null;
  const others = columns.flatMap((name, at) => (name === label ? [] : [at]));
  const order = names === null ? inOrder() : names.map((name) => byName(name));
  const unused = others.filter((at) => !order.includes(at)).map((at) => columns[at]!);
  if (unused.length > 0) onUnused(unused);
  return (line, file, index, row) => {
    const cells = splitRow(line, place(file, index), separator);
    if (cells.length !== columns.length) throw ragged(file, index, line, cells.length, columns.length);
    for (let i = 0; i < width; i++) {
      const cell = cells[order[i]!]!;
      const value = cellNumber(cell);
      if (value === null) throw notANumber(place(file, index), columns[order[i]!]!, cell);
      row[i] = value;
    }
  };

  function inOrder(): readonly number[] {
    if (others.length === width) return others;
    throw new LockstepError(
      "invalid-data",
      `${file} has ${others.length} columns${label === null ? "" : ` beside the label "${label}"`}; the model takes ${width}.`,
      { hint: "Give the columns of the training data, in their order, under a header row." },
    );
  }

  function byName(name: string): number {
    const at = columns.indexOf(name);
    if (at >= 0 && columns.indexOf(name, at + 1) < 0) return at;
    const finding = at < 0 ? "has no column" : "has more than one column";
    const meant = at < 0 ? nearestName(name, columns) : null;
    const isData = columns.every((column) => cellNumber(column) !== null);
    const shown = columns.length > 12 ? [...columns.slice(0, 10), "…", columns.at(-1)!] : columns;
    throw new LockstepError(
      "invalid-data",
      `${file} ${finding} "${name}", which the model was trained with; its columns are ${listed(shown, "and")}.`,
      {
        hint: isData
          ? "The first line looks like data: put a header row with the columns' names before it."
          : `${meant ? `Is "${meant}" meant? ` : ""}Name the columns as in the training data; their order does not matter.`,
      },
    );
  }
}

function jsonParser({ source, width, names }: ExpectedRows): RowParser {
  return (line, file, index, row) => {
    const where = place(file, index);
    const value = parsed(line, where);
    if (typeof value === "string" && source.kind === "text") return takeText(value, where, row);
    if (Array.isArray(value)) return takeList(value, where, row);
    if (typeof value === "object" && value !== null) return takeRecord(value, where, row);
    const forms = source.kind === "text" ? `a text, or ${width} numbers` : `${width} numbers, or a record of them`;
    throw new LockstepError("invalid-data", `${where} is ${shortened(line)}; expected ${forms}.`);
  };

  function takeText(text: string, where: string, row: Float32Array): void {
    if (text.length < width) {
      throw new LockstepError("invalid-data", `${where} has ${text.length} characters; the model takes ${width}.`, {
        hint: "Give longer texts: the last characters of each are used.",
      });
    }
    for (let i = 0; i < width; i++) row[i] = text.charCodeAt(text.length - width + i);
  }

  function takeList(list: readonly unknown[], where: string, row: Float32Array): void {
    if (list.length !== width) {
      throw new LockstepError("invalid-data", `${where} has ${list.length} values; the model takes ${width}.`);
    }
    for (let i = 0; i < width; i++) row[i] = number(list[i], `${where}, value ${i + 1}`);
  }

  function takeRecord(record: object, where: string, row: Float32Array): void {
    if (source.kind === "json-lines") {
      takeList(fieldNumbers(record, source.features, where), where, row);
      return;
    }
    if (names === null) {
      throw new LockstepError(
        "invalid-data",
        `${where} is a record, and the names of the features are not known here.`,
        {
          hint: `Give lists of ${width} numbers in the order of the training data, or have that data where the job file says.`,
        },
      );
    }
    for (const [i, name] of names.entries()) {
      if (!Object.hasOwn(record, name)) {
        const meant = nearestName(name, Object.keys(record));
        throw new LockstepError("invalid-data", `${where} has no "${name}", which the model was trained with.`, {
          ...(meant ? { hint: `Is "${meant}" meant?` } : {}),
        });
      }
      row[i] = number(Reflect.get(record, name), `${where}, "${name}"`);
    }
  }
}

function parsed(line: string, where: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new LockstepError("invalid-data", `${where} is no JSON: ${shortened(line)}.`, {
      hint: "Write one JSON value a line.",
      cause,
    });
  }
}

function number(value: unknown, where: string): number {
  const number = typeof value === "number" ? Math.fround(value) : Number.NaN;
  if (Number.isFinite(number)) return number;
  throw new LockstepError("invalid-data", `${where} is ${shortened(JSON.stringify(value))}; expected a finite number.`);
}

function shortened(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 40)}…`;
}
