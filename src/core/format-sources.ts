/** Where samples come from beside tables and text: own functions, columns of binary files, images. What a job file writes of them. */
import type { TableColumns } from "./columns.ts";

/** A number, or numbers in lists, typed arrays, and lists of them; all samples have the same shape. */
export type Values = number | boolean | ArrayLike<number> | readonly Values[];

export interface OwnSample {
  readonly features: Values;
  readonly label: Values;
  /** How much it counts in training; only where the source says that samples are weighted. */
  readonly weight?: number;
}

/** Samples that a function of the job file makes. */
export interface OwnSource {
  readonly kind: "dataset";
  /** What messages call it. */
  readonly name: string;
  readonly length: number;
  /** The sample with this index, from 0 to `length` − 1: always the same. */
  readonly get: (index: number) => OwnSample;
  /** Shapes of one sample; left out: those of the first. */
  readonly features?: readonly number[];
  readonly label?: readonly number[];
  /** Part of the digest: another one, other samples. */
  readonly version?: string;
  /** Whether each sample has a weight. */
  readonly weighted?: boolean;
}

/**
 * Columns in one of three binary formats. They hold numbers, booleans, or lists of numbers of one shape, but for columns of which
 * something else is said. Where something may be missing, null is missing.
 */
export interface TableSource extends TableColumns {
  readonly kind: "parquet" | "arrow" | "tfrecord";
  /** A file, or several: "*" in its last part stands for any characters. */
  readonly path: string;
  /** Names of columns, one after the other in a sample; a single one that holds lists keeps their shape. */
  readonly features: readonly string[];
  /** Several, as ["x", "y"], lie one after the other in a sample's label. */
  readonly label: string | readonly string[];
  /** The column that says how much a sample counts in training. Left out: all count the same. */
  readonly weight?: string;
}

/** A folder with a folder of pictures for each class. */
export interface ImagesSource {
  readonly kind: "images";
  /** The folder, or with "*" in its last part the classes' folders themselves. */
  readonly path: string;
  /** Height and width that all pictures get. */
  readonly size: readonly [number, number];
  /** 1: shades of grey, 3: red, green and blue, 4: and how opaque. */
  readonly channels: 1 | 3 | 4;
}

/** CIFAR's binary files. */
export interface CifarSource {
  readonly kind: "cifar";
  /** A file, or several: "*" in its last part stands for any characters. */
  readonly path: string;
  /** 10: CIFAR-10. 100 and 20: the fine and the coarse labels of CIFAR-100. */
  readonly classes: 10 | 20 | 100;
}

export type FormatSource = OwnSource | TableSource | ImagesSource | CifarSource;

/**
 * One's own samples: `dataset({ name: "waves", length: 1000, get: (i) => ({ features: wave(i), label: i % 2 }) })`.
 * @param options.get gives the sample with an index, at once (no promise), and the same one whenever and wherever it is asked
 * @param options.features the shape of one sample's features, as [28, 28], where `get` gives them as a flat list; so is `label`
 * @param options.version a text to change when the samples change: what `get` reads from elsewhere nobody else sees
 * @param options.weighted true: each sample has a `weight` too, which says how much it counts in training
 */
export function dataset(options: Omit<OwnSource, "kind">): OwnSource {
  return { kind: "dataset", ...options };
}

/** What a table with names of columns is told beside its path. */
export type NamedColumns = Omit<TableSource, "kind" | "path">;

/**
 * Columns of Parquet files: numbers, booleans (1 and 0), or lists of numbers of one shape; and texts, where `columns` says how they become
 * numbers.
 * @param path relative to `--data`, or to the job file without it; "*" in the last part stands for any characters
 * @param options.features columns, one after the other in a sample; a single one that holds lists keeps their shape
 * @param options.label the column to predict, or several, as ["x", "y"]
 * @param options.columns by name: "category", or a text as so many words or characters, `{ kind: "words", length: 100 }`. A category may
 * be whole numbers or booleans too
 * @param options.missing texts that stand for a missing value, as ["", "NA"]; with it null is one too
 * @param options.weight a column that says how much a sample counts in training
 */
export function parquet(path: string, options: NamedColumns): TableSource {
  return { kind: "parquet", path, ...options };
}

/** Columns of Arrow IPC files or streams, packed or not; otherwise as `parquet`. Feather files (version 2) are such files. */
export function arrow(path: string, options: NamedColumns): TableSource {
  return { kind: "arrow", path, ...options };
}

/**
 * Features of the `tf.train.Example`s in TFRecord files, plain or gzip: lists of floats or whole numbers, and
 * texts in UTF-8, one a feature; otherwise as `parquet`. What is not in a record is missing like null.
 */
export function tfrecord(path: string, options: NamedColumns): TableSource {
  return { kind: "tfrecord", path, ...options };
}

/**
 * Pictures (PNG and JPEG) in folders, one folder a class: `images("flowers", { size: [32, 32] })`. Features are numbers from 0 to 255 in the
 * shape [height, width, channels]; the label is the place of the folder's name among all of them, sorted, from 0.
 * @param path relative to `--data`, or to the job file without it; "*" in the last part stands for any characters
 * @param options.size height and width: pictures of another size are stretched to it
 * @param options.channels 1, 3 (default) or 4
 */
export function images(
  path: string,
  options: { readonly size: readonly [number, number]; readonly channels?: 1 | 3 | 4 },
): ImagesSource {
  return { kind: "images", path, channels: 3, ...options };
}

/**
 * CIFAR-10 and CIFAR-100 in their binary form: `cifar("cifar-10-batches-bin/data_batch_*.bin", { classes: 10 })`. Features are numbers from
 * 0 to 255 in the shape [32, 32, 3].
 * @param path relative to `--data`, or to the job file without it; "*" in the last part stands for any characters
 * @param options.classes 10; of CIFAR-100 100, or 20 for the coarse labels
 */
export function cifar(path: string, options: { readonly classes: 10 | 20 | 100 }): CifarSource {
  return { kind: "cifar", path, ...options };
}
