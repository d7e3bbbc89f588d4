/**
 * Pre-processing of rows of float32 values, as it was fitted on the training split: applied to every batch, to other data and to
 * rows that are predicted. What was fitted is plain JSON, so that a checkpoint can hold it. One value of a row is a "column"; a row
 * has as many columns as its shape has places. A value that is missing is NaN until a transform makes something of it.
 */
import type { RawColumns } from "./columns.ts";
import { assert, LockstepError, unreachable } from "./errors.ts";
import type { MapFunction, Transform } from "./transform-definition.ts";

/** Transforms with everything that they learned; plain JSON. Numbers survive `JSON.stringify` to the bit. */
export interface FittedTransforms {
  /** The job file's field, for messages, as "preprocess.label". */
  readonly field: string;
  /** Shape of one row before any transform; a scalar's is []. */
  readonly shape: readonly number[];
  /** Where a row is one category: how many there are; its raw values are codes below that. */
  readonly codes?: number;
  readonly steps: readonly FittedTransform[];
}

/** Both columns of a sample. */
export interface Preprocessing {
  readonly features: FittedTransforms;
  readonly label: FittedTransforms;
  /** How files become raw rows, where not all columns are numbers. */
  readonly columns?: RawColumns;
}

export type FittedTransform =
  | { readonly kind: "scale"; readonly factor: number }
  /** One mean and one divisor a column. */
  | { readonly kind: "standardize"; readonly means: readonly number[]; readonly deviations: readonly number[] }
  /** One smallest value and one divisor a column. */
  | { readonly kind: "min-max"; readonly minima: readonly number[]; readonly ranges: readonly number[] }
  /** One value a column. */
  | { readonly kind: "impute"; readonly values: readonly number[] }
  /** Distinct values, ascending; a value's rank is its position + 1. */
  | { readonly kind: "vocabulary"; readonly values: readonly number[] }
  /** `others`: a value that is missing, or the code −1, has no 1 anywhere. */
  | { readonly kind: "one-hot"; readonly classes: number; readonly others?: true }
  | { readonly kind: "reshape"; readonly shape: readonly number[] }
  | { readonly kind: "normalize" }
  | { readonly kind: "pad"; readonly length: number; readonly value: number }
  /** The function's text, for people. The function itself is in the job file; `bindMaps` brings it. */
  | { readonly kind: "map"; readonly text: string; readonly apply?: MapFunction }
  /** In the order of a row, all of whose values they are. */
  | { readonly kind: "columns"; readonly parts: readonly ColumnPart[] };

/** The place of some values in a row, and what is done to them alone. */
export interface ColumnPart {
  /** The column's, in a table. */
  readonly name: string;
  readonly begin: number;
  readonly fitted: FittedTransforms;
}

/** A vocabulary is for characters, codes and categories; beyond this it was put on measurements by mistake. */
export const maximumVocabulary = 65_536;

/** Shape of one row after all transforms. */
export function outputShape(fitted: FittedTransforms): readonly number[] {
  return shapeBefore(fitted, fitted.steps.length);
}

/** Transforms `count` rows, which lie one after the other in `values`. Never changes `values`. */
export function applyTransforms(fitted: FittedTransforms, values: Float32Array, count: number): Float32Array {
  assert(values.length === count * sizeOf(fitted.shape), `${values.length} values are ${count} rows`);
  return fitted.steps.reduce((rows, step, index) => applyStep(step, rows, count, fitted, index), values);
}

/**
 * The raw value that an output index stands for, for rows of one value: through one-hot and vocabulary backwards, and
 * through scale, standardize and min-max. Throws "invalid-job" for an index that stands for no value.
 */
export function invertIndex(fitted: FittedTransforms, index: number): number {
  if (sizeOf(fitted.shape) !== 1) {
    throw new LockstepError(
      "invalid-job",
      `${fitted.field} cannot be decoded: a row has ${sizeOf(fitted.shape)} values.`,
    );
  }
  return fitted.steps.reduceRight((value, step) => invertStep(step, value, fitted.field), index);
}

/** The functions of a job file's map() beside what a checkpoint remembers of the same transforms. */
export function bindMaps(fitted: FittedTransforms, transforms: readonly Transform[]): FittedTransforms {
  const steps = fitted.steps.map((step, index): FittedTransform => {
    const transform = transforms[index];
    if (step.kind === "map" && transform?.kind === "map") return { ...step, apply: transform.apply };
    if (step.kind !== "columns" || transform?.kind !== "columns") return step;
    const listOf = (name: string) =>
      Object.hasOwn(transform.columns, name) ? transform.columns[name]! : transform.rest;
    return {
      ...step,
      parts: step.parts.map((part) => ({ ...part, fitted: bindMaps(part.fitted, listOf(part.name)) })),
    };
  });
  return { ...fitted, steps };
}

