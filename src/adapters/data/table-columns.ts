/**
 * Columns of binary tables (Parquet, Arrow, TFRecord), those that a job names, in its order: numbers as rows of float32, categories and
 * texts as the file has them.
 */
import { kindOf, labelNames, type TableColumns } from "../../core/columns.ts";
import { LockstepError } from "../../core/errors.ts";
import { listed } from "../../core/field-checks.ts";
import { nearestName } from "../../core/nearest-name.ts";
import { sizeOf } from "../../core/transforms.ts";
import type { ColumnReader } from "./column-reader.ts";
import { roundable } from "./number-array.ts";

/** Some rows of a column of numbers. */
export interface NumbersPiece {
  readonly name: string;
  /** Of the numbers in the file. */
  readonly type: string;
  /** Of one row's value; [] for a number. */
  readonly shape: readonly number[];
  /** Row after row; NaN is what is missing. */
  readonly values: Float32Array;
}

/** Some rows of a column that holds categories or texts. */
interface TextsPiece {
  readonly name: string;
  /** One a row: a text, or a whole number or boolean as a category; null where it is missing, and the bytes of what is no UTF-8. */
  readonly texts: ArrayLike<unknown>;
}

export type ColumnPiece = NumbersPiece | TextsPiece;

/** The same rows of all columns that the job names: features in its order, then how much they count, and then the label's. */
export interface TablePiece {
  readonly count: number;
  readonly columns: readonly ColumnPiece[];
  /** The text by which each row is grouped, where the job groups rows. */
  readonly groups?: readonly string[];
}

export interface NamedColumns extends TableColumns {
  readonly features: readonly string[];
  /** How much samples count, where the file says it. */
  readonly weight?: string;
  /** Left out where a model is used on rows, which need none. */
  readonly label?: string | readonly string[];
  /** By whose values rows are grouped; it may be one of the others too. */
  readonly group?: string;
}

/** Whether a value of the column may be missing: a feature's, where the job says how missing values are written, or fills them in. */
export function mayBeMissing({ features, missing }: NamedColumns, column: string): boolean {
  return missing !== undefined && features.includes(column);
}

/** In the order of a piece. */
export function namesOf({ features, weight, label }: NamedColumns): readonly string[] {
  return [...features, ...(weight === undefined ? [] : [weight]), ...(label === undefined ? [] : labelNames(label))];
}

/** All that are read, each once. */
export function columnsRead(named: NamedColumns): readonly string[] {
  return [...new Set([...namesOf(named), ...(named.group === undefined ? [] : [named.group])])];
}

/** Throws where a file has not the columns that the job names, or has one twice. */
export function checkColumns(file: string, has: readonly string[], named: NamedColumns): void {
  const used = namesOf(named);
  for (const wanted of columnsRead(named)) {
    const groups = used.includes(wanted) ? "" : ", which validation.column names";
    const role = wanted === named.weight ? ", which weight names" : groups;
    const found = has.filter((name) => name === wanted).length;
    if (found === 1) continue;
    if (found > 1) {
      throw new LockstepError("invalid-data", `${file} has ${found} columns "${wanted}"${role}; expected one.`, {
        hint: "Give each its own name.",
      });
    }
    const meant = nearestName(wanted, has);
    const shown = has.length > 12 ? [...has.slice(0, 11), "…"] : has;
    throw new LockstepError(
      "invalid-data",
      `${file} has no column "${wanted}"${role}; ${has.length === 0 ? "it has none" : `its columns are ${listed(shown, "and")}`}.`,
      { hint: meant === null ? "Name one of them in the job file." : `Did you mean "${meant}"?` },
    );
  }
}

/** What a column holds, as its file says it. */
export type Held =
  | { readonly of: "numbers"; readonly type: string; readonly isList: boolean }
  | { readonly of: "texts" }
  | { readonly of: "others"; readonly what: string };

/** What a column of lists holds: only lists of numbers are of use. */
export function listsOf(held: Held): Held {
  if (held.of === "numbers") return { ...held, isList: true };
  return held.of === "texts" ? { of: "others", what: "lists of texts" } : held;
}

/** The names of the types of the values of all columns that are read. Throws where one holds something else than the job says. */
export function heldTypes(
  file: string,
  named: NamedColumns,
  heldBy: (column: string) => Held,
): ReadonlyMap<string, string> {
  return new Map(columnsRead(named).map((column) => [column, heldType(file, column, heldBy(column), named)]));
}

