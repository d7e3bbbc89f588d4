/**
 * Pre-processing of rows of float32 values: fitted once, on the training split only, then applied to every batch. What
 * was fitted is plain JSON, so that a checkpoint can hold it. One value of a row is a "column"; a row has as many
 * columns as its shape has places.
 */
import { assert, LockstepError, unreachable } from "./errors.ts";
import type { Transform } from "./job.ts";

/** Transforms with everything that they learned; plain JSON. Numbers survive `JSON.stringify` to the bit. */
export interface FittedTransforms {
  /** The job file's field, for messages, as "preprocess.label". */
  readonly field: string;
  /** Shape of one row before any transform; a scalar's is []. */
  readonly shape: readonly number[];
  readonly steps: readonly FittedTransform[];
}

/** Both columns of a sample. */
export interface Preprocessing {
  readonly features: FittedTransforms;
  readonly label: FittedTransforms;
}

export type FittedTransform =
  | { readonly kind: "scale"; readonly factor: number }
  /** One mean and one divisor a column. */
  | { readonly kind: "standardize"; readonly means: readonly number[]; readonly deviations: readonly number[] }
  /** Distinct values, ascending; a value's rank is its position + 1. */
  | { readonly kind: "vocabulary"; readonly values: readonly number[] }
  | { readonly kind: "one-hot"; readonly classes: number }
  | { readonly kind: "reshape"; readonly shape: readonly number[] };

/** Hands out the rows of the training split, in an order that is the same on every node, in one or more pieces. */
export type EachRows = (use: (rows: Float32Array) => void) => void;

/** A vocabulary is for characters, codes and categories; beyond this it was put on measurements by mistake. */
export const maximumVocabulary = 65_536;

/**
 * Fits each transform in turn on what the ones before it make of the training rows. `rows` is run through once for
 * each `standardize` and `vocabulary`, and once for a `one-hot` whose values could be out of range. Deterministic: a
 * function of the arguments alone.
 *
 * Throws "invalid-job" for transforms that do not go together, "invalid-data" for values that a transform cannot take.
 */
export function fitTransforms(
  transforms: readonly Transform[],
  shape: readonly number[],
  rows: EachRows,
  field = "preprocess",
): FittedTransforms {
  let fitted: FittedTransforms = { field, shape, steps: [] };
  for (const transform of transforms) {
    const step = fitStep(transform, fitted, rows);
    fitted = { ...fitted, steps: [...fitted.steps, step] };
  }
  if (fitted.steps.some((step, index) => step.kind === "one-hot" && ranksBefore(fitted, index) === null)) {
    checkRows(fitted, rows);
  }
  return fitted;
}

/** Throws "invalid-data" if the transforms cannot take some of the rows: to find it before training, not within. */
export function checkRows(fitted: FittedTransforms, rows: EachRows): void {
  const size = sizeOf(fitted.shape);
  rows((piece) => {
    applyTransforms(fitted, piece, piece.length / size);
  });
}

/** Shape of one row after all transforms. */
export function outputShape(fitted: FittedTransforms): readonly number[] {
  return shapeBefore(fitted, fitted.steps.length);
}

/** Transforms `count` rows, which lie one after the other in `values`. Never changes `values`. */
export function applyTransforms(fitted: FittedTransforms, values: Float32Array, count: number): Float32Array {
  assert(values.length === count * sizeOf(fitted.shape), `${values.length} values are ${count} rows`);
  return fitted.steps.reduce((rows, step) => applyStep(step, rows, fitted.field), values);
}

/**
 * The raw value that an output index stands for, for rows of one value: through one-hot and vocabulary backwards, and
 * through scale and standardize. Throws "invalid-job" for an index that stands for no value.
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
  }
  return shape;
}

/** How many values a vocabulary before this step tells apart, the 0 for all others included; null if none does. */
function ranksBefore(fitted: FittedTransforms, index: number): number | null {
  for (let before = index - 1; before >= 0; before--) {
    const step = fitted.steps[before]!;
    if (step.kind === "vocabulary") return step.values.length + 1;
    if (step.kind !== "reshape") return null;
  }
  return null;
}

function fitStep(transform: Transform, before: FittedTransforms, rows: EachRows): FittedTransform {
  switch (transform.kind) {
    case "scale":
      return transform;
    case "standardize":
      return fitStandardize(before, rows);
    case "vocabulary":
      return fitVocabulary(before, rows);
    case "one-hot":
      return { kind: "one-hot", classes: classesOf(transform.classes, before) };
    case "reshape": {
      const shape = outputShape(before);
      if (sizeOf(shape) !== sizeOf(transform.shape)) {
        throw new LockstepError(
          "invalid-job",
          `${before.field} reshapes [${shape.join(", ")}] to [${transform.shape.join(", ")}]: ${sizeOf(shape)} values cannot become ${sizeOf(transform.shape)}.`,
          { hint: `Give reshape() sizes whose product is ${sizeOf(shape)}.` },
        );
      }
      return transform;
    }
    default:
      return unreachable(transform);
  }
}

