/** What a job file says of a table's columns: which of them hold categories or texts, and how missing values are written. */
import type { ColumnKind, TableColumns } from "./columns.ts";
import {
  type Check,
  fieldsOf,
  filledText,
  isPlainObject,
  joined,
  listed,
  nameList,
  oneOf,
  optional,
  wholeNumber,
  written,
  wrongField,
} from "./field-checks.ts";

/** The name of a label's column, or a list of several. @param what a "column" or a "field" */
export function labelOf(what: string, one: string): Check<string | readonly string[]> {
  return (value, path) => (Array.isArray(value) ? nameList(what)(value, path) : filledText(one)(value, path));
}

/** Throws where a label is a feature too. */
export function refuseLabelAmong(
  features: readonly string[],
  labels: readonly string[],
  path: string,
  what: string,
): void {
  const at = features.findIndex((name) => labels.includes(name));
  if (at >= 0) throw wrongField(`${joined(path, "features")}[${at}]`, features[at], `other ${what}s than the label`);
}

/** `features`: the names that there are; null where the file says. `ignored`: names that are no features. */
export function tableColumns(
  source: Readonly<Record<string, unknown>>,
  path: string,
  labels: readonly string[],
  features: readonly string[] | null,
  ignored: readonly string[],
): TableColumns {
  const columns = optional(source.columns, joined(path, "columns"), columnKinds) ?? {};
  const missing = optional(source.missing, joined(path, "missing"), missingTexts);
  const at = (name: string) => joined(joined(path, "columns"), name);
  for (const [name, kind] of Object.entries(columns)) {
    if (labels.includes(name) && typeof kind === "object") {
      throw wrongField(at(name), kind.kind, '"category" or "number", since a label is one value');
    }
    if (features !== null && !labels.includes(name) && !features.includes(name)) {
      throw wrongField(at(name), columns[name], `only the label and features: ${listed([...labels, ...features])}`);
    }
  }
  const twice = ignored.findIndex((name) => labels.includes(name) || Object.hasOwn(columns, name));
  if (twice >= 0) {
    throw wrongField(`${joined(path, "ignore")}[${twice}]`, ignored[twice], "a column that is not used");
  }
  const typed = Object.entries(columns).filter(([, kind]) => kind !== "number");
  return {
    ...(typed.length === 0 ? {} : { columns: Object.fromEntries(typed) }),
    ...(missing === undefined ? {} : { missing }),
  };
}

const columnKinds: Check<Readonly<Record<string, ColumnKind>>> = (value, path) => {
  if (!isPlainObject(value)) throw wrongField(path, value, 'kinds by the names of columns, as in { city: "category" }');
  return Object.fromEntries(Object.entries(value).map(([name, kind]) => [name, columnKind(kind, joined(path, name))]));
};

/** A text of more numbers than this is a book; and a row of them would be larger than memory for it. */
const longestText = 65_536;
const kindExpected = '"category", "number", { kind: "words", length: 100 } or { kind: "characters", length: 100 }';

const columnKind: Check<ColumnKind> = (value, path) => {
  if (!isPlainObject(value)) {
    if (value === "category" || value === "number") return value;
    const text = value === "words" || value === "characters" ? value : null;
    const hint = text === null ? undefined : `Write { kind: "${text}", length: 100 }: so many of them make a sample.`;
    throw wrongField(path, value, kindExpected, hint);
  }
  const fields = fieldsOf(value, path, ["kind", "length"], kindExpected);
  const kind = oneOf(["words", "characters"])(fields.kind, joined(path, "kind"));
  return { kind, length: wholeNumber(1, longestText)(fields.length, joined(path, "length")) };
};

const missingTexts: Check<readonly string[]> = (value, path) => {
  const hint = typeof value === "string" ? `Write [${written(value)}].` : undefined;
  if (!Array.isArray(value)) throw wrongField(path, value, 'a list of texts, as in ["", "NA"]', hint);
  return value.map((item: unknown, index) => {
    if (typeof item === "string") return item;
    throw wrongField(`${path}[${index}]`, item, 'a text, as "" for an empty cell');
  });
};