/** The name of the type of a column's values. Throws where the column holds something else than the job says. */
export function heldType(file: string, column: string, held: Held, named: NamedColumns): string {
  const groupType = column === named.group ? typeOfGroups(file, column, held) : null;
  if (groupType !== null && !namesOf(named).includes(column)) return groupType;
  const kind = kindOf(named, column);
  if (kind === "number") {
    if (held.of === "numbers") return held.type;
    throw noNumbers(file, column, held, named);
  }
  if (held.of === "texts") return "texts";
  if (isName(held) && kind === "category") return held.type;
  throw new LockstepError("invalid-data", `${file}, column "${column}" holds ${shownHeld(held)}; expected texts.`, {
    hint: isName(held)
      ? "A category may be whole numbers; words and characters are those of texts."
      : "A category is a text, a whole number, true or false; a column of words or characters is a text.",
  });
}

/** Whole numbers and booleans, which can stand for names. */
function isName(held: Held): held is Held & { readonly of: "numbers" } {
  return held.of === "numbers" && !held.isList && /^(u?int\d+|bool)$/.test(held.type);
}

function shownHeld(held: Held): string {
  if (held.of === "texts") return "texts";
  return held.of === "others" ? held.what : `${held.isList ? "lists of " : ""}${held.type}`;
}

function typeOfGroups(file: string, column: string, held: Held): string {
  if (held.of === "texts") return "texts";
  if (isName(held)) return held.type;
  throw new LockstepError(
    "invalid-data",
    `${file}, column "${column}", by which validation.column groups, holds ${shownHeld(held)}; expected texts or whole numbers.`,
    { hint: "Name a column with a text, a whole number, true or false in each row." },
  );
}

/** A column that holds something else than numbers. */
function noNumbers(file: string, column: string, held: Held, { weight }: NamedColumns): LockstepError {
  const what = held.of === "others" ? held.what : "texts";
  const replace = "Replace it by numbers, as 0, 1, 2 for three categories, or do not name it.";
  return new LockstepError("invalid-data", `${file}, column "${column}" holds ${what}; expected numbers.`, {
    hint:
      held.of === "texts" && column !== weight
        ? `Say how texts become numbers: write columns: { ${JSON.stringify(column)}: "category" }, or do not name the column.`
        : replace,
  });
}

type Place = { readonly file: string; readonly column: string; readonly type: string };

/**
 * The piece that begins with row `firstRow` of the file.
 * @param types of all columns that are read; one that has no value at all is not among them
 * @param valuesOf a column's, asked for once
 */
export async function tablePiece(
  named: NamedColumns,
  rows: {
    readonly file: string;
    readonly types: ReadonlyMap<string, string>;
    readonly firstRow: number;
    readonly count: number;
  },
  valuesOf: (column: string) => ArrayLike<unknown> | Promise<ArrayLike<unknown>>,
): Promise<TablePiece> {
  const { file, types, firstRow, count } = rows;
  const names = namesOf(named);
  const columns = new Map<string, ColumnPiece>();
  let groups: readonly string[] | null = null;
  for (const column of columnsRead(named)) {
    const values = await valuesOf(column);
    const place = { file, column, type: types.get(column) ?? "nothing" };
    if (names.includes(column)) columns.set(column, columnPiece(named, place, values, firstRow));
    if (column === named.group) groups = groupTexts(place, values, firstRow);
  }
  return { count, columns: names.map((name) => columns.get(name)!), ...(groups && { groups }) };
}

/** A text as it is, a whole number or boolean as JSON writes it: as the cells of CSV and the fields of JSON lines are grouped. */
function groupTexts({ file, column, type }: Place, values: ArrayLike<unknown>, firstRow: number): readonly string[] {
  return Array.from(values, (value, row) => {
    if (typeof value === "string") return value;
    // Arrow has booleans as bits.
    if (typeof value === "boolean" || (type === "bool" && typeof value === "number")) return String(Boolean(value));
    if (typeof value === "number" || typeof value === "bigint") return String(value);
    const what = value instanceof Uint8Array ? "is no UTF-8" : describe(value);
    throw new LockstepError(
      "invalid-data",
      `${file}, row ${firstRow + row}, column "${column}" ${what}; expected a text or whole number, by which validation.column groups.`,
      { hint: "Give each row its group, or leave such rows out. Rows count from 0." },
    );
  });
}

/**
 * The piece of a column that begins with row `firstRow` of the file. Of numbers, a value is a number, a whole one as bigint, a boolean, or a
 * list of them, also of lists. Throws "invalid-data" with row and column where one is missing that may not be, no number, or of another
 * shape; what is wrong with texts is found when they become numbers.
 */
