/** Comma-separated numbers under a header row, as one array of features and one of labels. */
import { createHash } from "node:crypto";
import { LockstepError } from "../../core/errors.ts";
import { listed } from "../../core/field-checks.ts";
import type { CsvSource } from "../../core/job.ts";
import { nearestName } from "../../core/nearest-name.ts";
import type { Range } from "../../core/sampler.ts";
import type { Dataset, Samples } from "../../ports/dataset.ts";
import { cellNumber, isBlank, readShortNumbers, splitRow } from "./csv-row.ts";
import { locate, readDataFile } from "./read-file.ts";

export async function openCsv(source: CsvSource, baseDirectory: string): Promise<Dataset> {
  const file = locate(source.path, baseDirectory);
  const bytes = await readDataFile(file);
  const { width, features, label } = readTable(file, bytes, source.label);
  const settings = JSON.stringify({ kind: "csv", label: source.label });
  return {
    length: label.length,
    digest: `sha256:${createHash("sha256").update(`${settings}\n`).update(bytes).digest("hex")}`,
    features: { shape: [width] },
    label: { shape: [] },
    read: (indices) => readRows(indices, width, features, label),
  };
}

function readRows(indices: ArrayLike<number>, width: number, features: Float32Array, label: Float32Array): Samples {
  const samples = {
    count: indices.length,
    features: new Float32Array(indices.length * width),
    label: new Float32Array(indices.length),
  };
  for (let row = 0; row < indices.length; row++) {
    const index = indices[row]!;
    if (!(index >= 0 && index < label.length)) {
      throw new LockstepError("internal", `Sample ${index} was asked for; there are ${label.length}.`);
    }
    samples.features.set(features.subarray(index * width, (index + 1) * width), row * width);
    samples.label[row] = label[index]!;
  }
  return samples;
}

interface Table {
  /** Number of feature columns. */
  readonly width: number;
  readonly features: Float32Array;
  readonly label: Float32Array;
}

function readTable(file: string, bytes: Buffer, labelColumn: string): Table {
  const lines = linesOf(bytes);
  if (lines.length === 0) {
    throw new LockstepError(
      "invalid-data",
      `The data file ${file} is empty; expected a header row and rows of numbers.`,
    );
  }
  const columns = splitRow(textOf(bytes, lines[0]!), place(file, 0));
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
    if (!readShortNumbers(bytes, line, numbers)) {
      const cells = splitRow(textOf(bytes, line), place(file, row + 1));
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
  return { width, features, label };
}

/** Lines without their ends (LF or CRLF); without a byte-order mark at the file's start, and blank lines at its end. */
function linesOf(bytes: Buffer): Range[] {
  const lines: Range[] = [];
  const hasMark = bytes.subarray(0, byteOrderMark.length).equals(byteOrderMark);
  for (let begin = hasMark ? byteOrderMark.length : 0; begin < bytes.length; ) {
    const found = bytes.indexOf(lineFeed, begin);
    const next = found < 0 ? bytes.length : found;
    lines.push({ begin, end: found > begin && bytes[found - 1] === carriageReturn ? found - 1 : next });
    begin = next + 1;
  }
  while (lines.length > 0 && isBlank(textOf(bytes, lines.at(-1)!))) lines.pop();
  return lines;
}

const lineFeed = 10;
const carriageReturn = 13;
const byteOrderMark = Buffer.from("\uFEFF");

/** Anywhere but at a file's start, a byte-order mark is a character like others. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

function textOf(bytes: Buffer, { begin, end }: Range): string {
  return decoder.decode(bytes.subarray(begin, end));
}

/** Where an error is: lines count from 1, and the header is line 1. */
export function place(file: string, lineIndex: number): string {
  return `${file}, line ${lineIndex + 1}`;
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
  const separator = columns.length === 1 ? /[;\t|]/.exec(columns[0]!)?.[0] : undefined;
  if (separator !== undefined) {
    return `The cells seem to be separated by ${JSON.stringify(separator)}; separate them by commas.`;
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
