/** What a job file imports from "lockstep", and a program that uses what a job has trained. */
import type { LoadedCheckpoint, LoadIntoModel } from "./adapters/fs/load-checkpoint.ts";
import type { TableColumns } from "./core/columns.ts";
import type {
  BytePairTokens,
  CsvSource,
  IdxSource,
  JobDefinition,
  JobWithParams,
  JsonLinesSource,
  NpySource,
  NpzSource,
  Separator,
  TextSource,
} from "./core/job.ts";
import type { MetricName } from "./core/compile.ts";
import type { LaunchOptions, Run } from "./core/run-events.ts";
import type { Params, ParamValues } from "./core/settings.ts";
import type { ImputeWith, MapFunction, Transform, TransformList } from "./core/transform-definition.ts";

export type { LoadedCheckpoint, LoadIntoModel } from "./adapters/fs/load-checkpoint.ts";
export type { BestEpoch, Callbacks, EpochEvent, FinishEvent } from "./core/callbacks.ts";
export type {
  CustomLoss,
  LossDefinition,
  LossName,
  LossSettings,
  MetricName,
  OutputDefinition,
  StepContext,
  StepFunction,
  StepResult,
  Tensor,
} from "./core/compile.ts";
export type {
  LaunchOptions,
  Run,
  RunEvent,
  RunEventOf,
  RunEventType,
  RunWorker,
} from "./core/run-events.ts";
export type { EpochRecord, GoOn, ResultCheckpoint, RunResult } from "./core/run-result.ts";
export type {
  CheckpointPointer,
  ClusterState,
  ClusterStatus,
  EpochHistory,
  ProcessStatus,
  RunningEpoch,
  RunProgress,
} from "./core/status.ts";
export type { BestOf, CheckpointPolicy } from "./core/checkpoint-policy.ts";
export type { Manifest, ManifestFile } from "./core/manifest.ts";
export type { Opening } from "./core/origin.ts";
export type { NamedTensor } from "./ports/checkpoint-storage.ts";
export type { Wishes } from "./core/wishes.ts";
export type { WireFormat } from "./core/wire.ts";
export type { ColumnKind, TableColumns, TextKind } from "./core/columns.ts";
export { LockstepError } from "./core/errors.ts";
export type { ErrorCode } from "./core/errors.ts";
export { crop, flip, jitter } from "./core/augmentation.ts";
export type { Augmentation } from "./core/augmentation.ts";
export { arrow, cifar, dataset, images, parquet, tfrecord } from "./core/format-sources.ts";
export type {
  CifarSource,
  FormatSource,
  ImagesSource,
  NamedColumns,
  OwnSample,
  OwnSource,
  TableSource,
  Values,
} from "./core/format-sources.ts";
export type {
  BytePairTokens,
  CheckpointDefinition,
  ClassWeight,
  Clip,
  CompileDefinition,
  CsvSource,
  DataSource,
  DecodeLabel,
  IdxSource,
  JobDefinition,
  JobWithParams,
  JsonLinesSource,
  LayersModel,
  LearningRate,
  LearningRateSchedule,
  NpySource,
  NpzSource,
  OptimizerDefinition,
  ReportContext,
  SampleShapes,
  SaveFrequency,
  Separator,
  Span,
  TensorFlow,
  TextSource,
} from "./core/job.ts";
export type { JobSettings, Params, ParamValue, ParamValues } from "./core/settings.ts";
export type { ImputeWith, MapFunction, Transform, TransformList } from "./core/transform-definition.ts";
export type { ValidationSplit } from "./core/validation-split.ts";

/** Gives a job file its types: `export default defineJob({ … })`. The job is checked when it is launched. */
export function defineJob(job: JobDefinition): JobDefinition;
/**
 * The same of a job with parameters: `export default defineJob({ units: 256 }, ({ units }) => ({ … }))`. `--param units=64` gives
 * one another value than its default, of the same type: a number, a text, true or false.
 */
export function defineJob<Defaults extends ParamValues>(
  defaults: Defaults,
  make: (params: Params<Defaults>) => JobDefinition,
): JobWithParams;
export function defineJob(
  first: JobDefinition | ParamValues,
  make?: (params: never) => JobDefinition,
): JobDefinition | JobWithParams {
  // By the two declarations above: the first argument alone is a job; the function takes what is made of its defaults.
  if (make === undefined) return first as JobDefinition;
  return { defaults: first as ParamValues, make: make as JobWithParams["make"] };
}