/** The texts of all functions that are in the job file alone. */
export function mapsIn({ steps }: FittedTransforms): readonly string[] {
  return steps.flatMap((step) => {
    if (step.kind === "columns") return step.parts.flatMap(({ fitted }) => mapsIn(fitted));
    return step.kind === "map" ? [step.text] : [];
  });
}

type Shapes = Readonly<Record<"features" | "label", { readonly shape: readonly number[] }>>;

/** The first way in which samples are not of the shape that a pre-processing takes; null where they are. */
export function shapeDifference(
  samples: Shapes,
  preprocessing: Shapes,
): { readonly what: string; readonly has: string; readonly wants: string } | null {
  const written = (shape: readonly number[]) => (shape.length === 0 ? "1" : shape.join(" × "));
  for (const [column, what] of [
    ["features", "features"],
    ["label", "label values"],
  ] as const) {
    const [has, wants] = [samples[column].shape, preprocessing[column].shape];
    if (has.join() !== wants.join()) return { what, has: written(has), wants: written(wants) };
  }
  return null;
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, dimension) => size * dimension, 1);
}

function shapeBefore(fitted: FittedTransforms, index: number): readonly number[] {
  let { shape } = fitted;
  for (const step of fitted.steps.slice(0, index)) {
    if (step.kind === "one-hot") shape = [...shape, step.classes];
    if (step.kind === "reshape") shape = step.shape;
    if (step.kind === "pad") shape = [...shape.slice(0, -1), step.length];
    if (step.kind === "columns") shape = shapeOfParts(step.parts);
  }
  return shape;
}

/** A single column keeps its shape. */
function shapeOfParts(parts: readonly ColumnPart[]): readonly number[] {
  const shapes = parts.map(({ fitted }) => outputShape(fitted));
  if (shapes.length === 1 && shapes[0]!.length > 0) return shapes[0]!;
  return [shapes.reduce((sum, shape) => sum + sizeOf(shape), 0)];
}

function applyStep(
  step: FittedTransform,
  values: Float32Array,
  count: number,
  fitted: FittedTransforms,
  index: number,
): Float32Array {
  switch (step.kind) {
    case "scale":
      return values.map((value) => value * step.factor);
    case "standardize":
      return shifted(values, step.means, step.deviations);
    case "min-max":
      return shifted(values, step.minima, step.ranges);
    case "impute":
      return values.map((value, place) => (Number.isNaN(value) ? step.values[place % step.values.length]! : value));
    case "vocabulary":
      return ranked(values, step.values);
    case "one-hot":
      return oneHot(values, step, fitted.field);
    case "reshape":
      return values;
    case "normalize":
      return eachRow(values, count, unitLength);
    case "pad":
      return padded(values, shapeBefore(fitted, index).at(-1) ?? 1, step);
    case "map":
      return mapped(values, count, step, fitted.field);
    case "columns":
      return inParts(values, count, step.parts);
    default:
      return unreachable(step);
  }
}

/** (value − from) / by, column by column. */
function shifted(values: Float32Array, from: readonly number[], by: readonly number[]): Float32Array {
  const result = new Float32Array(values.length);
  for (let begin = 0; begin < values.length; begin += from.length) {
    for (let column = 0; column < from.length; column++) {
      result[begin + column] = (values[begin + column]! - from[column]!) / by[column]!;
    }
  }
  return result;
}

function ranked(values: Float32Array, vocabulary: readonly number[]): Float32Array {
  const last = vocabulary.at(-1) ?? -1;
  const isCodes = last < maximumVocabulary && vocabulary.every((value) => value >= 0 && Number.isInteger(value));
  if (!isCodes) return values.map((value) => rankOf(value, vocabulary));
  const ranks = new Float32Array(last + 1);
  vocabulary.forEach((value, position) => {
    ranks[value] = position + 1;
  });
  const result = new Float32Array(values.length);
  // A value beyond the table, or between its places, has no entry.
  for (let place = 0; place < values.length; place++) result[place] = ranks[values[place]!] ?? 0;
  return result;
}

