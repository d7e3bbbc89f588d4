/** Checks what a job file writes of the sources in format-sources.ts, field by field. */
import {
  type Check,
  fieldsOf,
  filledText,
  flag,
  joined,
  nameList,
  optional,
  shapeOf,
  wholeNumber,
  wrongField,
} from "./field-checks.ts";
import { labelNames } from "./columns.ts";
import { labelOf, refuseLabelAmong, tableColumns } from "./column-validation.ts";
import { unreachable } from "./errors.ts";
import type { FormatSource, OwnSource } from "./format-sources.ts";

export const formatFields = {
  dataset: ["kind", "name", "length", "get", "features", "label", "version", "weighted"],
  parquet: ["kind", "path", "features", "label", "columns", "missing", "weight"],
  arrow: ["kind", "path", "features", "label", "columns", "missing", "weight"],
  tfrecord: ["kind", "path", "features", "label", "columns", "missing", "weight"],
  images: ["kind", "path", "size", "channels"],
  cifar: ["kind", "path", "classes"],
} as const satisfies Readonly<Record<FormatSource["kind"], readonly string[]>>;

export const formatsExpected = "dataset({ … }), parquet(…), arrow(…), tfrecord(…), images(…) or cifar(…)";

/** More samples than these could not be counted in 32 bits, as orders of samples are. */
const mostSamples = 2 ** 32 - 1;

/** `value` is an object of this kind. */
export function formatSource(kind: FormatSource["kind"], value: unknown, path: string): FormatSource {
  const source = fieldsOf(value, path, formatFields[kind], formatsExpected);
  const at = (name: string) => joined(path, name);
  switch (kind) {
    case "dataset": {
      const features = optional(source.features, at("features"), shape);
      const label = optional(source.label, at("label"), shape);
      const version = optional(source.version, at("version"), filledText("a text that changes with the samples"));
      return {
        kind,
        name: filledText("what messages call the samples")(source.name, at("name")),
        length: wholeNumber(1, mostSamples)(source.length, at("length")),
        get: sampleFunction(source.get, at("get")),
        ...(features === undefined ? {} : { features }),
        ...(label === undefined ? {} : { label }),
        ...(version === undefined ? {} : { version }),
        ...(optional(source.weighted, at("weighted"), flag) === true && { weighted: true }),
      };
    }
    case "parquet":
    case "arrow":
    case "tfrecord": {
      const label = labelOf("column", "the name of the column to predict")(source.label, at("label"));
      const features = nameList("column")(source.features, at("features"));
      const labels = labelNames(label);
      refuseLabelAmong(features, labels, path, "column");
      const table = tableColumns(source, path, labels, features, []);
      const weight = weightColumn(source, path, [...labels, ...features]);
      const file = filledText("the path of a file")(source.path, at("path"));
      return { kind, path: file, features, label, ...table, ...weight };
    }
    case "images": {
      const { size } = source;
      if (!Array.isArray(size) || size.length !== 2) throw wrongField(at("size"), size, "[height, width], as [32, 32]");
      const [height, width] = size.map((edge, i) => wholeNumber(1, mostEdge)(edge, `${at("size")}[${i}]`));
      const channels = optional(source.channels, at("channels"), oneNumber([1, 3, 4])) ?? 3;
      return {
        kind,
        path: filledText("the path of a folder")(source.path, at("path")),
        size: [height!, width!],
        channels,
      };
    }
    case "cifar": {
      const classes = oneNumber([10, 20, 100])(source.classes, at("classes"));
      return { kind, path: filledText("the path of a file")(source.path, at("path")), classes };
    }
    default:
      return unreachable(kind);
  }
}

/** The column of the samples' weights, where the source names one; it is none of those that are used otherwise. */
export function weightColumn(
  source: Readonly<Record<string, unknown>>,
  path: string,
  used: readonly string[],
): { readonly weight?: string } {
  const at = joined(path, "weight");
  const weight = optional(source.weight, at, filledText("the name of the column with the samples' weights"));
  if (weight === undefined) return {};
  if (used.includes(weight)) {
    const expected = "a column that is neither the label nor a feature, and neither in ignore nor in columns";
    throw wrongField(at, weight, expected, "It is no feature anyway: name it here alone.");
  }
  return { weight };
}

/** Height and width of a picture. */
const mostEdge = 16_384;

function oneNumber<const N extends number>(numbers: readonly N[]): Check<N> {
  return (value, path) => {
    const found = numbers.find((number) => number === value);
    if (found !== undefined) return found;
    throw wrongField(path, value, `${numbers.slice(0, -1).join(", ")} or ${numbers.at(-1)}`);
  };
}

const sampleFunction: Check<OwnSource["get"]> = (value, path) => {
  if (typeof value === "function") return value as OwnSource["get"]; // what it gives is checked when it is called
  throw wrongField(path, value, "a function that gives { features, label } of an index");
};

const shape = shapeOf("the shape of one sample, as [28, 28]");
