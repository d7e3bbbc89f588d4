/** Cells separated by commas or other characters, under a header row, as one array of features and one of labels. */
import { createHash } from "node:crypto";
import { kindOf } from "../../core/columns.ts";
import type { DataColumn } from "../../core/data-summary.ts";
import { LockstepError } from "../../core/errors.ts";
import { listed } from "../../core/field-checks.ts";
import type { CsvSource, Separator } from "../../core/job.ts";
import { nearestName } from "../../core/nearest-name.ts";
import { checkedWeight } from "../../core/sample-weight.ts";
import type { DescribedDataset, OpenOptions } from "../../ports/dataset.ts";
import { rowsOf } from "./array-dataset.ts";
import { place, textOf } from "./byte-lines.ts";
import { ColumnReader } from "./column-reader.ts";
import { cellNumber, isBlank, readShortNumbers, splitRow } from "./csv-row.ts";
import { Dictionary } from "./dictionary.ts";
import { locate, readDataFile } from "./read-file.ts";
import { type ByteRecord, byteRecords } from "./records.ts";

export async function openCsv(
  source: CsvSource,
  baseDirectory: string,
  options: OpenOptions = {},
): Promise<DescribedDataset> {
  const file = locate(source.path, baseDirectory);
  return decodeCsv(file, await readDataFile(file), source, options);
}

export function decodeCsv(file: string, bytes: Buffer, source: CsvSource, options: OpenOptions = {}): DescribedDataset {
  const { width, columns, features, label, weight, groups } = readTable(file, bytes, source, options);
  const shape = columns.features.length === 1 ? columns.features[0]!.shape : [];
  return {
    length: label.length,
    digest: digestOf(source, options, bytes),
    features: { shape: shape.length > 0 ? shape : [width] },
    label: { shape: [] },
    files: [file],
    columns,
    ...(groups === null ? {} : { groups }),
    read: (indices) => ({
      count: indices.length,
      features: rowsOf(features, width, label.length, indices),
      label: rowsOf(label, 1, label.length, indices),
      ...(weight && { weight: rowsOf(weight, 1, label.length, indices) }),
    }),
    labels: (indices) => rowsOf(label, 1, label.length, indices),
  };
}

/** What of the options is not said counts as it did when there were none of them. */
function digestOf(
  { label, separator, columns, missing, ignore, weight }: CsvSource,
  options: OpenOptions,
  bytes: Buffer,
): string {
  const { group, dictionaries } = options;
  const said = { kind: "csv", label, separator, columns, missing, ignore, weight, group, dictionaries };
  const settings = JSON.stringify(said);
  return `sha256:${createHash("sha256").update(`${settings}\n`).update(bytes).digest("hex")}`;
}

interface Table {
  /** Numbers in a sample's features. */
  readonly width: number;
  readonly columns: DescribedDataset["columns"];
  readonly features: Float32Array;
  readonly label: Float32Array;
  readonly weight: Float32Array | null;
  readonly groups: Uint32Array | null;
}

function readTable(file: string, bytes: Buffer, source: CsvSource, options: OpenOptions): Table {
  const { group } = options;
  const { separator = "," } = source;
  const records = byteRecords(bytes, separator);
  if (records.length === 0) {
    throw new LockstepError("invalid-data", `The data file ${file} is empty; expected a header row and rows of data.`);
  }
  const header = splitRow(textOf(bytes, records[0]!), place(file, 0), separator);
  const plan = planOf(file, header, source, options);
  const groupAt = group === undefined ? null : columnAt(file, header, group, "which validation.column names");
  const count = records.length - 1;
  if (count === 0) {
    throw new LockstepError("invalid-data", `The data file ${file} has a header row, but no rows of data.`);
  }
  const width = plan.features.reduce((sum, { reader }) => sum + reader.width, 0);
  const weight = plan.weightAt === null ? null : new Float32Array(count);
  const table = { width, features: roomFor(file, count, width), label: new Float32Array(count), weight };
  const groups = groupAt === null ? null : new Dictionary(null);
  const groupOf = new Uint32Array(groups === null ? 0 : count);
  const rows: RowReader = { file, bytes, header, separator, plan, ...table, numbers: new Float32Array(header.length) };
  for (let row = 0; row < count; row++) {
    const record = records[row + 1]!;
    if (groupAt === null && plan.isPlain && readPlainRow(rows, record, row)) continue;
    const cells = readRow(rows, record, row);
    if (groups !== null) groupOf[row] = groups.codeOf(cells[groupAt!]!);
  }
  const final = groups?.finish().final ?? null;
  let begin = 0;
  const features = plan.features.map(({ reader }) => {
    begin += reader.width;
    return reader.finish(table.features, begin - reader.width, width);
  });
  return {
    ...table,
    columns: {
      features,
      label: plan.label.reader.finish(table.label, 0, 1),
      ...(weight && { weight: numbersOf(source.weight!) }),
    },
    groups: final === null ? null : groupOf.map((code) => final[code]!),
  };
}

