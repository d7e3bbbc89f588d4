/** Pre-processing fitted once, on the training split only: a function of its rows in their order, the same on every node. */
import { LockstepError, unreachable } from "./errors.ts";
import { listed } from "./field-checks.ts";
import { nearestName } from "./nearest-name.ts";
import type { ImputeWith, Transform } from "./transform-definition.ts";
import {
  applyTransforms,
  type ColumnPart,
  type FittedTransform,
  type FittedTransforms,
  maximumVocabulary,
  outputShape,
  sizeOf,
  valuesOf,
} from "./transforms.ts";

/** Hands out the rows of the training split, in an order that is the same on every node, in one or more pieces. */
export type EachRows = (use: (rows: Float32Array) => void) => void;

/** What is done with the rows, piece by piece, when they are run through. */
type Pass = (rows: Float32Array) => void;
/** Asks for passes over the rows, one after the other, until it knows its result. Several of them share the passes they ask for. */
type Fitting<T> = Generator<Pass, T, void>;

/** What of a row belongs together, in the order of its values. */
export interface FittedColumn {
  readonly name: string | null;
  readonly shape: readonly number[];
  /** A category's, in the order of its codes. */
  readonly texts?: readonly string[];
  readonly type?: string;
}

/** More distinct values than this are not counted, however few of them are to have a rank. */
const mostCounted = 4_194_304;

/**
 * Fits each transform in turn on what the ones before it make of the training rows. `rows` is run through once for each transform
 * that learns something, of all columns of `columns` at the same time, and once for a `one-hot` whose values could be out of range.
 * Deterministic: a function of the arguments alone.
 *
 * Throws "invalid-job" for transforms that do not go together, "invalid-data" for values that a transform cannot take.
 * @param columns what a row consists of; needed by `columns`
 */
export function fitTransforms(
  transforms: readonly Transform[],
  shape: readonly number[],
  rows: EachRows,
  field = "preprocess",
  columns: readonly FittedColumn[] = [],
): FittedTransforms {
  const fitting = fitAll(transforms, shape, field, columns);
  for (let pass = fitting.next(); ; pass = fitting.next()) {
    if (pass.done) return pass.value;
    rows(pass.value);
  }
}

function* fitAll(
  transforms: readonly Transform[],
  shape: readonly number[],
  field: string,
  columns: readonly FittedColumn[],
): Fitting<FittedTransforms> {
  const codes = columns.length === 1 && columns[0]!.type === "category" ? columns[0]!.texts?.length : undefined;
  let fitted: FittedTransforms = { field, shape, ...(codes === undefined ? {} : { codes }), steps: [] };
  for (const transform of transforms) {
    const step: FittedTransform = yield* fitStep(transform, fitted, columns);
    fitted = { ...fitted, steps: [...fitted.steps, step] };
  }
  if (fitted.steps.some((step, index) => step.kind === "one-hot" && ranksBefore(fitted, index) === null)) {
    // Throws "invalid-data" if the transforms cannot take some of the rows: to find it before training, not within.
    yield transformed(fitted, () => {});
  }
  return fitted;
}

/** How many values are told apart before this step, the 0 of a vocabulary for all others included; null if nothing says. */
function ranksBefore(fitted: FittedTransforms, index: number): number | null {
  for (let before = index - 1; before >= 0; before--) {
    const step = fitted.steps[before]!;
    if (step.kind === "vocabulary") return step.values.length + 1;
    if (step.kind !== "reshape" && !(step.kind === "impute" && fitted.codes !== undefined)) return null;
  }
  return fitted.codes ?? null;
}