/** Welford's running mean and variance: one pass, and exact for a constant column. */
function fitStandardize(before: FittedTransforms, rows: EachRows): FittedTransform {
  const columns = sizeOf(outputShape(before));
  const means = new Float64Array(columns);
  const squares = new Float64Array(columns);
  let count = 0;
  eachTransformed(before, rows, (values) => {
    for (let begin = 0; begin < values.length; begin += columns) {
      count++;
      for (let column = 0; column < columns; column++) {
        const difference = values[begin + column]! - means[column]!;
        means[column]! += difference / count;
        squares[column]! += difference * (values[begin + column]! - means[column]!);
      }
    }
  });
  requireRows(count, before);
  // A constant column has no deviation; divided by 1 it becomes all zeros. "+ 0" turns −0, which JSON forgets, into 0.
  const deviations = Array.from(squares, (sum) => Math.sqrt(sum / count) || 1);
  return { kind: "standardize", means: Array.from(means, (mean) => mean + 0), deviations };
}

function fitVocabulary(before: FittedTransforms, rows: EachRows): FittedTransform {
  const codes = new Uint8Array(maximumVocabulary); // most vocabularies are of small whole numbers: a table beats a set
  const others = new Set<number>();
  let count = 0;
  eachTransformed(before, rows, (values) => {
    count += values.length;
    for (let place = 0; place < values.length; place++) {
      const value = values[place]!;
      if (value >= 0 && value < codes.length && Number.isInteger(value)) codes[value] = 1;
      else others.add(value);
    }
    if (others.size > maximumVocabulary) throw tooManyValues(before);
  });
  requireRows(count, before);
  const distinct: number[] = [...others];
  codes.forEach((seen, code) => {
    if (seen) distinct.push(code);
  });
  if (distinct.length > maximumVocabulary) throw tooManyValues(before);
  return { kind: "vocabulary", values: distinct.sort((a, b) => a - b) };
}

function tooManyValues({ field }: FittedTransforms): LockstepError {
  return new LockstepError(
    "invalid-data",
    `vocabulary() in ${field} found more than ${maximumVocabulary} distinct values in the training split.`,
    { hint: "A vocabulary is for characters, codes and categories; for measurements use standardize()." },
  );
}

function classesOf(classes: number | undefined, before: FittedTransforms): number {
  const ranks = ranksBefore(before, before.steps.length);
  if (classes === undefined && ranks === null) {
    throw new LockstepError("invalid-job", `oneHot() in ${before.field} does not know how many values there are.`, {
      hint: "Write oneHot(10) for the values 0 to 9, or put vocabulary() before it.",
    });
  }
  if (classes !== undefined && ranks !== null && classes < ranks) {
    throw new LockstepError(
      "invalid-job",
      `oneHot(${classes}) in ${before.field} is too small: the vocabulary before it has ${ranks - 1} values, and 0 stands for all others.`,
      { hint: `Write oneHot() or oneHot(${ranks}).` },
    );
  }
  return classes ?? ranks!; // both null was refused above
}

function eachTransformed(before: FittedTransforms, rows: EachRows, use: (values: Float32Array) => void): void {
  const size = sizeOf(before.shape);
  rows((piece) => use(applyTransforms(before, piece, piece.length / size)));
}

function requireRows(count: number, { field }: FittedTransforms): void {
  if (count === 0) throw new LockstepError("invalid-data", `${field} cannot be fitted: the training split is empty.`);
}

function applyStep(step: FittedTransform, values: Float32Array, field: string): Float32Array {
  switch (step.kind) {
    case "scale":
      return values.map((value) => value * step.factor);
    case "standardize":
      return standardized(values, step.means, step.deviations);
    case "vocabulary":
      return ranked(values, step.values);
    case "one-hot":
      return oneHot(values, step.classes, field);
    case "reshape":
      return values;
    default:
      return unreachable(step);
  }
}

function standardized(values: Float32Array, means: readonly number[], deviations: readonly number[]): Float32Array {
  const result = new Float32Array(values.length);
  for (let begin = 0; begin < values.length; begin += means.length) {
    for (let column = 0; column < means.length; column++) {
      result[begin + column] = (values[begin + column]! - means[column]!) / deviations[column]!;
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

function oneHot(values: Float32Array, classes: number, field: string): Float32Array {
  const result = new Float32Array(values.length * classes);
  for (let place = 0; place < values.length; place++) {
    const value = values[place]!;
    if (!(value >= 0 && value < classes && Number.isInteger(value))) throw outOfRange(value, classes, field);
    result[place * classes + value] = 1;
  }
  return result;
}

function outOfRange(value: number, classes: number, field: string): LockstepError {
  const fits = Number.isInteger(value) && value >= classes;
  return new LockstepError(
    "invalid-data",
    `oneHot(${classes}) in ${field} met the value ${value}; expected a whole number from 0 to ${classes - 1}.`,
    {
      hint: fits
        ? `Write oneHot(${value + 1}) or more, or put vocabulary() before it.`
        : "Put vocabulary() before it, which numbers the distinct values.",
    },
  );
}

function invertStep(step: FittedTransform, value: number, field: string): number {
  switch (step.kind) {
    case "scale":
      return value / step.factor;
    case "standardize":
      return value * step.deviations[0]! + step.means[0]!;
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
      return value;
    default:
      return unreachable(step);
  }
}