/** A column of single numbers. */
export function numbersOf(name: string): DataColumn {
  return { name, type: "number", shape: [] };
}

/** What is larger than an array can be is refused with the file. */
export function roomFor(file: string, count: number, width: number): Float32Array {
  try {
    return new Float32Array(count * width);
  } catch (cause) {
    throw new LockstepError(
      "invalid-data",
      `${file} has ${count} samples of ${width} numbers, more than fit into memory.`,
      {
        hint: "Give the text columns a smaller length, or leave columns out.",
        cause,
      },
    );
  }
}

interface PlannedColumn {
  /** In the header, from 0. */
  readonly at: number;
  readonly reader: ColumnReader;
}

interface Plan {
  /** In the order of the file. */
  readonly features: readonly PlannedColumn[];
  readonly label: PlannedColumn;
  /** The column of the samples' weights; null where there is none. */
  readonly weightAt: number | null;
  /** Whether every column is a feature or the label, and a cell of digits a number. */
  readonly isPlain: boolean;
}

interface RowReader {
  readonly file: string;
  readonly bytes: Buffer;
  readonly header: readonly string[];
  readonly separator: Separator;
  readonly plan: Plan;
  readonly width: number;
  readonly features: Float32Array;
  readonly label: Float32Array;
  readonly weight: Float32Array | null;
  /** Room for a row. */
  readonly numbers: Float32Array;
}

/** Of nothing but short whole numbers; false where something else is in the row. */
function readPlainRow(
  { bytes, separator, plan, width, features, label, numbers }: RowReader,
  record: ByteRecord,
  row: number,
): boolean {
  if (!readShortNumbers(bytes, record, numbers, separator)) return false;
  const { at } = plan.label;
  label[row] = numbers[at]!;
  features.set(numbers.subarray(0, at), row * width);
  features.set(numbers.subarray(at + 1), row * width + at);
  return true;
}

/** Gives the row's cells. */
function readRow(
  { file, bytes, header, separator, plan, width, features, label, weight }: RowReader,
  record: ByteRecord,
  row: number,
): readonly string[] {
  const text = textOf(bytes, record);
  const where = () => place(file, record.line);
  const cells = splitRow(text, where(), separator);
  if (cells.length !== header.length) throw ragged(file, record.line, text, cells.length, header.length);
  plan.label.reader.readText(cells[plan.label.at]!, label, row, where);
  if (weight && plan.weightAt !== null) {
    const cell = cells[plan.weightAt]!;
    const place = () => `${where()}, column "${header[plan.weightAt!]}"`;
    weight[row] = checkedWeight(cellNumber(cell), place, () => JSON.stringify(cell));
  }
  let at = row * width;
  for (const { at: column, reader } of plan.features) {
    reader.readText(cells[column]!, features, at, where);
    at += reader.width;
  }
  return cells;
}

