/** Rows of raw feature values from a file, a piece at a time, for a model that is used and not trained. */
import { extname } from "node:path";
import { PieceEncoder } from "../../core/byte-pair.ts";
import { type Dictionaries, type Known, kindOf, labelNames, type TableColumns } from "../../core/columns.ts";
import { LockstepError } from "../../core/errors.ts";
import { listed } from "../../core/field-checks.ts";
import type { DataSource, Separator } from "../../core/job.ts";
import { nearestName } from "../../core/nearest-name.ts";
import { isBinaryTable, isTable } from "../../core/source-validation.ts";
import { place } from "./byte-lines.ts";
import { ColumnReader } from "./column-reader.ts";
import { ragged } from "./csv.ts";
import { cellNumber, splitRow } from "./csv-row.ts";
import { expandPaths } from "./expand-paths.ts";
import { featuresReader, numberOf, readOne } from "./json-lines.ts";
import { linesOf } from "./lines.ts";
import { recordsOf } from "./records.ts";
import { readTableRows } from "./table-row-reader.ts";

export interface Rows {
  readonly count: number;
  /** Row after row. */
  readonly values: Float32Array;
}

interface ExpectedRows {
  readonly source: DataSource;
  /** How many values a row has. */
  readonly width: number;
  /** The features' names in the order of training; null where nobody knows them. */
  readonly names: readonly string[] | null;
  /** Of the training data. */
  readonly known: Omit<Known, "isOther">;
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
  const values = (names: readonly string[]) =>
    names.reduce((sum, name) => sum + widthOf(source as TableColumns, name), 0);
  if (source.kind === "json-lines") return values(source.features) === width ? source.features : null;
  if (source.kind !== "csv") return null;
  try {
    const { label, separator = "," } = source;
    const ignored = ignoredIn(source);
    const [file] = await expandPaths([source.path], baseDirectory); // all have the same header
    for await (const { text, number } of recordsOf(file!, separator)) {
      const names = splitRow(text, place(file!, number - 1), separator).filter(
        (name) => !labelNames(label).includes(name) && !ignored.includes(name),
      );
      return values(names) === width && new Set(names).size === names.length ? names : null;
    }
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
  }
  return null;
}

/** Of a job that reads binary tables, every other file is one. */
function isText(file: string): boolean {
  return isJsonLines(file) || [".csv", ".tsv", ".txt"].includes(extname(file).toLowerCase());
}

/**
 * Reads rows of cells under a header, separated as in the job's data, or, where the file's name ends in .jsonl, .ndjson or .json, one JSON value a
 * line: a list of numbers, a record of them by name, or, for a job that reads text, the text. For a job that reads Parquet, Arrow or
 * TFRecord, a file that ends neither in one of these nor in .csv, .tsv or .txt is such a table. At most `size` rows at once.
 * `onUnused` hears of columns that no feature has the name of.
 */
