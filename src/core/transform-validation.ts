/** Checks the transforms of a job file, field by field. */
import { kindOf } from "./columns.ts";
import {
  type Check,
  fieldsOf,
  finiteNumber,
  isPlainObject,
  joined,
  notZero,
  oneOf,
  optional,
  type Range,
  shapeOf,
  wholeNumber,
  wrongField,
} from "./field-checks.ts";
import type { DataSource } from "./job.ts";
import { isTable } from "./source-validation.ts";
import type { ImputeWith, MapFunction, Transform } from "./transform-definition.ts";

type Kind = Transform["kind"];

const transformFields: Readonly<Record<Kind, readonly string[]>> = {
  scale: ["kind", "factor"],
  standardize: ["kind"],
  "min-max": ["kind"],
  impute: ["kind", "with"],
  vocabulary: ["kind", "maximum"],
  "one-hot": ["kind", "classes"],
  reshape: ["kind", "shape"],
  normalize: ["kind"],
  pad: ["kind", "length", "value"],
  map: ["kind", "apply"],
  columns: ["kind", "columns", "rest"],
};
const transformKinds = Object.keys(transformFields) as Kind[]; // the table above has exactly the kinds
const transformExpected =
  "scale(factor), standardize(), minMax(), impute(with), vocabulary(), oneHot(classes), reshape(shape), normalize(), pad({ length }), map(function), columns({ … }) or a list of them";

/** `whole`: of a label, what it is read from, where that says how many values it has. */
export function transformList(
  value: unknown,
  path: string,
  whole: { readonly of: "features" } | { readonly of: "label"; readonly data: DataSource } = { of: "features" },
): readonly Transform[] {
  const isCategory = whole.of === "label" && isCategoryLabel(whole.data);
  return listOf(value, path, {
    knowsClasses: isCategory,
    mayBeColumns: whole.of === "features" || isSeveral(whole.data),
  });
}

function isCategoryLabel(data: DataSource): boolean {
  return isTable(data) && typeof data.label === "string" && kindOf(data, data.label) === "category";
}

/** Whether a label is several columns. */
function isSeveral(data: DataSource): boolean {
  return isTable(data) && typeof data.label !== "string";
}

interface Place {
  /** Whether the raw values may be a category's codes, of which the data says how many there are. */
  readonly knowsClasses: boolean;
  readonly mayBeColumns: boolean;
}

function listOf(value: unknown, path: string, { knowsClasses, mayBeColumns }: Place): readonly Transform[] {
  if (value === undefined) return [];
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  const pathOf = (index: number) => (Array.isArray(value) ? `${path}[${index}]` : path);
  const transforms = list.map((item, index) => transform(item, pathOf(index)));
  let classesKnown = knowsClasses;
  for (const [index, item] of transforms.entries()) {
    if (item.kind === "columns" && !(mayBeColumns && index === 0)) {
      throw wrongField(
        pathOf(index),
        list[index],
        "columns() as the first of preprocess.features, or of preprocess.label where the label is several columns",
      );
    }
    if (item.kind === "one-hot" && item.classes === undefined && !classesKnown) {
      throw wrongField(joined(pathOf(index), "classes"), undefined, "how many values there are", oneHotHint);
    }
    classesKnown = item.kind === "vocabulary" || (classesKnown && (item.kind === "reshape" || item.kind === "impute"));
  }
  return transforms;
}

const oneHotHint = "Write oneHot(10) for the values 0 to 9, or put vocabulary() before it.";

const transform: Check<Transform> = (value, path) => {
  if (!isPlainObject(value)) {
    const hint = typeof value === "function" && value.name !== "" ? `Call it: ${value.name}().` : undefined;
    throw wrongField(path, value, transformExpected, hint);
  }
  const kind = oneOf(transformKinds, { onehot: "one-hot", minmax: "min-max" })(value.kind, joined(path, "kind"));
  const fields = fieldsOf(value, path, transformFields[kind], transformExpected);
  const at = (name: string) => joined(path, name);
  switch (kind) {
    case "scale":
      return { kind, factor: finiteNumber(notZero)(fields.factor, at("factor")) };
    case "impute":
      return { kind, with: imputeWith(fields.with, at("with")) };
    case "vocabulary": {
      const maximum = optional(fields.maximum, at("maximum"), wholeNumber(1, 1_000_000));
      return maximum === undefined ? { kind } : { kind, maximum };
    }
    case "one-hot": {
      const classes = optional(fields.classes, at("classes"), wholeNumber(2));
      return classes === undefined ? { kind } : { kind, classes };
    }
    case "reshape":
      return { kind, shape: shapeList(fields.shape, at("shape")) };
    case "pad":
      return {
        kind,
        length: wholeNumber(1)(fields.length, at("length")),
        value: optional(fields.value, at("value"), finiteNumber(anyNumber)) ?? 0,
      };
    case "map":
      return { kind, apply: mapFunction(fields.apply, at("apply")) };
    case "columns":
      return { kind, columns: byColumn(fields.columns, at("columns")), rest: part(fields.rest, at("rest")) };
    default:
      return { kind };
  }
};

const anyNumber: Range = { words: "a number", contains: () => true };

const imputeWith: Check<ImputeWith> = (value, path) => {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (value === "mean" || value === "median" || value === "mostFrequent") return value;
  const hint = typeof value === "string" && /^(mode|most.?frequent)$/i.test(value) ? "mostFrequent" : null;
  throw wrongField(
    path,
    value,
    '"mean", "median", "mostFrequent" or a number',
    hint === null ? undefined : `Did you mean "${hint}"?`,
  );
};

/** `typeof` proves "function" and no more; what it gives is looked at when the transforms are fitted. */
const mapFunction: Check<MapFunction> = (value, path) => {
  if (typeof value === "function") return value as MapFunction;
  throw wrongField(path, value, "a function of one sample's values, as in map((values) => values.map(Math.log1p))");
};

/** Whether a column is a category, which knows its classes, shows when the data is read. */
const part = (value: unknown, path: string) => listOf(value, path, { knowsClasses: true, mayBeColumns: false });

const byColumn: Check<Readonly<Record<string, readonly Transform[]>>> = (value, path) => {
  if (!isPlainObject(value)) throw wrongField(path, value, "transforms by the names of columns");
  return Object.fromEntries(Object.entries(value).map(([name, list]) => [name, part(list, joined(path, name))]));
};

const shapeList = shapeOf("a list of sizes, as [8, 8, 1]");