export function columnPiece(
  named: NamedColumns,
  { file, column, type }: Place,
  values: ArrayLike<unknown>,
  firstRow: number,
): ColumnPiece {
  if (kindOf(named, column) !== "number") {
    // Of a category, booleans are true and false in every format; Arrow has them as bits.
    const asBoolean = (value: unknown) => (value === null ? null : Boolean(value));
    return { name: column, texts: type === "bool" ? Array.from(values, asBoolean) : values };
  }
  const at = (row: number) => `${file}, row ${firstRow + row}, column "${column}"`;
  if (isPlainNumbers(values)) {
    // A copy that begins where float32 wants it.
    const numbers = Float32Array.from(values);
    for (let row = 0; row < numbers.length; row++) {
      if (!Number.isFinite(numbers[row])) throw notFinite(at(row), values[row]!);
    }
    return { name: column, type, shape: [], values: numbers };
  }
  const mayLack = mayBeMissing(named, column);
  const first = mayLack ? firstPresent(values) : 0;
  const shape = first < values.length ? shapeOf(values[first], at(first)) : [];
  const size = sizeOf(shape);
  const numbers = new Float32Array(values.length * size);
  for (let row = 0; row < values.length; row++) {
    // Of lists, none is missing.
    if (mayLack && shape.length === 0 && values[row] === null) numbers[row] = Number.NaN;
    else writeValue(values[row], shape, numbers, row * size, () => at(row));
  }
  return { name: column, type, shape, values: numbers };
}

function firstPresent(values: ArrayLike<unknown>): number {
  let row = 0;
  while (row < values.length && values[row] === null) row++;
  return row;
}

/** Writes what a text, or another value of a category, becomes. `where`: its file and row. */
export function readTextValue(
  value: unknown,
  reader: ColumnReader,
  into: Float32Array,
  at: number,
  where: () => string,
): void {
  const { name, kind } = reader;
  const isName = typeof value === "number" || typeof value === "bigint" || typeof value === "boolean";
  if (typeof value === "string") reader.readText(value, into, at, where);
  else if (value === null && reader.mayBeMissing) reader.readMissing(into, at, where);
  else if (isName && kind === "category") reader.readText(String(value), into, at, where);
  else {
    const what = value instanceof Uint8Array ? "is no UTF-8" : describe(value);
    throw new LockstepError("invalid-data", `${where()}, column "${name}" ${what}; expected a text.`, {
      hint: `${value === null ? 'Say that features may be missing, missing: [""], or leave such rows out. ' : ""}Rows count from 0.`,
    });
  }
}

function isPlainNumbers(values: ArrayLike<unknown>): values is ArrayLike<number> {
  return ArrayBuffer.isView(values) && !(values instanceof BigInt64Array) && !(values instanceof BigUint64Array);
}

function shapeOf(value: unknown, where: string): number[] {
  if (!isList(value)) return [];
  if (value.length === 0) throw new LockstepError("invalid-data", `${where} is an empty list; expected numbers.`);
  return [value.length, ...shapeOf(value[0], where)];
}

function writeValue(
  value: unknown,
  shape: readonly number[],
  into: Float32Array,
  begin: number,
  where: () => string,
): void {
  const [size, ...rest] = shape;
  if (size !== undefined) {
    if (!isList(value) || value.length !== size) {
      const has = isList(value) ? `has ${value.length} values` : describe(value);
      throw new LockstepError("invalid-data", `${where()} ${has}; expected ${size}, as the rows before.`, {
        hint: "All rows need lists of one length: pad or cut them first.",
      });
    }
    const width = sizeOf(rest);
    for (let i = 0; i < size; i++) writeValue(value[i], rest, into, begin + i * width, where);
    return;
  }
  into[begin] = numberOf(value);
  if (Number.isFinite(into[begin])) return;
  if (typeof value === "number") throw notFinite(where(), value);
  throw new LockstepError("invalid-data", `${where()} ${describe(value)}; expected a number.`, {
    hint:
      value === null || value === undefined
        ? "Fill in missing values, or leave out such rows, before training; single numbers also by impute() in preprocess.features. Rows count from 0."
        : "Rows count from 0.",
  });
}

function numberOf(value: unknown): number {
  if (typeof value === "number") return value;
  if (typeof value === "bigint") return roundable(value);
  return typeof value === "boolean" ? Number(value) : Number.NaN;
}

function notFinite(where: string, value: number): LockstepError {
  const what = Number.isNaN(value) ? "NaN" : "infinite, or too large for float32";
  return new LockstepError("invalid-data", `${where} is ${what}; expected a finite number.`, {
    hint: "Fill in missing values, or leave out such rows, before training. Rows count from 0.",
  });
}

function isList(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return "is missing (null)";
  if (typeof value === "string") return `is ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`;
  if (value instanceof Date) return "is a date";
  return `is ${isList(value) ? "a list" : typeof value === "object" ? "an object" : String(value)}`;
}
