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
}

/** A dataset that was read from files, and what they say about it. */
export interface DescribedDataset extends Dataset {
  /** Absolute paths. */
  readonly files: readonly string[];
  /** What the features consist of, in the order of a sample's numbers; and the label. */
  readonly columns: { readonly features: readonly DataColumn[]; readonly label: DataColumn };
}

export interface ColumnShape {
  readonly shape: readonly number[];
}

/** `count` samples, row after row. */
export interface Samples {
  readonly count: number;
  readonly features: Float32Array;
  readonly label: Float32Array;
}
