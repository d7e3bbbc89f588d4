/**
 * What the columns of a table hold beside numbers, and how that becomes numbers. A raw row is float32 all the same: a category
 * is its code in the column's dictionary, which is all its texts in the order of their code units; a text is codes of its words
 * or characters. What is not in the dictionary has the code −1; NaN is what is missing, and the room behind a text's end.
 */
import type { Merges } from "./byte-pair.ts";

export type ColumnKind = "number" | "category" | TextKind;

/** A text as so many codes, of its words or of its UTF-16 code units: what is longer is cut, what is shorter is filled up. */
export interface TextKind {
  readonly kind: "words" | "characters";
  readonly length: number;
}

/** What is to be known of a table beside its file: by the names of columns. */
export interface TableColumns {
  /** Of columns that do not hold numbers. */
  readonly columns?: Readonly<Record<string, ColumnKind>>;
  /** How missing values are written, as ["", "NA"]. Left out: a missing value is refused. */
  readonly missing?: readonly string[];
}

/** Columns whose values are not all plain numbers, as a checkpoint remembers them to read other files in the same way. */
export interface RawColumns {
  /** In the order of a raw row. */
  readonly features: readonly RawColumn[];
  readonly label: RawColumn;
}

export interface RawColumn {
  /** Null where the file has no names. */
  readonly name: string | null;
  /** "number", "category", "words", "characters", or what kind of number is in the file. */
  readonly type: string;
  /** Of one sample. */
  readonly shape: readonly number[];
  /** The dictionary: the text of each code. */
  readonly texts?: readonly string[];
  /** Of a text in pieces: how its characters became them. */
  readonly merges?: Merges;
  /** Of a label of several columns: each of them, one after the other. */
  readonly parts?: readonly RawColumn[];
}

/** The names of a label's columns, as a job file has them: of one, or of several. */
export function labelNames(label: string | readonly string[]): readonly string[] {
  return typeof label === "string" ? [label] : label;
}

/** What a label's numbers are of: itself, or its columns. */
export function partsOf<Column extends { readonly parts?: readonly Column[] }>(label: Column): readonly Column[] {
  return label.parts ?? [label];
}

/** What other data is read with, so that it has the same codes. */
export interface Known {
  /** These are other data than those that a model is trained with: how much their samples count is not asked. */
  readonly isOther: true;
  readonly dictionaries: Dictionaries;
  readonly merges?: Merges;
}

/** Dictionaries by the names of their columns. */
export type Dictionaries = Readonly<Record<string, readonly string[]>>;

/** More distinct texts than this are no categories: names, times or measurements, most likely. */
export const mostCategories = 65_536;
/** More distinct words than this are in no text that can be learned from. */
export const mostWords = 1_048_576;

export function kindOf({ columns = {} }: TableColumns, name: string): ColumnKind {
  return Object.hasOwn(columns, name) ? columns[name]! : "number";
}

/** What a checkpoint knows of its training data; nothing where all its columns are numbers. */
export function knownOf(columns: RawColumns | undefined): Known {
  if (columns === undefined) return { isOther: true, dictionaries: {} };
  const known = [...columns.features, ...partsOf(columns.label)].flatMap(({ name, texts }) =>
    name === null || texts === undefined ? [] : [[name, texts] as const],
  );
  const merges = columns.features[0]?.merges;
  return { isOther: true, dictionaries: Object.fromEntries(known), ...(merges === undefined ? {} : { merges }) };
}

/** What has to be remembered of columns; undefined where they are nothing but numbers. */
export function rawColumns(features: readonly RawColumn[], label: RawColumn): RawColumns | undefined {
  if (![...features, ...partsOf(label)].some(isText)) return undefined;
  return { features: features.map(remembered), label: remembered(label) };
}

/** Whether a column's raw values are codes of a table that is not in the file. */
export function isText({ type, name, merges }: RawColumn): boolean {
  if (merges !== undefined) return true;
  return name !== null && (type === "category" || type === "words" || type === "characters");
}

function remembered({ name, type, shape, texts, merges, parts }: RawColumn): RawColumn {
  // The texts of pieces follow from the merges.
  if (merges !== undefined) return { name, type, shape, merges };
  return { name, type, shape, ...(texts && { texts }), ...(parts && { parts: parts.map(remembered) }) };
}

/** Words are runs of letters and digits, with apostrophes between them, in lower case. */
export function wordsOf(text: string): readonly string[] {
  return text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}\p{N}]+)*/gu) ?? [];
}
