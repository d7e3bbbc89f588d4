/** Which columns of a file of cells are the label and features, by its header. */
import { kindOf, labelNames } from "../../core/columns.ts";
import { LockstepError } from "../../core/errors.ts";
import { listed } from "../../core/field-checks.ts";
import type { CsvSource } from "../../core/job.ts";
import { nearestName } from "../../core/nearest-name.ts";
import type { OpenOptions } from "../../ports/dataset.ts";
import { ColumnReader } from "./column-reader.ts";
import { cellNumber } from "./csv-row.ts";

interface PlannedColumn {
  /** In the header, from 0. */
  readonly at: number;
  readonly reader: ColumnReader;
}

export interface Plan {
  /** In the order of the file. */
  readonly features: readonly PlannedColumn[];
  /** As the job names them. */
  readonly labels: readonly PlannedColumn[];
  /** The column of the samples' weights; null where there is none. */
  readonly weightAt: number | null;
  /** Whether every column is a feature or the label, and a cell of digits a number. */
  readonly isPlain: boolean;
}

export function planOf(file: string, header: readonly string[], source: CsvSource, options: OpenOptions): Plan {
  const { dictionaries: known = null, isOther = false } = options;
  const { label, ignore = [], columns = {}, missing = null, weight } = source;
  const names = labelNames(label);
  const labelsAt = names.map((name) => findLabel(file, header, name));
  const ignored = ignore.map((name) => columnAt(file, header, name, "which ignore names"));
  const isThere = weight !== undefined && (!isOther || header.includes(weight));
  const weightColumn = isThere ? columnAt(file, header, weight, "which weight names") : null;
  if (weightColumn !== null) ignored.push(weightColumn);
  const weightAt = isOther ? null : weightColumn;
  for (const name of Object.keys(columns)) columnAt(file, header, name, "of which columns says what it is");
  const planned = (at: number, isLabel: boolean): PlannedColumn => {
    const name = header[at]!;
    const kind = kindOf(source, name);
    const texts = known !== null && Object.hasOwn(known, name) ? known[name]! : null;
    return { at, reader: new ColumnReader({ name, kind, missing, known: texts, isLabel }) };
  };
  const features = header.flatMap((_, at) =>
    labelsAt.includes(at) || ignored.includes(at) ? [] : [planned(at, false)],
  );
  if (features.length === 0) {
    throw new LockstepError(
      "invalid-data",
      `${file} has no other column than the ${names.length === 1 ? "label" : "labels"} ${listed(names, "and")}${ignored.length > 0 ? " and those that are no features" : ""}; expected features.`,
    );
  }
  const isPlain =
    ignored.length === 0 &&
    Object.keys(columns).length === 0 &&
    (missing ?? []).every((text) => cellNumber(text) === null);
  return { features, labels: labelsAt.map((at) => planned(at, true)), weightAt, isPlain };
}

/** The one column with this name. */
export function columnAt(file: string, header: readonly string[], name: string, why: string): number {
  const at = header.indexOf(name);
  if (at < 0) throw noColumn(file, header, name, why, nearestHint(header, name));
  if (header.indexOf(name, at + 1) >= 0) {
    throw new LockstepError("invalid-data", `${file} has more than one column "${name}", ${why}.`, {
      hint: "Give each its own name.",
    });
  }
  return at;
}

function noColumn(
  file: string,
  header: readonly string[],
  name: string,
  why: string,
  hint: string | null,
): LockstepError {
  const names = header.length > 12 ? [...header.slice(0, 10), "…", header.at(-1)!] : header;
  return new LockstepError(
    "invalid-data",
    `${file} has no column "${name}", ${why}; its columns are ${listed(names, "and")}.`,
    hint === null ? {} : { hint },
  );
}

function nearestHint(header: readonly string[], name: string): string | null {
  const meant = nearestName(name, header);
  return meant === null ? null : `Did you mean "${meant}"?`;
}

function findLabel(file: string, header: readonly string[], label: string): number {
  const found = header.indexOf(label);
  if (found < 0) {
    throw noColumn(file, header, label, "which the job file names as the label", missingLabelHint(header, label));
  }
  if (header.indexOf(label, found + 1) >= 0) {
    throw new LockstepError("invalid-data", `${file} has more than one column "${label}", the label.`, {
      hint: "Give each its own name.",
    });
  }
  return found;
}

function missingLabelHint(header: readonly string[], label: string): string {
  const meant = nearestHint(header, label);
  if (meant !== null) return meant;
  if (header.every((column) => cellNumber(column) !== null)) {
    return "The first line looks like data: put a header row with the columns' names before it.";
  }
  const separator = header.length === 1 ? /[,;\t|]/.exec(header[0]!)?.[0] : undefined;
  if (separator !== undefined) {
    const what = JSON.stringify(separator);
    const canSay = separator === "|" ? "separate them by commas" : `say so: csv(path, { label, separator: ${what} })`;
    return `The cells seem to be separated by ${what}; ${canSay}.`;
  }
  return "Name one of the columns as the label.";
}