/** Binary search. */
function rankOf(value: number, vocabulary: readonly number[]): number {
  let low = 0;
  let high = vocabulary.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (vocabulary[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return vocabulary[low] === value ? low + 1 : 0;
}

type OneHot = Extract<FittedTransform, { kind: "one-hot" }>;

function oneHot(values: Float32Array, { classes, others }: OneHot, field: string): Float32Array {
  const result = new Float32Array(values.length * classes);
  for (let place = 0; place < values.length; place++) {
    const value = values[place]!;
    if (others && (Number.isNaN(value) || value === -1)) continue;
    if (!(value >= 0 && value < classes && Number.isInteger(value))) throw outOfRange(value, classes, field);
    result[place * classes + value] = 1;
  }
  return result;
}

function outOfRange(value: number, classes: number, field: string): LockstepError {
  const fits = Number.isInteger(value) && value >= classes;
  const isMissing = Number.isNaN(value);
  return new LockstepError(
    "invalid-data",
    `oneHot(${classes}) in ${field} met the value ${value}; expected a whole number from 0 to ${classes - 1}.`,
    {
      hint: fits
        ? `Write oneHot(${value + 1}) or more, or put vocabulary() before it.`
        : isMissing
          ? "Put impute(…) before it, or vocabulary(), for which a missing value is one of the others."
          : "Put vocabulary() before it, which numbers the distinct values.",
    },
  );
}

function eachRow(values: Float32Array, count: number, use: (row: Float32Array) => void): Float32Array {
  const result = values.slice();
  const width = values.length / count;
  for (let row = 0; row < count; row++) use(result.subarray(row * width, (row + 1) * width));
  return result;
}

function unitLength(row: Float32Array): void {
  let squares = 0;
  for (const value of row) squares += value * value;
  const length = Math.sqrt(squares) || 1;
  for (let i = 0; i < row.length; i++) row[i]! /= length;
}

function padded(
  values: Float32Array,
  had: number,
  { length, value }: { readonly length: number; readonly value: number },
): Float32Array {
  const lists = values.length / had;
  const result = new Float32Array(lists * length).fill(value);
  const kept = Math.min(had, length);
  for (let list = 0; list < lists; list++) result.set(values.subarray(list * had, list * had + kept), list * length);
  return result;
}

type FittedMap = Extract<FittedTransform, { kind: "map" }>;

function mapped(values: Float32Array, count: number, { apply }: FittedMap, field: string): Float32Array {
  if (apply === undefined) {
    throw new LockstepError(
      "invalid-job",
      `${field} has a map(), and the job file, which has its function, is not here.`,
      {
        hint: "Pre-process the values by the job file's own function.",
      },
    );
  }
  return eachRow(values, count, (row) => {
    const made = resultOf(apply, row, field);
    if (made.length !== row.length) {
      throw new LockstepError(
        "invalid-job",
        `map() in ${field} made ${made.length} values of ${row.length}; expected as many as it was given.`,
        { hint: "Return one number for each of `values`; pad() and reshape() change the shape." },
      );
    }
    row.set(made);
  });
}

function resultOf(apply: MapFunction, row: Float32Array, field: string): ArrayLike<number> {
  let made: unknown;
  try {
    made = apply(row.slice());
  } catch (cause) {
    const why = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
    throw new LockstepError("invalid-job", `map() in ${field} threw ${why}.`, { cause });
  }
  if (Array.isArray(made) || made instanceof Float32Array || made instanceof Float64Array) return made;
  throw new LockstepError("invalid-job", `map() in ${field} returned no list of numbers.`, {
    hint: "Write map((values) => values.map((value) => …)).",
  });
}

function inParts(values: Float32Array, count: number, parts: readonly ColumnPart[]): Float32Array {
  const width = values.length / count;
  const made = parts.map((part) => applyTransforms(part.fitted, valuesOf(part, values, width), count));
  const widths = made.map((part) => part.length / count);
  const total = widths.reduce((sum, one) => sum + one, 0);
  const result = new Float32Array(count * total);
  let at = 0;
  for (const [i, part] of made.entries()) {
    const own = widths[i]!;
    for (let row = 0; row < count; row++) result.set(part.subarray(row * own, (row + 1) * own), row * total + at);
    at += own;
  }
  return result;
}

/** The values of one part, of all rows. */
export function valuesOf(
  { begin, fitted }: Omit<ColumnPart, "name">,
  values: Float32Array,
  width: number,
): Float32Array {
  const own = sizeOf(fitted.shape);
  const count = values.length / width;
  const result = new Float32Array(count * own);
  for (let row = 0; row < count; row++) {
    for (let i = 0; i < own; i++) result[row * own + i] = values[row * width + begin + i]!;
  }
  return result;
}

function invertStep(step: FittedTransform, value: number, field: string): number {
  switch (step.kind) {
    case "scale":
      return value / step.factor;
    case "standardize":
      return value * step.deviations[0]! + step.means[0]!;
    case "min-max":
      return value * step.ranges[0]! + step.minima[0]!;
    case "vocabulary": {
      const raw = step.values[value - 1];
      if (raw !== undefined) return raw;
      const what =
        value === 0 ? "stands for every value outside the vocabulary" : `is not of 1 to ${step.values.length}`;
      throw new LockstepError("invalid-job", `The index ${value} of ${field} ${what}, so it cannot be decoded.`);
    }
    case "one-hot":
      if (Number.isInteger(value) && value >= 0 && value < step.classes) return value;
      throw new LockstepError("invalid-job", `The index ${value} of ${field} is not of 0 to ${step.classes - 1}.`);
    case "reshape":
    case "impute":
      return value;
    case "normalize":
    case "pad":
    case "map":
    case "columns":
      throw new LockstepError("invalid-job", `${field} has ${step.kind}, which does not lead back to a raw value.`);
    default:
      return unreachable(step);
  }
}
