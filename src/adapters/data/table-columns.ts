/** Columns of binary tables (Parquet, Arrow, TFRecord) as rows of float32: those that a job names, in its order. */
import { LockstepError } from "../../core/errors.ts";
import { listed } from "../../core/field-checks.ts";
import { nearestName } from "../../core/nearest-name.ts";
import { sizeOf } from "../../core/transforms.ts";
import { roundable } from "./number-array.ts";

/** Some rows of one column. */
interface ColumnPiece {
  readonly name: string;
  /** Of the numbers in the file. */
  readonly type: string;
  /** Of one row's value; [] for a number. */
  readonly shape: readonly number[];
  /** Row after row. */
  readonly values: Float32Array;
}

/** The same rows of all columns that the job names: features in its order, then how much they count, and then the label. */
export interface TablePiece {
  readonly count: number;
  readonly columns: readonly ColumnPiece[];
}

export interface NamedColumns {
  readonly features: readonly string[];
  /** How much samples count, where the file says it. */
  readonly weight?: string;
  readonly label: string;
}

/** In the order of a piece. */
export function namesOf({ features, weight, label }: NamedColumns): readonly string[] {
  return [...features, ...(weight === undefined ? [] : [weight]), label];
}

/** Throws where a file has not the columns that the job names, or has one twice. */
export function checkColumns(file: string, has: readonly string[], named: NamedColumns): void {
  for (const wanted of namesOf(named)) {
    const role = wanted === named.weight ? ", which weight names" : "";
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

/** A column that holds something else than numbers. */
export function noNumbers(file: string, column: string, what: string): LockstepError {
  return new LockstepError("invalid-data", `${file}, column "${column}" holds ${what}; expected numbers.`, {
    hint: "Replace it by numbers, as 0, 1, 2 for three categories, or do not name it.",
  });
}

type Place = { readonly file: string; readonly column: string; readonly type: string };

/**
 * The piece of a column that begins with row `firstRow` of the file. A value is a number, a whole one as bigint, a boolean, or a list of
 * them, also of lists. Throws "invalid-data" with row and column where a value is missing, no number, or of another shape.
 */
export function columnPiece({ file, column, type }: Place, values: ArrayLike<unknown>, firstRow: number): ColumnPiece {
  const at = (row: number) => `${file}, row ${firstRow + row}, column "${column}"`;
  if (isPlainNumbers(values)) {
    // A copy that begins where float32 wants it.
    const numbers = Float32Array.from(values);
    for (let row = 0; row < numbers.length; row++) {
      if (!Number.isFinite(numbers[row])) throw notFinite(at(row), values[row]!);
    }
    return { name: column, type, shape: [], values: numbers };
  }
  const shape = values.length === 0 ? [] : shapeOf(values[0], at(0));
  const size = sizeOf(shape);
  const numbers = new Float32Array(values.length * size);
  for (let row = 0; row < values.length; row++) {
    writeValue(values[row], shape, numbers, row * size, () => at(row));
  }
  return { name: column, type, shape, values: numbers };
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
        ? "Fill in missing values, or leave out such rows, before training. Rows count from 0."
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
