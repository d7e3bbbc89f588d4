/** What a set of samples has in it, for people: the range and mean of each column, how many samples each class has. */
import { sizeOf } from "./transforms.ts";

/** Numbers of a sample that belong together: a column of a table, or a whole image. */
export interface DataColumn {
  /** In the file; null where it has no name. */
  readonly name: string | null;
  /** Of the numbers in the file, as "uint8"; "number" in text, "character", and the kinds of columns.ts. */
  readonly type: string;
  readonly shape: readonly number[];
  /** A dictionary: the text of each code. */
  readonly texts?: readonly string[];
  /** How many values are missing, and where the first of them is; left out where none is. */
  readonly missing?: { readonly count: number; readonly first: string };
}

export interface ColumnSummary extends DataColumn {
  readonly minimum: number;
  readonly maximum: number;
  readonly mean: number;
}

export interface ClassCount {
  /** A value of the label. */
  readonly value: number;
  readonly training: number;
  readonly validation: number;
}

/** With more values than these, a label is a measurement and no class. */
export const mostClasses = 256;

/** Adds up samples, piece by piece. */
export class DataSummary {
  readonly #features: readonly ColumnSums[];
  readonly #label: ColumnSums;
  readonly #featuresWidth: number;
  /** Null once the label is no class. */
  #classes: Map<number, { training: number; validation: number }> | null;

  constructor(features: readonly DataColumn[], label: DataColumn) {
    let at = 0;
    this.#features = features.map((column) => {
      const sums = new ColumnSums(column, at);
      at += sizeOf(column.shape);
      return sums;
    });
    this.#featuresWidth = at;
    this.#label = new ColumnSums(label, 0);
    this.#classes = sizeOf(label.shape) === 1 ? new Map() : null;
  }

  /** `count` samples of one part of the split, row after row. */
  add(part: "training" | "validation", features: Float32Array, label: Float32Array, count: number): void {
    const labelWidth = sizeOf(this.#label.column.shape);
    for (let row = 0; row < count; row++) {
      for (const sums of this.#features) sums.add(features, row * this.#featuresWidth);
      this.#label.add(label, row * labelWidth);
      if (this.#classes !== null) this.#count(part, label[row]!);
    }
  }

  get features(): readonly ColumnSummary[] {
    return this.#features.map((sums) => sums.summary);
  }

  get label(): ColumnSummary {
    return this.#label.summary;
  }

  /** By value, ascending; null where the label has too many values, or several in each sample. */
  get classes(): readonly ClassCount[] | null {
    if (this.#classes === null) return null;
    return [...this.#classes].map(([value, counts]) => ({ value, ...counts })).sort((a, b) => a.value - b.value);
  }

  #count(part: "training" | "validation", value: number): void {
    const counts = this.#classes!.get(value) ?? { training: 0, validation: 0 };
    counts[part]++;
    this.#classes!.set(value, counts);
    if (this.#classes!.size > mostClasses) this.#classes = null;
  }
}

class ColumnSums {
  readonly column: DataColumn;
  readonly #offset: number;
  readonly #width: number;
  #minimum = Number.POSITIVE_INFINITY;
  #maximum = Number.NEGATIVE_INFINITY;
  #sum = 0;
  #count = 0;

  constructor(column: DataColumn, offset: number) {
    this.column = column;
    this.#offset = offset;
    this.#width = sizeOf(column.shape);
  }

  /** The sample that begins at `row`. */
  add(values: Float32Array, row: number): void {
    const begin = row + this.#offset;
    for (let i = begin; i < begin + this.#width; i++) {
      const value = values[i]!;
      if (value < this.#minimum) this.#minimum = value;
      if (value > this.#maximum) this.#maximum = value;
      this.#sum += value;
    }
    this.#count += this.#width;
  }

  get summary(): ColumnSummary {
    return { ...this.column, minimum: this.#minimum, maximum: this.#maximum, mean: this.#sum / this.#count };
  }
}