function* fitStep(
  transform: Transform,
  before: FittedTransforms,
  columns: readonly FittedColumn[],
): Fitting<FittedTransform> {
  switch (transform.kind) {
    case "scale":
    case "normalize":
      return transform;
    case "standardize":
      return yield* fitStandardize(before);
    case "min-max":
      return yield* fitMinMax(before);
    case "impute":
      return { kind: "impute", values: yield* fitImpute(transform.with, before) };
    case "vocabulary":
      return yield* fitVocabulary(before, transform.maximum);
    case "one-hot":
      return fitOneHot(transform.classes, before);
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
    case "pad":
      if (outputShape(before).length > 0) return transform;
      throw new LockstepError("invalid-job", `pad() in ${before.field} was given a single number; expected a list.`);
    case "map":
      return yield* fitMap(transform, before);
    case "columns":
      return { kind: "columns", parts: yield* fitColumns(transform, before, columns) };
    default:
      return unreachable(transform);
  }
}

/** Welford's running mean and variance: one pass, and exact for a constant column. What is missing does not count. */
function* fitStandardize(before: FittedTransforms): Fitting<FittedTransform> {
  const columns = sizeOf(outputShape(before));
  const means = new Float64Array(columns);
  const squares = new Float64Array(columns);
  const counts = new Float64Array(columns);
  yield eachValue(before, columns, (value, column) => {
    const count = ++counts[column]!;
    const difference = value - means[column]!;
    means[column]! += difference / count;
    squares[column]! += difference * (value - means[column]!);
  });
  requireValues(counts, "standardize()", before);
  // A constant column has no deviation; divided by 1 it becomes all zeros. "+ 0" turns −0, which JSON forgets, into 0.
  const deviations = Array.from(squares, (sum, column) => Math.sqrt(sum / counts[column]!) || 1);
  return { kind: "standardize", means: Array.from(means, (mean) => mean + 0), deviations };
}

function* fitMinMax(before: FittedTransforms): Fitting<FittedTransform> {
  const columns = sizeOf(outputShape(before));
  const minima = new Float64Array(columns).fill(Number.POSITIVE_INFINITY);
  const maxima = new Float64Array(columns).fill(Number.NEGATIVE_INFINITY);
  const counts = new Float64Array(columns);
  yield eachValue(before, columns, (value, column) => {
    counts[column]!++;
    if (value < minima[column]!) minima[column] = value;
    if (value > maxima[column]!) maxima[column] = value;
  });
  requireValues(counts, "minMax()", before);
  // A constant column becomes all zeros.
  const ranges = Array.from(maxima, (maximum, column) => maximum - minima[column]! || 1);
  return { kind: "min-max", minima: Array.from(minima, (minimum) => minimum + 0), ranges };
}

function* fitImpute(what: ImputeWith, before: FittedTransforms): Fitting<readonly number[]> {
  const columns = sizeOf(outputShape(before));
  if (typeof what === "number") return new Array<number>(columns).fill(what);
  const counts = new Float64Array(columns);
  const values = yield* fitters[what](columns, (use) =>
    eachValue(before, columns, (value, column) => {
      counts[column]!++;
      use(value, column);
    }),
  );
  requireValues(counts, `impute("${what}")`, before);
  return values.map((value) => value + 0);
}

type EachValue = (use: (value: number, column: number) => void) => Pass;

const fitters: Readonly<Record<Exclude<ImputeWith, number>, (columns: number, each: EachValue) => Fitting<number[]>>> =
  {
    /** Summed in the order of the rows. */
    *mean(columns, each) {
      const sums = new Float64Array(columns);
      const counts = new Float64Array(columns);
      yield each((value, column) => {
        sums[column]! += value;
        counts[column]!++;
      });
      return Array.from(sums, (sum, column) => sum / counts[column]!);
    },
    /** Exact; of an even count, the mean of the two in the middle. Holds all values. */
    *median(columns, each) {
      const all = Array.from({ length: columns }, () => new Float32List());
      yield each((value, column) => all[column]!.push(value));
      return all.map(({ values }) => {
        const sorted = values.sort();
        const middle = sorted.length >> 1;
        return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
      });
    },
    /** Of those that are equally frequent, the smallest. */
    *mostFrequent(columns, each) {
      const counts = Array.from({ length: columns }, () => new Map<number, number>());
      yield each((value, column) => void counts[column]!.set(value, (counts[column]!.get(value) ?? 0) + 1));
      return counts.map((column) => {
        const [[value] = [Number.NaN]] = [...column].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
        return value;
      });
    },
  };

