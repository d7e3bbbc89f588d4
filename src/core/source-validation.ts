/** Where a job's data comes from: checked field by field, and changed where a command names another file. */
import {
  type Check,
  fieldsOf,
  filledText,
  flag,
  isPlainObject,
  joined,
  listed,
  oneOf,
  optional,
  wholeNumber,
  written,
  wrongField,
} from "./field-checks.ts";
import { unreachable } from "./errors.ts";
import type { DataSource } from "./job.ts";

const sourceFields = {
  csv: ["kind", "path", "label"],
  text: ["kind", "paths", "window", "stride"],
  idx: ["kind", "features", "labels", "channels"],
  npy: ["kind", "features", "label"],
  npz: ["kind", "path", "features", "label"],
} as const satisfies Readonly<Record<DataSource["kind"], readonly string[]>>;
const sourceKinds = Object.keys(sourceFields) as DataSource["kind"][]; // the table above has exactly the kinds
const sourceExpected =
  'csv("file.csv", { label: "column" }), text(["file.txt"], { window: 32, stride: 1 }), idx({ … }), npy({ … }) or npz({ … })';

export const dataSource: Check<DataSource> = (value, path) => {
  if (!isPlainObject(value)) {
    const hint = typeof value === "string" ? `Write csv(${written(value)}, { label: "column" }).` : undefined;
    throw wrongField(path, value, sourceExpected, hint);
  }
  const kind = oneOf(sourceKinds)(value.kind, joined(path, "kind"));
  const source = fieldsOf(value, path, sourceFields[kind], sourceExpected);
  const text = (name: string, what: string) => filledText(what)(source[name], joined(path, name));
  switch (kind) {
    case "csv":
      return { kind, path: text("path", aFile), label: text("label", "the header of the column to predict") };
    case "text":
      return {
        kind,
        paths: pathList(source.paths, joined(path, "paths")),
        window: wholeNumber(1)(source.window, joined(path, "window")),
        stride: wholeNumber(1)(source.stride, joined(path, "stride")),
      };
    case "idx": {
      const channels = optional(source.channels, joined(path, "channels"), flag) ?? false;
      return { kind, features: text("features", aFile), labels: text("labels", aFile), channels };
    }
    case "npy":
      return { kind, features: text("features", aFile), label: text("label", aFile) };
    case "npz":
      return { kind, path: text("path", aFile), features: text("features", anArray), label: text("label", anArray) };
    default:
      return unreachable(kind);
  }
};

const aFile = "the path of a file";
const anArray = "the name of an array in the file";

const pathList: Check<readonly string[]> = (value, path) => {
  if (!Array.isArray(value) || value.length === 0) throw wrongField(path, value, "a list of one or more paths");
  return value.map((item, index) => filledText(aFile)(item, `${path}[${index}]`));
};

/** Test samples go through the model of the training samples, so they must come in the same form. */
export function testSource(value: unknown, data: DataSource): DataSource | null {
  if (value === undefined) return null;
  const test = dataSource(value, "test");
  if (test.kind !== data.kind) throw wrongField("test.kind", test.kind, `${listed([data.kind])}, as in data`);
  if (test.kind === "text" && data.kind === "text" && test.window !== data.window) {
    throw wrongField("test.window", test.window, `${data.window}, as in data`);
  }
  return test;
}

/** The same kind of data from one other file; null where it takes more than one. */
export function sourceFrom(source: DataSource, path: string): DataSource | null {
  switch (source.kind) {
    case "text":
      return { ...source, paths: [path] };
    case "idx":
    case "npy":
      return null;
    default:
      return { ...source, path };
  }
}