export async function* readRows(
  file: string,
  expected: ExpectedRows,
  size: number,
  onUnused: (columns: readonly string[]) => void,
): AsyncGenerator<Rows> {
  const { source, width, names, known } = expected;
  if (isBinaryTable(source) && !isText(file)) {
    const { dictionaries } = known;
    yield* readTableRows(file, source, { names: names ?? source.features, width, dictionaries }, size);
    return;
  }
  if (!isJsonLines(file) && source.kind === "text") {
    throw new LockstepError("invalid-data", `${file} is no file of JSON lines; a job that reads text needs one.`, {
      hint: `Write one text of ${expected.width} characters or more a line, as "…", into a file that ends in .jsonl.`,
    });
  }
  let parse: RowParser | null = isJsonLines(file) ? jsonParser(expected) : null;
  let values = new Float32Array(size * expected.width);
  let count = 0;
  const separator = separatorOf(expected.source);
  for await (const { text, number } of isJsonLines(file) ? linesOf(file) : recordsOf(file, separator)) {
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

function separatorOf(source: DataSource): Separator {
  return (source.kind === "csv" ? source.separator : undefined) ?? ",";
}

function widthOf(source: TableColumns, name: string): number {
  const kind = kindOf(source, name);
  return typeof kind === "object" ? kind.length : 1;
}

/** As the training data's columns are read. */
function readerOf(source: DataSource, name: string, dictionaries: Dictionaries): ColumnReader {
  const table: TableColumns = isTable(source) ? source : {};
  const kind = kindOf(table, name);
  const known = Object.hasOwn(dictionaries, name) ? dictionaries[name]! : [];
  return new ColumnReader({ name, kind, missing: table.missing ?? null, known, isLabel: false });
}

/** Columns of training data that are neither features nor the label. */
function ignoredIn(source: DataSource): readonly string[] {
  const weight = "weight" in source && source.weight !== undefined ? [source.weight] : [];
  return source.kind === "csv" ? [...(source.ignore ?? []), ...weight] : weight;
}

/** Writes one line's values into `row`. `index`: of the line, from 0. */
type RowParser = (line: string, file: string, index: number, row: Float32Array) => void;

function csvParser(
  file: string,
  header: string,
  { source, width, names, known }: ExpectedRows,
  onUnused: (columns: readonly string[]) => void,
): RowParser {
  const separator = separatorOf(source);
  const columns = splitRow(header, place(file, 0), separator);
  const labels = isTable(source) ? labelNames(source.label) : [];
  const ignored = ignoredIn(source);
  const others = columns.flatMap((name, at) => (labels.includes(name) || ignored.includes(name) ? [] : [at]));
  const order = names === null ? inOrder() : names.map((name) => byName(name));
  const readers = order.map((at) => readerOf(source, columns[at]!, known.dictionaries));
  const has = readers.reduce((sum, reader) => sum + reader.width, 0);
  if (has !== width) {
    throw new LockstepError("invalid-data", `${file} has ${has} values a row; the model takes ${width}.`);
  }
  const unused = others.filter((at) => !order.includes(at)).map((at) => columns[at]!);
  if (unused.length > 0) onUnused(unused);
  return (line, file, index, row) => {
    const where = () => place(file, index);
    const cells = splitRow(line, where(), separator);
    if (cells.length !== columns.length) throw ragged(file, index, line, cells.length, columns.length);
    let begin = 0;
    for (const [i, reader] of readers.entries()) {
      reader.readText(cells[order[i]!]!, row, begin, where);
      begin += reader.width;
    }
  };

  function inOrder(): readonly number[] {
    if (others.reduce((sum, at) => sum + widthOf(source as TableColumns, columns[at]!), 0) === width) return others;
    throw new LockstepError(
      "invalid-data",
      `${file} has ${others.length} columns${labels.length === 0 ? "" : ` beside the ${labels.length === 1 ? "label" : "labels"} ${listed(labels, "and")}`}; the model takes ${width}.`,
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

function jsonParser({ source, width, names, known }: ExpectedRows): RowParser {
  const { dictionaries, merges } = known;
  const encoder = merges === undefined ? null : new PieceEncoder(merges);
  const readersOf = (names: readonly string[]) => names.map((name) => readerOf(source, name, dictionaries));
  const readFeatures = source.kind === "json-lines" ? featuresReader(readersOf(source.features)) : null;
  const readers = names === null ? null : readersOf(names);
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
    const values =
      encoder?.encode(Buffer.from(text)) ?? Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
    if (values.length < width) {
      const what = encoder === null ? "characters" : "pieces";
      throw new LockstepError("invalid-data", `${where} has ${values.length} ${what}; the model takes ${width}.`, {
        hint: `Give longer texts: the last ${what} of each are used.`,
      });
    }
    row.set(values.slice(values.length - width));
  }

  function takeList(list: readonly unknown[], where: string, row: Float32Array): void {
    const wanted = readers?.length ?? width;
    if (list.length !== wanted) {
      throw new LockstepError("invalid-data", `${where} has ${list.length} values; the model takes ${wanted}.`);
    }
    if (readers === null) {
      for (const [i, value] of list.entries()) row[i] = numberOf(value, `${where}, value ${i + 1}`, null);
      return;
    }
    const place = (i: number) => `value ${i + 1}`;
    readInto(row, where, (i) => list[i], place);
  }

  function takeRecord(record: object, where: string, row: Float32Array): void {
    if (readFeatures !== null) {
      readFeatures(record, width, row, where);
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
    for (const name of names) {
      if (Object.hasOwn(record, name)) continue;
      const meant = nearestName(name, Object.keys(record));
      throw new LockstepError("invalid-data", `${where} has no "${name}", which the model was trained with.`, {
        ...(meant ? { hint: `Is "${meant}" meant?` } : {}),
      });
    }
    const place = (i: number) => `"${names[i]}"`;
    readInto(row, where, (i) => Reflect.get(record, names[i]!), place);
  }

  /** One value for each reader. */
  function readInto(
    row: Float32Array,
    where: string,
    value: (i: number) => unknown,
    place: (i: number) => string,
  ): void {
    let begin = 0;
    for (const [i, reader] of (readers ?? []).entries()) {
      begin = readOne(
        value(i),
        reader,
        row,
        begin,
        () => where,
        () => `${where}, ${place(i)}`,
      );
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

function shortened(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 40)}…`;
}
