/** The columns of Arrow data, as its metadata describes them. */
import { unreachable } from "../../core/errors.ts";
import type { FlatTable } from "./flat-buffer.ts";
import { type Held, listsOf } from "./table-columns.ts";

/** By the number that metadata has for a type: its name in messages, and how many buffers a column of it has. */
const types: readonly (readonly [name: string, buffers: number])[] = [
  ["nothing", 0],
  ["nothing but missing values", 0],
  ["integers", 2],
  ["floats", 2],
  ["bytes", 3],
  ["texts", 3],
  ["booleans", 2],
  ["decimals", 2],
  ["dates", 2],
  ["times", 2],
  ["times", 2],
  ["intervals", 2],
  ["lists", 2],
  ["records", 1],
  ["unions", 1],
  ["bytes", 2],
  ["lists", 1],
  ["maps", 2],
  ["durations", 2],
  ["bytes", 3],
  ["texts", 3],
  ["lists", 2],
  ["runs", 0],
  ["bytes", 2],
  ["texts", 2],
  ["lists", 3],
  ["lists", 3],
];
const [int, float, text, bool, list, union] = [2, 3, 5, 6, 12, 14];
const [fixedList, largeText, largeList, bytesView, textView] = [16, 20, 21, 23, 24];

export type ArrowType =
  | { readonly kind: "bool" }
  | { readonly kind: "int"; readonly bits: 8 | 16 | 32 | 64; readonly isSigned: boolean }
  | { readonly kind: "float"; readonly bits: 16 | 32 | 64 }
  | { readonly kind: "text"; readonly isLarge: boolean }
  | { readonly kind: "text-view" }
  | { readonly kind: "list"; readonly isLarge: boolean }
  | { readonly kind: "fixed-list"; readonly size: number }
  | { readonly kind: "other"; readonly what: string };

export interface ArrowField {
  readonly name: string;
  readonly type: ArrowType;
  readonly children: readonly ArrowField[];
  /** How many buffers it has in a batch, without its children's; those of views have more, which the batch counts. */
  readonly buffers: number;
  readonly hasMoreBuffers: boolean;
  /** Where its values are numbers of a dictionary's entries: the dictionary, and the type of those numbers. */
  readonly dictionary: { readonly id: number; readonly index: ArrowType } | null;
}

/** `depth` guards against metadata that contains itself. */
export function fieldOf(table: FlatTable, depth = 0): ArrowField {
  if (depth > 32) throw new RangeError("its columns are nested more than 32 times");
  const code = table.uint8(2);
  const known = types[code];
  if (known === undefined) throw new RangeError(`a column is of type ${code}, which Arrow does not have`);
  const type = table.table(3);
  const encoding = table.table(4);
  const [what, plainBuffers] = known;
  // A union has no marks of missing values; a dense one has places of its elements.
  const buffers = code === union && type !== null && type.int16(0) === 1 ? 2 : plainBuffers;
  return {
    name: table.text(0),
    type: typeOf(code, type, what),
    children: encoding === null ? table.tables(5).map((child) => fieldOf(child, depth + 1)) : [],
    buffers: encoding === null ? buffers : 2,
    hasMoreBuffers: encoding === null && (code === bytesView || code === textView),
    dictionary: encoding === null ? null : { id: encoding.size(0), index: indexType(encoding.table(1)) },
    // The entries of a dictionary of lists have children; such a dictionary is of no use to anybody here.
    ...(encoding !== null && table.tables(5).length > 0
      ? { type: { kind: "other", what: "dictionaries of lists" } }
      : {}),
  };
}

function indexType(table: FlatTable | null): ArrowType {
  return table === null ? { kind: "int", bits: 32, isSigned: true } : typeOf(int!, table, "integers");
}

function typeOf(code: number, table: FlatTable | null, what: string): ArrowType {
  if (code === bool) return { kind: "bool" };
  if (code === text || code === largeText) return { kind: "text", isLarge: code === largeText };
  if (code === textView) return { kind: "text-view" };
  if (table === null) return { kind: "other", what };
  if (code === int) {
    const bits = table.int32(0);
    if (bits !== 8 && bits !== 16 && bits !== 32 && bits !== 64) throw new RangeError(`an integer has ${bits} bits`);
    return { kind: "int", bits, isSigned: table.uint8(1) !== 0 };
  }
  if (code === float) {
    const bits = ([16, 32, 64] as const)[table.int16(0)];
    if (bits === undefined) throw new RangeError(`a float has precision ${table.int16(0)}`);
    return { kind: "float", bits };
  }
  if (code === list || code === largeList) return { kind: "list", isLarge: code === largeList };
  if (code === fixedList) {
    const size = table.int32(0);
    if (size < 1) throw new RangeError(`a list has ${size} elements`);
    return { kind: "fixed-list", size };
  }
  return { kind: "other", what };
}

/** What a column holds, numbers also inside lists. */
export function heldBy({ name, type, children }: ArrowField): Held {
  switch (type.kind) {
    case "bool":
      return { of: "numbers", type: "bool", isList: false };
    case "int":
      return { of: "numbers", type: `${type.isSigned ? "int" : "uint"}${type.bits}`, isList: false };
    case "float":
      return { of: "numbers", type: `float${type.bits}`, isList: false };
    case "text":
    case "text-view":
      return { of: "texts" };
    case "list":
    case "fixed-list": {
      const [child] = children;
      if (child === undefined) throw new RangeError(`column "${name}" has lists of nothing`);
      return listsOf(heldBy(child));
    }
    case "other":
      return { of: "others", what: type.what };
    default:
      return unreachable(type);
  }
}