/**
 * Files of cells with a header row, the same in all of them. Every other cell is a number, but for columns of which `columns` says
 * something else.
 * @param path relative to `--data`, or to the job file without it; "*" in the last part stands for any characters. As every path of
 * data, it may be in object storage: "s3://bucket/folder/part-*.csv"
 * @param options.label the header of the column to predict, or of several, as ["x", "y"]; all others are features, in file order
 * @param options.separator what stands between cells: "," (default), ";" or "\t"
 * @param options.columns by header: "category", or a text as so many words or characters, `{ kind: "words", length: 100 }`
 * @param options.missing how a missing value is written, as ["", "NA"]; left out, a missing value is refused
 * @param options.ignore headers of columns that are no features
 * @param options.weight the header of a column that says how much a sample counts in training; it is no feature
 */
export function csv(
  path: string,
  options: {
    readonly label: string | readonly string[];
    readonly separator?: Separator;
    readonly ignore?: readonly string[];
    readonly weight?: string;
  } & TableColumns,
): CsvSource {
  return { kind: "csv", path, ...options };
}

/**
 * Text files (UTF-8), one after the other. A sample's features are `window` consecutive characters, as UTF-16 code
 * units (shape [window]); its label is the character after them (shape []). No window reaches into the next file.
 * @param paths relative to `--data`, or to the job file without it; "*" in the last part stands for any characters
 * @param options.stride distance between the beginnings of two windows
 * @param options.tokens what a window consists of, in place of characters: `bytePair({ size: 512 })`
 */
export function text(
  paths: string | readonly string[],
  options: { readonly window: number; readonly stride: number; readonly tokens?: BytePairTokens },
): TextSource {
  return { kind: "text", paths: typeof paths === "string" ? [paths] : paths, ...options };
}

/**
 * Byte-pair encoding for `text`: the pieces that are most frequent in the training part of the text, the 256 bytes among them. They are
 * learned once, the same ones everywhere, and stored in every checkpoint.
 * @param options.size so many pieces at most, 257 to 65,536
 */
export function bytePair(options: { readonly size: number }): BytePairTokens {
  return { kind: "byte-pair", ...options };
}

/**
 * Two IDX files, plain or gzip, as those of MNIST and its kin: `idx({ features: "train-images-idx3-ubyte.gz", labels:
 * "train-labels-idx1-ubyte.gz" })`. The first dimension counts the samples; the others are the shape of one, as [28, 28].
 * @param options.features a path, relative to `--data`, or to the job file without it; so is `labels`. "*" in the last part stands for
 * any characters: so many files of features have as many of labels, which belong together in the order of their names
 * @param options.channels adds a last dimension of 1 to the features, for convolutions: [28, 28, 1]
 */
export function idx(options: {
  readonly features: string;
  readonly labels: string;
  readonly channels?: boolean;
}): IdxSource {
  return { kind: "idx", channels: false, ...options };
}

/**
 * Two arrays as NumPy's `save` writes them, each in a file. The first dimension counts the samples; the others are the shape of
 * one. Features of one dimension are one number a sample (shape [1]).
 * @param options.features a path, relative to `--data`, or to the job file without it; so is `label`. "*" as in `idx`
 */
export function npy(options: { readonly features: string; readonly label: string }): NpySource {
  return { kind: "npy", ...options };
}

/**
 * Two arrays of each file, as NumPy's `savez` and `savez_compressed` write it; otherwise as `npy`.
 * @param options.path relative to `--data`, or to the job file without it; "*" in the last part stands for any characters
 * @param options.features the name of an array in the file; so is `label`
 */
export function npz(options: { readonly path: string; readonly features: string; readonly label: string }): NpzSource {
  return { kind: "npz", ...options };
}

/**
 * Files with a JSON object in each line: `jsonLines({ path: "houses.jsonl", features: ["area", "rooms"], label: "price" })`.
 * Values are numbers, booleans (1 and 0), or lists of numbers, which have the same shape in every line.
 * @param options.path relative to `--data`, or to the job file without it; "*" in the last part stands for any characters
 * @param options.features fields, one after the other in a sample; a single one that holds lists keeps their shape
 * @param options.label the field to predict, or several, as ["x", "y"]
 * @param options.columns by field: "category", or a text as so many words or characters, `{ kind: "words", length: 100 }`
 * @param options.missing texts that stand for a missing value, as ["", "NA"]; with it null is one too, and a field that is not there
 * @param options.weight the field that says how much a sample counts in training
 */
export function jsonLines(
  options: {
    readonly path: string;
    readonly features: readonly string[];
    readonly label: string | readonly string[];
    readonly weight?: string;
  } & TableColumns,
): JsonLinesSource {
  return { kind: "json-lines", ...options };
}

