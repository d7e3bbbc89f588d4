/** What the outputs of a model stand for: the label's pre-processing backwards. */
import { PieceEncoder } from "./byte-pair.ts";
import type { RawColumn, RawColumns } from "./columns.ts";
import type { DecodeLabel, Job } from "./job.ts";
import { type FittedTransforms, invertIndex, outputShape, type Preprocessing, sizeOf } from "./transforms.ts";

export interface OutputMeaning {
  /** Of each output: the value of the label that it is the score of. Null where outputs are no classes. */
  readonly classes: readonly LabelValue[] | null;
  /** What a row's outputs say that the label is, in the label's own values; null where they say nothing. */
  predict(outputs: ArrayLike<number>): LabelValue | null;
}

/** Of outputs that say nothing of a label by itself. */
export const noMeaning: OutputMeaning = { classes: null, predict: () => null };

/** A column of a label that has several, in the label after pre-processing. */
export interface LabelColumn {
  readonly offset: number;
  readonly size: number;
  /** What was done to it alone. */
  readonly fitted: FittedTransforms;
  /** A category's. */
  readonly texts?: readonly string[];
}

/** None where pre-processing is of all of a label at once, so that no column of it is there by itself any more. */
export function labelColumns({ label, columns }: Preprocessing): readonly LabelColumn[] {
  const alone = partsAlone(label, columns?.label.parts);
  let end = 0;
  return alone.map((fitted, i) => {
    const size = sizeOf(outputShape(fitted));
    end += size;
    const texts = columns?.label.parts?.[i]?.texts;
    return { offset: end - size, size, fitted, ...(texts && { texts }) };
  });
}

function partsAlone(label: FittedTransforms, columns: readonly RawColumn[] | undefined): readonly FittedTransforms[] {
  const [step, ...others] = label.steps;
  if (step?.kind === "columns" && others.length === 0) return step.parts.map(({ fitted }) => fitted);
  if (step !== undefined) return [];
  const shapes = columns?.map(({ shape }) => shape) ?? Array.from({ length: sizeOf(label.shape) }, () => []);
  return shapes.map((shape) => ({ field: label.field, shape, steps: [] }));
}

/** "other" stands for every value that the label's vocabulary does not know. */
export type LabelValue = number | "other";

/** `outputs`: how many numbers the model makes of one row; `fromLogits`: whether they are no probabilities. */
export function meaningOf(
  label: FittedTransforms,
  loss: Job["loss"],
  outputs: number,
  fromLogits = false,
): OutputMeaning {
  const oneHot = label.steps.find((step) => step.kind === "one-hot");
  const isClasses = loss === "sparseCategoricalCrossentropy" || oneHot?.classes === outputs;
  if (isClasses && outputs > 1) {
    const classes = Array.from({ length: outputs }, (_, index) => inverted(label, index) ?? "other");
    return { classes, predict: (row) => classes[largest(row)] ?? null };
  }
  if (outputs !== 1) return { classes: null, predict: () => null };
  if (loss === "binaryCrossentropy") {
    return { classes: null, predict: (row) => inverted(label, sideOf(row[0]!, fromLogits ? 0 : 0.5)) };
  }
  // Which side of 0 is told by labels of 0 and 1 as well as of −1 and 1.
  if (loss === "hinge") return { classes: null, predict: () => null };
  return { classes: null, predict: (row) => inverted(label, row[0]!) };
}

/** The value of the label that an output index stands for: of a category its text. Throws as `invertIndex`. */
export function labelDecoder({ label, columns }: Preprocessing): DecodeLabel {
  const decode = (index: number): number | string => {
    const raw = invertIndex(label, index);
    return columns?.label.texts?.[raw] ?? raw;
  };
  return decode as DecodeLabel; // whoever calls it knows what the label is
}

/** A text as raw feature values: its characters, as UTF-16 code units, or its pieces. */
export function textEncoder(columns: RawColumns | undefined): (text: string) => number[] {
  const merges = columns?.features[0]?.merges;
  if (merges === undefined) return (text) => Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
  const encoder = new PieceEncoder(merges);
  return (text) => [...encoder.encode(new TextEncoder().encode(text))];
}

/** Null for what stands for no value, as the 0 of a vocabulary does, and for NaN. */
function inverted(label: FittedTransforms, value: number): number | null {
  if (Number.isNaN(value)) return null;
  try {
    return Math.fround(invertIndex(label, value));
  } catch {
    return null;
  }
}

function sideOf(score: number, threshold: number): number {
  if (Number.isNaN(score)) return Number.NaN;
  return score > threshold ? 1 : 0;
}

/** The first of the largest; −1 where one is NaN, since then nothing is the largest. */
function largest(row: ArrayLike<number>): number {
  let found = 0;
  for (let i = 0; i < row.length; i++) {
    if (Number.isNaN(row[i])) return -1;
    if (row[i]! > row[found]!) found = i;
  }
  return found;
}

/** A decimal of six to nine digits that is read back as the same float32. */
export function float32Text(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (Object.is(value, -0)) return "-0";
  for (let digits = 6; digits < 9; digits++) {
    const text = String(Number(value.toPrecision(digits)));
    if (Math.fround(Number(text)) === value) return text;
  }
  return String(Number(value.toPrecision(9)));
}