function planOf(file: string, header: readonly string[], source: CsvSource, options: OpenOptions): Plan {
  const { dictionaries: known = null, isOther = false } = options;
  const { label, ignore = [], columns = {}, missing = null, weight } = source;
  const labelAt = findLabel(file, header, label);
  const ignored = ignore.map((name) => columnAt(file, header, name, "which ignore names"));
  const isThere = weight !== undefined && (!isOther || header.includes(weight));
  const weightColumn = isThere ? columnAt(file, header, weight, "which weight names") : null;
  if (weightColumn !== null) ignored.push(weightColumn);
  const weightAt = isOther ? null : weightColumn;
  for (const name of Object.keys(columns)) columnAt(file, header, name, "of which columns says what it is");
  const planned = (at: number, isLabel: boolean): PlannedColumn => {
    const name = header[at]!;
    const kind = kindOf(source, name);
    const texts = known !== null && Object.hasOwn(known, name) ? known[name]! : null;
    return { at, reader: new ColumnReader({ name, kind, missing, known: texts, isLabel }) };
  };
  const features = header.flatMap((_, at) => (at === labelAt || ignored.includes(at) ? [] : [planned(at, false)]));
  if (features.length === 0) {
    throw new LockstepError(
      "invalid-data",
      `${file} has no other column than the label "${label}"${ignored.length > 0 ? " and those that are no features" : ""}; expected features.`,
    );
  }
  const isPlain =
    ignored.length === 0 &&
    Object.keys(columns).length === 0 &&
    (missing ?? []).every((text) => cellNumber(text) === null);
  return { features, label: planned(labelAt, true), weightAt, isPlain };
}

/** The one column with this name. */
function columnAt(file: string, header: readonly string[], name: string, why: string): number {
  const at = header.indexOf(name);
  if (at < 0) throw noColumn(file, header, name, why, nearestHint(header, name));
  if (header.indexOf(name, at + 1) >= 0) {
    throw new LockstepError("invalid-data", `${file} has more than one column "${name}", ${why}.`, {
      hint: "Give each its own name.",
    });
  }
  return at;
}

function noColumn(
  file: string,
  header: readonly string[],
  name: string,
  why: string,
  hint: string | null,
): LockstepError {
  const names = header.length > 12 ? [...header.slice(0, 10), "…", header.at(-1)!] : header;
  return new LockstepError(
    "invalid-data",
    `${file} has no column "${name}", ${why}; its columns are ${listed(names, "and")}.`,
    hint === null ? {} : { hint },
  );
}

function nearestHint(header: readonly string[], name: string): string | null {
  const meant = nearestName(name, header);
  return meant === null ? null : `Did you mean "${meant}"?`;
}

function findLabel(file: string, header: readonly string[], label: string): number {
  const found = header.indexOf(label);
  if (found < 0) {
    throw noColumn(file, header, label, "which the job file names as the label", missingLabelHint(header, label));
  }
  if (header.indexOf(label, found + 1) >= 0) {
    throw new LockstepError("invalid-data", `${file} has more than one column "${label}", the label.`, {
      hint: "Give each its own name.",
    });
  }
  return found;
}

function missingLabelHint(header: readonly string[], label: string): string {
  const meant = nearestHint(header, label);
  if (meant !== null) return meant;
  if (header.every((column) => cellNumber(column) !== null)) {
    return "The first line looks like data: put a header row with the columns' names before it.";
  }
  const separator = header.length === 1 ? /[,;\t|]/.exec(header[0]!)?.[0] : undefined;
  if (separator !== undefined) {
    const what = JSON.stringify(separator);
    const canSay = separator === "|" ? "separate them by commas" : `say so: csv(path, { label, separator: ${what} })`;
    return `The cells seem to be separated by ${what}; ${canSay}.`;
  }
  return "Name one of the columns as the label.";
}

export function ragged(file: string, lineIndex: number, line: string, cells: number, columns: number): LockstepError {
  const where = place(file, lineIndex);
  if (isBlank(line)) return new LockstepError("invalid-data", `${where} is blank; expected ${columns} cells.`);
  return new LockstepError(
    "invalid-data",
    `${where} has ${cells} ${cells === 1 ? "cell" : "cells"}; expected ${columns}, as in the header.`,
  );
}
