/** What a set of samples has in it, for people: the range and mean of each column, how many samples each class has. */
import type { Merges } from "./byte-pair.ts";
import { partsOf } from "./columns.ts";
import { ClassCounts } from "./class-check.ts";
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
  /** Of a text in pieces. */
  readonly merges?: Merges;
  /** Of a label of several columns: each of them, one after the other. */
  readonly parts?: readonly DataColumn[];
  /** How many values are missing, and where the first of them is; left out where none is. */
  readonly missing?: { readonly count: number; readonly first: string };
}

/** Several columns as one label, a sample's numbers of each after those of the one before. */
export function joinedLabel<Column extends DataColumn>(parts: readonly Column[]): Column {
  const { texts: _, ...first } = parts[0]!; // a label has one column or more
  const size = parts.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  // As a row of numbers: what they stand for its parts say.
  return {
    ...(first as Column), // which need not have texts
    name: parts.map(({ name }) => name).join(", "),
    type: "number",
    shape: [size],
    parts,
  };
}

/** Statistics are of the values that are there; of texts, of their codes. */
export interface ColumnSummary extends Pick<DataColumn, "name" | "type" | "shape"> {
  readonly minimum: number;
  readonly maximum: number;
  readonly mean: number;
  /** Of a label of several columns: each of them. */
  readonly parts?: readonly ColumnSummary[];
  /** Values; left out where none is missing. Of texts, those behind their ends do not count. */
  readonly missing?: number;
  /** Of categories and words: how many there are, and the most frequent ones. */
  readonly texts?: { readonly distinct: number; readonly most: readonly TextCount[] };
}

interface TextCount {
  readonly text: string;
  readonly count: number;
}

export interface ClassCount {
  /** A value of the label, and its text where it is a category. */
  readonly value: number;
  readonly text?: string;
  readonly training: number;
  readonly validation: number;
}

/** Texts of a column that are counted for people. */
const mostTexts = 32;

interface SummedRows {
  readonly count: number;
  readonly features: Float32Array;
  readonly label: Float32Array;
  readonly weight?: Float32Array;
}

/** Adds up samples, piece by piece. */
export class DataSummary {
  readonly #features: readonly ColumnSums[];
  readonly #label: ColumnSums;
  /** Of a label of several columns. */
  readonly #labelParts: readonly ColumnSums[];
  readonly #weight: ColumnSums | null;
  readonly #featuresWidth: number;
  /** Null where a label is several numbers. */
  readonly #classes: ClassCounts | null;

  constructor(features: readonly DataColumn[], label: DataColumn, weight: DataColumn | null) {
    this.#features = sumsOf(features);
    this.#featuresWidth = features.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    this.#label = new ColumnSums(label, 0);
    this.#labelParts = sumsOf(label.parts ?? []);
    this.#weight = weight && new ColumnSums(weight, 0);
    this.#classes = sizeOf(label.shape) === 1 ? new ClassCounts() : null;
  }

  /** `count` samples of one part of the split, row after row. */
  add(part: "training" | "validation", { features, label, weight, count }: SummedRows): void {
    const labelWidth = sizeOf(this.#label.column.shape);
    const labels = [this.#label, ...this.#labelParts];
    for (let row = 0; row < count; row++) {
      for (const sums of this.#features) sums.add(features, row * this.#featuresWidth);
      for (const sums of labels) sums.add(label, row * labelWidth);
      if (weight) this.#weight?.add(weight, row);
    }
    this.#classes?.add(part, label.subarray(0, count));
  }

  get features(): readonly ColumnSummary[] {
    return this.#features.map((sums) => sums.summary);
  }

  get label(): ColumnSummary {
    const parts = this.#labelParts.map((sums) => sums.summary);
    return { ...this.#label.summary, ...(parts.length > 0 && { parts }) };
  }

  get weight(): ColumnSummary | null {
    return this.#weight?.summary ?? null;
  }

  /** By value, ascending; null where the label has too many values, or several in each sample. */
  get classes(): readonly ClassCount[] | null {
    const [{ texts }] = partsOf(this.#label.column) as [DataColumn]; // a label is one number here
    const textOf = (value: number) => (texts === undefined ? {} : { text: texts[value] ?? "?" });
    return this.#classes?.all?.map(([value, counts]) => ({ value, ...textOf(value), ...counts })) ?? null;
  }
}

/** Of columns that lie one after the other. */
function sumsOf(columns: readonly DataColumn[]): readonly ColumnSums[] {
  let end = 0;
  return columns.map((column) => {
    end += sizeOf(column.shape);
    return new ColumnSums(column, end - sizeOf(column.shape));
  });
}

class ColumnSums {
  readonly column: DataColumn;
  readonly #offset: number;
  readonly #width: number;
  #minimum = Number.POSITIVE_INFINITY;
  #maximum = Number.NEGATIVE_INFINITY;
  #sum = 0;
  #count = 0;
  /** Of each code. */
  readonly #texts: Float64Array;

  constructor(column: DataColumn, offset: number) {
    this.column = column;
    this.#offset = offset;
    this.#width = sizeOf(column.shape);
    this.#texts = new Float64Array(column.texts?.length ?? 0);
  }

  /** The sample that begins at `row`. */
  add(values: Float32Array, row: number): void {
    const begin = row + this.#offset;
    for (let i = begin; i < begin + this.#width; i++) {
      const value = values[i]!;
      if (Number.isNaN(value)) continue;
      this.#count++;
      if (value < this.#texts.length && value >= 0) this.#texts[value]!++;
      if (value < this.#minimum) this.#minimum = value;
      if (value > this.#maximum) this.#maximum = value;
      this.#sum += value;
    }
  }

  get summary(): ColumnSummary {
    const { name, type, shape, missing, texts } = this.column;
    return {
      ...{ name, type, shape, minimum: this.#minimum, maximum: this.#maximum, mean: this.#sum / this.#count },
      ...(missing === undefined ? {} : { missing: missing.count }),
      ...(texts === undefined ? {} : { texts: { distinct: texts.length, most: this.#most(texts) } }),
    };
  }

  /** Of equally frequent ones, in the order of their codes. */
  #most(texts: readonly string[]): readonly TextCount[] {
    const counted = texts.map((text, code) => ({ text, code, count: this.#texts[code]! }));
    counted.sort((a, b) => b.count - a.count || a.code - b.code);
    return counted.slice(0, mostTexts).map(({ text, count }) => ({ text, count }));
  }
}
