/** Where a job's data comes from: checked field by field, and changed where a command names another file. */
import {
  type Check,
  fieldsOf,
  filledText,
  flag,
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
import { formatFields, formatSource, formatsExpected, weightColumn } from "./format-validation.ts";
import { labelNames, type TableColumns } from "./columns.ts";
import { labelOf, refuseLabelAmong, tableColumns } from "./column-validation.ts";
import { encodeJson } from "./json.ts";
import type { TableSource } from "./format-sources.ts";
import { type BytePairTokens, type CsvSource, type DataSource, type JsonLinesSource, separators } from "./job.ts";

const sourceFields = {
  csv: ["kind", "path", "label", "separator", "columns", "missing", "ignore", "weight"],
  text: ["kind", "paths", "window", "stride", "tokens"],
  idx: ["kind", "features", "labels", "channels"],
  npy: ["kind", "features", "label"],
  npz: ["kind", "path", "features", "label"],
  "json-lines": ["kind", "path", "features", "label", "columns", "missing", "weight"],
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
      const label = labelOf("column", "the header of the column to predict")(source.label, joined(path, "label"));
      const labels = labelNames(label);
      const separator = optional(source.separator, joined(path, "separator"), oneOf(separators));
      const ignore = optional(source.ignore, joined(path, "ignore"), nameList("field"));
      const table = tableColumns(source, path, labels, null, ignore ?? []);
      return {
        ...{ kind, path: text("path", aFile), label },
        // A comma that is written is one that is left out: the same data.
        ...(separator === undefined || separator === "," ? {} : { separator }),
        ...table,
        ...(ignore === undefined ? {} : { ignore }),
        ...weightColumn(source, path, [...labels, ...(ignore ?? []), ...Object.keys(table.columns ?? {})]),
      };
    }
    case "text": {
      const tokens = optional(source.tokens, joined(path, "tokens"), bytePairTokens);
      return {
        kind,
        paths: pathList(source.paths, joined(path, "paths")),
        window: wholeNumber(1)(source.window, joined(path, "window")),
        stride: wholeNumber(1)(source.stride, joined(path, "stride")),
        ...(tokens === undefined ? {} : { tokens }),
      };
    }
    case "idx": {
      const channels = optional(source.channels, joined(path, "channels"), flag) ?? false;
      return { kind, features: text("features", aFile), labels: text("labels", aFile), channels };
    }
    case "npy":
      return { kind, features: text("features", aFile), label: text("label", aFile) };
    case "npz":
      return { kind, path: text("path", aFile), features: text("features", anArray), label: text("label", anArray) };
    case "json-lines": {
      const label = labelOf("field", "the name of the field to predict")(source.label, joined(path, "label"));
      const labels = labelNames(label);
      const features = nameList("field")(source.features, joined(path, "features"));
      refuseLabelAmong(features, labels, path, "field");
      const table = tableColumns(source, path, labels, features, []);
      const weight = weightColumn(source, path, [...labels, ...features]);
      return { kind, path: text("path", aFile), features, label, ...table, ...weight };
    }
    default:
      return formatSource(kind, value, path);
  }
};

/** Whether a source is a table: its columns have names, and may hold categories and texts. */
export function isTable(source: DataSource): source is CsvSource | JsonLinesSource | TableSource {
  return source.kind === "csv" || source.kind === "json-lines" || isBinaryTable(source);
}

export function isBinaryTable(source: DataSource): source is TableSource {
  return source.kind === "parquet" || source.kind === "arrow" || source.kind === "tfrecord";
}

/** A source in which something may be missing, if only because something fills it in: empty cells, unless it says otherwise. */
export function withMissing(source: DataSource): DataSource {
  if (!isTable(source)) return source;
  return source.missing === undefined ? { ...source, missing: [""] } : source;
}

const bytePairTokens: Check<BytePairTokens> = (value, path) => {
  const fields = fieldsOf(value, path, ["kind", "size"], "bytePair({ size: 512 })");
  const kind = oneOf(["byte-pair"] as const)(fields.kind, joined(path, "kind"));
  return { kind, size: wholeNumber(257, 65_536)(fields.size, joined(path, "size")) };
};

const aFile = "the path of a file";
const anArray = "the name of an array in the file";

const pathList: Check<readonly string[]> = (value, path) => {
  if (!Array.isArray(value) || value.length === 0) throw wrongField(path, value, "a list of one or more paths");
  return value.map((item, index) => filledText(aFile)(item, `${path}[${index}]`));
};

/** Other samples go through the model of the training samples, so they must come in the same form. */
export function testSource(value: unknown, path: string, data: DataSource): DataSource {
  const test = dataSource(value, path);
  if (test.kind !== data.kind) throw wrongField(`${path}.kind`, test.kind, `${listed([data.kind])}, as in data`);
  if (test.kind === "text" && data.kind === "text" && test.window !== data.window) {
    throw wrongField(`${path}.window`, test.window, `${data.window}, as in data`);
  }
  if (test.kind === "text" && data.kind === "text") {
    if (test.tokens !== undefined && encodeJson(test.tokens) !== encodeJson(data.tokens ?? null)) {
      throw wrongField(`${path}.tokens`, test.tokens, "the same as in data, or nothing");
    }
    return { ...test, ...(data.tokens === undefined ? {} : { tokens: data.tokens }) };
  }
  if (test.kind === "csv" && data.kind === "csv") {
    const ignore = test.ignore ?? data.ignore;
    const weight = test.weight ?? data.weight;
    return {
      ...asTraining(test, data, path),
      ...(ignore === undefined ? {} : { ignore }),
      ...(weight === undefined ? {} : { weight }),
    };
  }
  return isTable(test) && isTable(data) ? asTraining(test, data, path) : test;
}

/** What is said of the training data's columns need not be said again. */
function asTraining<Source extends TableColumns>(test: Source, data: TableColumns, path: string): Source {
  if (test.columns !== undefined && encodeJson(test.columns) !== encodeJson(data.columns ?? {})) {
    throw wrongField(joined(path, "columns"), test.columns, "the same as in data, or nothing");
  }
  const missing = test.missing ?? data.missing;
  return {
    ...test,
    ...(data.columns === undefined ? {} : { columns: data.columns }),
    ...(missing === undefined ? {} : { missing }),
  };
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
