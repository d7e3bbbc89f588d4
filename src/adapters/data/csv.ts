/** Numbers in cells, separated by commas or other characters, under a header row, as one array of features and one of labels. */
import { createHash } from "node:crypto";
import type { DataColumn } from "../../core/data-summary.ts";
import { LockstepError } from "../../core/errors.ts";
import { listed } from "../../core/field-checks.ts";
import type { CsvSource } from "../../core/job.ts";
import { nearestName } from "../../core/nearest-name.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { rowsOf } from "./array-dataset.ts";
import { byteLines, place, textOf } from "./byte-lines.ts";
import { cellNumber, isBlank, readShortNumbers, splitRow } from "./csv-row.ts";
import { locate, readDataFile } from "./read-file.ts";

export async function openCsv(source: CsvSource, baseDirectory: string): Promise<DescribedDataset> {
  const file = locate(source.path, baseDirectory);
  const bytes = await readDataFile(file);
  const { width, names, features, label } = readTable(file, bytes, source);
  const { separator } = source;
  const settings = JSON.stringify({ kind: "csv", label: source.label, separator });
  return {
    length: label.length,
    digest: `sha256:${createHash("sha256").update(`${settings}\n`).update(bytes).digest("hex")}`,
    features: { shape: [width] },
    label: { shape: [] },
    files: [file],
    columns: { features: names.map(numberColumn), label: numberColumn(source.label) },
    read: (indices) => ({
      count: indices.length,
      features: rowsOf(features, width, label.length, indices),
      label: rowsOf(label, 1, label.length, indices),
    }),
  };
}

function numberColumn(name: string): DataColumn {
  return { name, type: "number", shape: [] };
}

interface Table {
  /** Number of feature columns. */
  readonly width: number;
  readonly names: readonly string[];
  readonly features: Float32Array;
  readonly label: Float32Array;
}

function readTable(file: string, bytes: Buffer, { label: labelColumn, separator = "," }: CsvSource): Table {
  const lines = byteLines(bytes);
  if (lines.length === 0) {
    throw new LockstepError(
      "invalid-data",
      `The data file ${file} is empty; expected a header row and rows of numbers.`,
    );
  }
  const columns = splitRow(textOf(bytes, lines[0]!), place(file, 0), separator);
  const labelAt = findLabel(file, columns, labelColumn);
  const count = lines.length - 1;
  if (count === 0) {
    throw new LockstepError("invalid-data", `The data file ${file} has a header row, but no rows of data.`);
  }
  const width = columns.length - 1;
  const features = new Float32Array(count * width);
  const label = new Float32Array(count);
  const numbers = new Float32Array(columns.length);
  for (let row = 0; row < count; row++) {
    const line = lines[row + 1]!;
    if (!readShortNumbers(bytes, line, numbers, separator)) {
      const cells = splitRow(textOf(bytes, line), place(file, row + 1), separator);
      if (cells.length !== columns.length) {
        throw ragged(file, row + 1, textOf(bytes, line), cells.length, columns.length);
      }
      for (let column = 0; column < cells.length; column++) {
        const value = cellNumber(cells[column]!);
        if (value === null) throw notANumber(place(file, row + 1), columns[column]!, cells[column]!);
        numbers[column] = value;
      }
    }
    label[row] = numbers[labelAt]!;
    features.set(numbers.subarray(0, labelAt), row * width);
    features.set(numbers.subarray(labelAt + 1), row * width + labelAt);
  }
  return { width, names: columns.toSpliced(labelAt, 1), features, label };
}

function findLabel(file: string, columns: readonly string[], label: string): number {
  const found = columns.indexOf(label);
  if (found < 0) {
    const names = columns.length > 12 ? [...columns.slice(0, 10), "…", columns.at(-1)!] : columns;
    throw new LockstepError(
      "invalid-data",
      `${file} has no column "${label}", which the job file names as the label; its columns are ${listed(names, "and")}.`,
      { hint: missingLabelHint(columns, label) },
    );
  }
  if (columns.indexOf(label, found + 1) >= 0) {
    throw new LockstepError("invalid-data", `${file} has more than one column "${label}", the label.`, {
      hint: "Give each its own name.",
    });
  }
  if (columns.length === 1) {
    throw new LockstepError(
      "invalid-data",
      `${file} has no other column than the label "${label}"; expected features.`,
    );
  }
  return found;
}

function missingLabelHint(columns: readonly string[], label: string): string {
  const meant = nearestName(label, columns);
  if (meant !== null) return `Did you mean "${meant}"?`;
  if (columns.every((column) => cellNumber(column) !== null)) {
    return "The first line looks like data: put a header row with the columns' names before it.";
  }
  const separator = columns.length === 1 ? /[,;\t|]/.exec(columns[0]!)?.[0] : undefined;
  if (separator !== undefined) {
    const what = JSON.stringify(separator);
    const canSay = separator === "|" ? "separate them by commas" : `say so: csv(path, { label, separator: ${what} })`;
    return `The cells seem to be separated by ${what}; ${canSay}.`;
  }
  return "Name one of the columns as the label.";
}

export function ragged(file: string, lineIndex: number, line: string, cells: number, columns: number): LockstepError {
  const where = place(file, lineIndex);
  if (isBlank(line)) return new LockstepError("invalid-data", `${where} is blank; expected ${columns} cells.`);
  return new LockstepError(
    "invalid-data",
    `${where} has ${cells} ${cells === 1 ? "cell" : "cells"}; expected ${columns}, as in the header.`,
  );
}

export function notANumber(where: string, column: string, cell: string): LockstepError {
  if (isBlank(cell)) {
    return new LockstepError("invalid-data", `${where}, column "${column}" is empty; expected a number.`, {
      hint: "Fill in missing values, or leave out such rows, before training.",
    });
  }
  if (cell.includes("\uFEFF")) {
    return new LockstepError("invalid-data", `${where}, column "${column}" has a byte-order mark; expected a number.`, {
      hint: "It marks the beginning of a file: take it out where files were joined.",
    });
  }
  const shown = JSON.stringify(cell.length > 40 ? `${cell.slice(0, 40)}…` : cell);
  return new LockstepError("invalid-data", `${where}, column "${column}" is ${shown}; expected a finite number.`, {
    hint: "Replace texts by numbers, as 0, 1, 2 for three categories.",
  });
}
