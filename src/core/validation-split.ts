/** What a job file may say of its validation data: which samples it is, or where they come from. */
import {
  betweenZeroAndOne,
  fieldsOf,
  filledText,
  finiteNumber,
  flag,
  isPlainObject,
  oneOf,
  optional,
  wholeNumber,
  written,
  wrongField,
} from "./field-checks.ts";
import type { DataSource } from "./job.ts";
import { isTable, sourceFrom, testSource } from "./source-validation.ts";

export type ValidationSplit =
  | {
      /** Part of all samples, above 0 and below 1. */
      readonly fraction: number;
      /** "random" (default): drawn by the job's seed. "last": the end of the data, for text and series. */
      readonly take?: "random" | "last";
      /** Draws the fraction of each class, by the values of the label. */
      readonly stratify?: boolean;
    }
  /** Draws whole groups, the samples with one value in this column, until they are about the fraction. */
  | { readonly fraction: number; readonly column: string }
  /** The samples from the first number to before the second, counted from 0. */
  | { readonly rows: readonly [from: number, to: number] }
  /** Files of the same kind as those of `data`; "*" in the last part of a path stands for any characters. */
  | { readonly files: string | readonly string[] }
  /** Another source of the same kind. */
  | { readonly data: DataSource };

/** The same, checked. The first form is the oldest: checkpoints remember it as it is. */
export type ValidationRule =
  | { readonly fraction: number; readonly take: "random" | "last" }
  | { readonly fraction: number; readonly by: "class" }
  | { readonly fraction: number; readonly by: "group"; readonly column: string }
  | { readonly by: "rows"; readonly rows: readonly [number, number] }
  | { readonly by: "files"; readonly files: readonly string[] }
  | { readonly by: "data"; readonly data: DataSource };

export const validationFields = ["fraction", "take", "stratify", "column", "rows", "files", "data"] as const;

const expected =
  "{ fraction }, { fraction, take }, { fraction, stratify: true }, { fraction, column }, { rows: [from, to] }, { files } or { data }";

/** `read`: what is done to every source of the job. */
export function validationRule(
  value: unknown,
  data: DataSource,
  read: (source: DataSource) => DataSource,
): ValidationRule | null {
  if (value === undefined) return null;
  const hint = typeof value === "number" ? `Write validation: { fraction: ${value} }.` : undefined;
  if (!isPlainObject(value)) throw wrongField("validation", value, expected, hint);
  const fields = fieldsOf(value, "validation", validationFields, expected);
  const has = (name: string) => fields[name] !== undefined;
  const only = (...names: string[]) => {
    const other = validationFields.find((name) => has(name) && !names.includes(name));
    if (other === undefined) return;
    throw wrongField(
      `validation.${other}`,
      fields[other],
      `nothing beside ${names.join(" and ")}`,
      `One of: ${expected}.`,
    );
  };
  if (has("rows")) {
    only("rows");
    return { by: "rows", rows: rowRange(fields.rows) };
  }
  if (has("data")) {
    only("data");
    return { by: "data", data: read(testSource(fields.data, "validation.data", data)) };
  }
  if (has("files")) {
    only("files");
    return { by: "files", files: fileList(fields.files, data) };
  }
  const fraction = finiteNumber(betweenZeroAndOne)(fields.fraction, "validation.fraction");
  if (has("column")) {
    only("fraction", "column");
    if (!isTable(data)) {
      throw wrongField(
        "validation.column",
        fields.column,
        "it for the columns of csv(), jsonLines(), parquet(), arrow() or tfrecord()",
        "Other data have no columns: leave column out, or hold back rows: [from, to].",
      );
    }
    return { fraction, by: "group", column: filledText("the name of a column")(fields.column, "validation.column") };
  }
  const take = optional(fields.take, "validation.take", oneOf(["random", "last"] as const)) ?? "random";
  if (!(optional(fields.stratify, "validation.stratify", flag) ?? false)) return { fraction, take };
  if (take === "last") throw wrongField("validation.take", take, `"random", since stratify draws from every class`);
  return { fraction, by: "class" };
}

function rowRange(value: unknown): readonly [number, number] {
  const path = "validation.rows";
  if (!Array.isArray(value) || value.length !== 2) throw wrongField(path, value, "two numbers, as in [0, 100]");
  const from = wholeNumber(0)(value[0], `${path}[0]`);
  return [from, wholeNumber(from + 1)(value[1], `${path}[1]`)];
}

function fileList(value: unknown, data: DataSource): readonly string[] {
  const path = "validation.files";
  if (sourceFrom(data, "") === null) {
    throw wrongField(path, value, `{ data: ${data.kind}({ … }) } instead, since such data is in several files`);
  }
  const check = filledText("the path of a file");
  if (!Array.isArray(value)) return [check(value, path)];
  if (value.length === 0) throw wrongField(path, value, "one or more paths");
  return value.map((item, index) => check(item, `${path}[${index}]`));
}

/** What of a rule decides which samples are used: where files lie does not, and what is in them is in the data's digest. */
export type SplitRule = Exclude<ValidationRule, { readonly by: "files" | "data" }> | { readonly by: "files" };

export function splitRule(rule: ValidationRule | null): SplitRule | null {
  return rule !== null && isOtherFiles(rule) ? { by: "files" } : rule;
}

export function isOtherFiles(rule: ValidationRule): rule is Extract<ValidationRule, { readonly by: "files" | "data" }> {
  return "by" in rule && (rule.by === "files" || rule.by === "data");
}

/** Whether seed and number of samples alone say which samples are held back. */
export function isPlainRule(rule: SplitRule | null): rule is Extract<SplitRule, { readonly take: string }> | null {
  return rule === null || !("by" in rule);
}

/** For people: how validation samples are chosen. */
export function describedRule(rule: SplitRule | ValidationRule): string {
  if (!("by" in rule)) return rule.take;
  switch (rule.by) {
    case "class":
      return "stratified";
    case "group":
      return `by ${written(rule.column)}`;
    case "rows":
      return `rows ${rule.rows[0]} to ${rule.rows[1] - 1}`;
    default:
      return "other files";
  }
}