/** Multiplies every value by `factor`. */
export function scale(factor: number): Transform {
  return { kind: "scale", factor };
}

/** Subtracts the training split's mean and divides by its standard deviation, column by column. */
export function standardize(): Transform {
  return { kind: "standardize" };
}

/** Brings the training split's smallest value to 0 and its largest to 1, column by column. */
export function minMax(): Transform {
  return { kind: "min-max" };
}

/**
 * Fills in missing values, column by column.
 * @param what of the training split: "mean", "median", "mostFrequent" (of equals the smallest); or a number
 */
export function impute(what: ImputeWith): Transform {
  return { kind: "impute", with: what };
}

/**
 * Replaces each value by its rank (from 1) among the training split's distinct values; 0 stands for all others. Label encoding, as
 * it is called elsewhere.
 * @param options.maximum only so many values have a rank: the most frequent ones, and of equals the smaller one
 */
export function vocabulary(options: { readonly maximum?: number } = {}): Transform {
  return { kind: "vocabulary", ...options };
}

/**
 * Adds a last dimension with a 1 at the value's index.
 * @param classes the values are 0 to classes − 1; left out, `vocabulary()` must come before, or the column be a category
 */
export function oneHot(classes?: number): Transform {
  return classes === undefined ? { kind: "one-hot" } : { kind: "one-hot", classes };
}

/** The metric "the label's class is among the `k` largest outputs"; it is called `top5Accuracy` for 5. */
export function topK(k: number): MetricName {
  return `top${k}Accuracy`;
}

/** Gives each sample another shape with as many values, as `reshape([8, 8, 1])`. */
export function reshape(shape: readonly number[]): Transform {
  return { kind: "reshape", shape };
}

/** Divides each sample by its length, the root of the sum of its squares. */
export function normalize(): Transform {
  return { kind: "normalize" };
}

/**
 * Cuts the last dimension of a sample, or fills it up.
 * @param options.length how long it is afterwards
 * @param options.value what fills it up; 0 where it is left out
 */
export function pad(options: { readonly length: number; readonly value?: number }): Transform {
  return { kind: "pad", value: 0, ...options };
}

/**
 * A function of one's own, of one sample's values: `map((values) => values.map(Math.log1p))`. It gives as many numbers as it gets, and
 * the same for the same, on every node: no randomness, no clock. It stays in the job file, where `evaluate` and `predict` find it; an
 * exported model cannot take it along.
 */
export function map(apply: MapFunction): Transform {
  return { kind: "map", apply };
}

/**
 * Transforms for single columns of a table, by name: `columns({ age: [impute("median"), standardize()], city: [vocabulary(), oneHot()],
 * rest: minMax() })`. `rest` is for each column that is not named; without it they stay as they are. What all of them become lies one
 * after the other, in the order of the file's columns.
 */
export function columns(lists: Readonly<Record<string, TransformList>>): Transform {
  const { rest = [], ...named } = lists;
  const listOf = (list: TransformList) => (Array.isArray(list) ? list : [list]) as readonly Transform[];
  const byName = Object.entries(named).map(([name, list]) => [name, listOf(list)] as const);
  return { kind: "columns", columns: Object.fromEntries(byName), rest: listOf(rest) };
}

/**
 * Trains a job on a cluster of processes on this machine, as `lockstep launch` does, and tells of it in events:
 * `const run = await launch({ job: "digits.ts", workers: 2 }); run.on("epoch", …); const { best } = await run.finished`.
 * Resolves once the run is found or begun; rejects with a LockstepError, whose code is from a closed set, when it cannot be.
 */
export async function launch(options: LaunchOptions): Promise<Run> {
  // Only whoever launches needs it: a job file, which imports this module too, does not.
  const { launchRun } = await import("./cli/library.ts");
  return launchRun(options);
}

/**
 * Reads one checkpoint, after every hash in it was verified: its manifest, and its weights as named arrays. With `into`,
 * a model of the same layers has them afterwards: `loadCheckpoint(folder, { tf, model })`.
 * Throws a LockstepError: "corrupt-checkpoint" names the file that is not what was written; "incompatible" says what of
 * the model does not fit, or that a newer lockstep wrote the checkpoint.
 * @param folder the checkpoint's own folder, which has a manifest.json, or its URL, as s3://BUCKET/PREFIX/ID
 */
export async function loadCheckpoint(folder: string, into?: LoadIntoModel): Promise<LoadedCheckpoint> {
  // Only whoever calls it needs it: a job file, which imports this module too, does not.
  const { loadCheckpointFolder } = await import("./adapters/fs/load-checkpoint.ts");
  return loadCheckpointFolder(folder, into ?? null);
}
