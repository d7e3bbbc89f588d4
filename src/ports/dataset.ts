import type { Merges } from "../core/byte-pair.ts";
import type { Dictionaries } from "../core/columns.ts";
import type { DataColumn } from "../core/data-summary.ts";

/** Samples with random access by index. The same index gives the same values on every node, for ever. */
export interface Dataset {
  /** How many samples there are. */
  readonly length: number;
  /** "sha256:…" over what the samples were read from and how; equal digests mean equal samples. */
  readonly digest: string;
  /** Shape of one sample's features and of its label, without the batch dimension; a scalar's shape is []. */
  readonly features: ColumnShape;
  readonly label: ColumnShape;
  /** Copies the given samples, in the given order. */
  read(indices: ArrayLike<number>): Samples;
  /** Copies their labels alone, which needs no features. */
  labels(indices: ArrayLike<number>): Float32Array;
}

/** A dataset that was read from files, and what they say about it. */
export interface DescribedDataset extends Dataset {
  /** Absolute paths. */
  readonly files: readonly string[];
  /** What the features consist of, in the order of a sample's numbers; the label; and the samples' weights, where they have some. */
  readonly columns: {
    readonly features: readonly DataColumn[];
    readonly label: DataColumn;
    readonly weight?: DataColumn;
  };
  /** A number for each sample, equal for those with equal texts in the column that was asked for. */
  readonly groups?: Uint32Array;
  /** Where a sample is, as "FILE, line 3", where that is not told by its number: found by reading the files once more. */
  placeOf?(index: number): Promise<string>;
}

/** Where a sample is, for messages. */
export async function placeOfSample(
  { files = [], placeOf }: Partial<Pick<DescribedDataset, "files" | "placeOf">>,
  index: number,
): Promise<string> {
  if (placeOf !== undefined) return placeOf(index);
  return `${files.length === 1 ? `${files[0]}, ` : ""}sample ${index}, counted from 0`;
}

/** What else is to be known to open data. */
export interface OpenOptions {
  /** Whether these are other data than those that a model is trained with: how much their samples count is not read then. */
  readonly isOther?: boolean;
  /** Of the data that a model was trained with: its categories and words have the same codes in other data. */
  readonly dictionaries?: Dictionaries;
  /** Of text in pieces: those of the training data. */
  readonly merges?: Merges;
  /** The part of the text, from its beginning, that pieces are learned from: 1 where it is left out. */
  readonly learnFraction?: number;
  /** A column whose equal values make a group. */
  readonly group?: string;
  /** What takes more is read from disk when a step needs it, where the format allows it. Decides no bits. */
  readonly memoryBytes?: number | undefined;
}

/** What a process is told of its data: decides no bits. */
export interface DataPlace extends Pick<OpenOptions, "memoryBytes"> {
  /** Where relative paths lead. */
  readonly directory: string;
}

export interface ColumnShape {
  readonly shape: readonly number[];
}

/** `count` samples, row after row. */
export interface Samples {
  readonly count: number;
  readonly features: Float32Array;
  readonly label: Float32Array;
  /** How much each counts in training, where the data say it: from 0 on. */
  readonly weight?: Float32Array;
}
