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
import { formatFields, formatSource, formatsExpected } from "./format-validation.ts";
import { type DataSource, separators } from "./job.ts";

const sourceFields = {
  csv: ["kind", "path", "label", "separator"],
  text: ["kind", "paths", "window", "stride"],
  idx: ["kind", "features", "labels", "channels"],
  npy: ["kind", "features", "label"],
  npz: ["kind", "path", "features", "label"],
  "json-lines": ["kind", "path", "features", "label"],
  ...formatFields,
} as const satisfies Readonly<Record<DataSource["kind"], readonly string[]>>;
const sourceKinds = Object.keys(sourceFields) as DataSource["kind"][]; // the table above has exactly the kinds
const sourceExpected = `csv("file.csv", { label: "column" }), text(["file.txt"], { window: 32, stride: 1 }), idx({ … }), npy({ … }), npz({ … }), jsonLines({ … }), ${formatsExpected}`;

export const dataSource: Check<DataSource> = (value, path) => {
  if (!isPlainObject(value)) {
    const hint = typeof value === "string" ? `Write csv(${written(value)}, { label: "column" }).` : undefined;
    throw wrongField(path, value, sourceExpected, hint);
  }
  const kind = oneOf(sourceKinds, { tsv: "csv", jsonl: "json-lines", ndjson: "json-lines" })(
    value.kind,
    joined(path, "kind"),
  );
  const source = fieldsOf(value, path, sourceFields[kind], sourceExpected);
  const text = (name: string, what: string) => filledText(what)(source[name], joined(path, name));
  switch (kind) {
    case "csv": {
      const file = { kind, path: text("path", aFile), label: text("label", "the header of the column to predict") };
      const separator = optional(source.separator, joined(path, "separator"), oneOf(separators));
      // A comma that is written is one that is left out: the same data.
      return separator === undefined || separator === "," ? file : { ...file, separator };
    }
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
    case "json-lines": {
      const label = text("label", "the name of the field to predict");
      const features = nameList(source.features, joined(path, "features"));
      const at = features.indexOf(label);
      if (at >= 0) throw wrongField(`${joined(path, "features")}[${at}]`, label, "other fields than the label");
      return { kind, path: text("path", aFile), features, label };
    }
    default:
      return formatSource(kind, value, path);
  }
};

const aFile = "the path of a file";
const anArray = "the name of an array in the file";

const nameList: Check<readonly string[]> = (value, path) => {
  const example = typeof value === "string" ? `Write [${written(value)}].` : undefined;
  if (!Array.isArray(value) || value.length === 0) {
    throw wrongField(path, value, "a list of one or more names of fields", example);
  }
  return value.map((item, index) => {
    if (value.indexOf(item) < index) throw wrongField(`${path}[${index}]`, item, "each field once");
    return filledText("the name of a field")(item, `${path}[${index}]`);
  });
};

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
    case "dataset":
      return null;
    default:
      return { ...source, path };
  }
}