/** Numbers that come one by one, at four bytes each: those of all columns are held at the same time. */
class Float32List {
  #values = new Float32Array(256);
  #count = 0;

  push(value: number): void {
    if (this.#count === this.#values.length) {
      const values = new Float32Array(2 * this.#count);
      values.set(this.#values);
      this.#values = values;
    }
    this.#values[this.#count++] = value;
  }

  get values(): Float32Array {
    return this.#values.subarray(0, this.#count);
  }
}

function* fitVocabulary(before: FittedTransforms, maximum: number | undefined): Fitting<FittedTransform> {
  const codes = new Float64Array(maximumVocabulary); // most vocabularies are of small whole numbers: a table beats a map
  const others = new Map<number, number>();
  let count = 0;
  const most = maximum === undefined ? maximumVocabulary : mostCounted;
  yield transformed(before, (values) => {
    count += values.length;
    for (let place = 0; place < values.length; place++) {
      const value = values[place]!;
      if (value >= 0 && value < codes.length && Number.isInteger(value)) codes[value]!++;
      else if (!Number.isNaN(value)) others.set(value, (others.get(value) ?? 0) + 1);
    }
    if (others.size > most) throw tooManyValues(before, most);
  });
  if (count === 0) throw emptySplit(before);
  const counted = [...others];
  codes.forEach((times, code) => {
    if (times > 0) counted.push([code, times]);
  });
  if (counted.length > most) throw tooManyValues(before, most);
  const kept = maximum === undefined ? counted : counted.sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, maximum);
  return { kind: "vocabulary", values: kept.map(([value]) => value).sort((a, b) => a - b) };
}

function tooManyValues({ field }: FittedTransforms, most: number): LockstepError {
  return new LockstepError(
    "invalid-data",
    `vocabulary() in ${field} found more than ${most} distinct values in the training split.`,
    {
      hint: "A vocabulary is for characters, codes and categories; for measurements use standardize(), and of words keep some: vocabulary({ maximum: 20000 }).",
    },
  );
}

function fitOneHot(classes: number | undefined, before: FittedTransforms): FittedTransform {
  const ranks = ranksBefore(before, before.steps.length);
  if (classes === undefined && ranks === null) {
    throw new LockstepError("invalid-job", `oneHot() in ${before.field} does not know how many values there are.`, {
      hint: "Write oneHot(10) for the values 0 to 9, or put vocabulary() before it.",
    });
  }
  const isCodes = before.codes !== undefined && !before.steps.some(({ kind }) => kind === "vocabulary");
  if (classes !== undefined && ranks !== null && classes < ranks) {
    const has = isCodes
      ? `the column has ${ranks} categories`
      : `the vocabulary before it has ${ranks - 1} values, and 0 stands for all others`;
    throw new LockstepError("invalid-job", `oneHot(${classes}) in ${before.field} is too small: ${has}.`, {
      hint: `Write oneHot() or oneHot(${ranks}).`,
    });
  }
  // Both undefined and null was refused above.
  return { kind: "one-hot", classes: classes ?? ranks!, ...(isCodes ? { others: true } : {}) };
}

/** Looks at the first rows: whether the function gives as many values, and the same for the same. */
function* fitMap({ apply }: Extract<Transform, { kind: "map" }>, before: FittedTransforms): Fitting<FittedTransform> {
  const step: FittedTransform = { kind: "map", text: apply.toString(), apply };
  const own = { field: before.field, shape: outputShape(before), steps: [step] };
  const look = transformed(before, (values) => {
    const [once, twice] = [1, 2].map(() => applyTransforms(own, values, values.length / sizeOf(own.shape)));
    if (once!.every((value, place) => Object.is(value, twice![place]))) return;
    throw new LockstepError(
      "invalid-job",
      `map() in ${before.field} made different values of the same sample when it was called twice.`,
      { hint: "It must be a function of `values` alone: no randomness, no clock, nothing that it remembers." },
    );
  });
  const size = sizeOf(before.shape);
  let isFirst = true;
  yield (rows) => {
    if (isFirst) look(rows.subarray(0, size * 16));
    isFirst = false;
  };
  return step;
}

function* fitColumns(
  { columns: named, rest }: Extract<Transform, { kind: "columns" }>,
  before: FittedTransforms,
  columns: readonly FittedColumn[],
): Fitting<readonly ColumnPart[]> {
  const names = columns.flatMap(({ name }) => (name === null ? [] : [name]));
  if (before.steps.length > 0 || names.length === 0 || names.length < columns.length) {
    throw new LockstepError(
      "invalid-job",
      `columns() in ${before.field} needs the columns of a table, with names, as they are read.`,
      { hint: "It is for csv(), jsonLines(), parquet(), arrow() and tfrecord(), and comes first." },
    );
  }
  for (const name of Object.keys(named)) {
    const times = names.filter((other) => other === name).length;
    if (times === 1) continue;
    const meant = times === 0 ? nearestName(name, names) : null;
    const shown = names.length > 12 ? [...names.slice(0, 10), "…", names.at(-1)!] : names;
    throw new LockstepError(
      "invalid-job",
      `columns() in ${before.field} names "${name}", and the data has ${times === 0 ? "no such feature" : `${times} of them`}; its features are ${listed(shown, "and")}.`,
      meant === null ? {} : { hint: `Did you mean "${meant}"?` },
    );
  }
  const width = sizeOf(before.shape);
  let begin = 0;
  const parts = columns.map((column) => {
    const name = column.name!; // all have one
    const field = `${before.field}.${name}`;
    const place = { begin, fitted: { field, shape: column.shape, steps: [] } };
    begin += sizeOf(column.shape);
    const fitting = fitAll(Object.hasOwn(named, name) ? named[name]! : rest, column.shape, field, [column]);
    return { name, place, fitting };
  });
  let passes = parts.map(({ fitting }) => fitting.next());
  while (passes.some(({ done }) => !done)) {
    yield (rows) => {
      for (const [i, pass] of passes.entries()) if (!pass.done) pass.value(valuesOf(parts[i]!.place, rows, width));
    };
    passes = passes.map((pass, i) => (pass.done ? pass : parts[i]!.fitting.next()));
  }
  return parts.map(({ name, place }, i) => {
    const { value } = passes[i] as IteratorReturnResult<FittedTransforms>; // all are done
    return { name, begin: place.begin, fitted: value };
  });
}

function transformed(before: FittedTransforms, use: Pass): Pass {
  const size = sizeOf(before.shape);
  return (rows) => use(applyTransforms(before, rows, rows.length / size));
}

/** Of all values that are not missing, in order. */
function eachValue(before: FittedTransforms, columns: number, use: (value: number, column: number) => void): Pass {
  return transformed(before, (values) => {
    for (let begin = 0; begin < values.length; begin += columns) {
      for (let column = 0; column < columns; column++) {
        const value = values[begin + column]!;
        if (!Number.isNaN(value)) use(value, column);
      }
    }
  });
}

function requireValues(counts: Float64Array, what: string, fitted: FittedTransforms): void {
  const empty = counts.indexOf(0);
  if (empty < 0) return;
  if (counts.every((count) => count === 0) && counts.length > 1) throw emptySplit(fitted);
  throw new LockstepError(
    "invalid-data",
    `${what} in ${fitted.field} cannot be fitted: ${counts.length === 1 ? "there is no value" : `value ${empty} of a sample is missing everywhere`} in the training split.`,
    { hint: "Leave out such a column, or fill it in with a number: impute(0)." },
  );
}

function emptySplit({ field }: FittedTransforms): LockstepError {
  return new LockstepError("invalid-data", `${field} cannot be fitted: the training split is empty.`);
}
