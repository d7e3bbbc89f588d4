/** Cells separated by commas or other characters, a sample in each row under a header: one file, or several with the same header. */
import type { DataColumn } from "../../core/data-summary.ts";
import { LockstepError } from "../../core/errors.ts";
import type { CsvSource } from "../../core/job.ts";
import { checkedWeight } from "../../core/sample-weight.ts";
import { plural } from "../../core/summary-table.ts";
import type { OpenOptions } from "../../ports/dataset.ts";
import { place, textOf } from "./byte-lines.ts";
import { columnAt, planOf } from "./csv-plan.ts";
import { cellNumber, isBlank, readShortNumbers, splitRow } from "./csv-row.ts";
import type { RecordParser, TextFormat } from "./text-table.ts";

/** What of the options is not said counts in the digest as it did when there were none of them. */
export function csvFormat(source: CsvSource, options: OpenOptions): TextFormat {
  const { label, separator = ",", columns, missing, ignore, weight } = source;
  const { group, dictionaries, isOther = false } = options;
  const said = { kind: "csv", label, separator: source.separator, columns, missing, ignore, weight };
  return {
    separator,
    hasHeader: true,
    expected: "a header row and rows of data",
    settings: { ...said, group, dictionaries },
    isOther,
    isGrouped: group !== undefined,
    label,
    open: (file, first) => openRows(file, first, source, options),
  };
}

function openRows(file: string, first: string, source: CsvSource, options: OpenOptions): RecordParser {
  const { separator = "," } = source;
  const { group } = options;
  const header = splitRow(first, place(file, 0), separator);
  const { features, labels, weightAt, isPlain } = planOf(file, header, source, options);
  const groupAt = group === undefined ? null : columnAt(file, header, group, "which validation.column names");
  const width = features.reduce((sum, { reader }) => sum + reader.width, 0);
  const labelPlace = width + Number(weightAt !== null);
  const shape = features.length === 1 ? features[0]!.reader.shape : [];
  /** Where features that lie beside each other end: before a label, and at last. */
  const ends = [...labels.map(({ at }) => at).sort((a, b) => a - b), header.length];
  /** Room for a row. */
  const numbers = new Float32Array(header.length);
  return {
    form: {
      features: shape.length > 0 ? shape : [width],
      isWeighted: weightAt !== null,
      label: typeof source.label === "string" ? [] : [labels.length],
    },
    compareHeader(other, text) {
      const difference = headerDifference(splitRow(text, place(other, 0), separator), header);
      if (difference === null) return;
      throw new LockstepError("invalid-data", `${place(other, 0)} ${difference}, as in ${file}.`, {
        hint: "Files that are one set of samples have the same columns in the same order.",
      });
    },
    read(file, bytes, record, values, begin) {
      if (isPlain && groupAt === null && readShortNumbers(bytes, record, numbers, separator)) {
        for (const [i, { at }] of labels.entries()) values[begin + labelPlace + i] = numbers[at]!;
        let from = 0;
        let to = begin;
        for (const end of ends) {
          values.set(numbers.subarray(from, end), to);
          to += end - from;
          from = end + 1;
        }
        return null;
      }
      const text = textOf(bytes, record);
      const where = () => place(file, record.line);
      const cells = splitRow(text, where(), separator);
      if (cells.length !== header.length) throw ragged(file, record.line, text, cells.length, header.length);
      for (const [i, { at, reader }] of labels.entries()) {
        reader.readText(cells[at]!, values, begin + labelPlace + i, where); // a label is one value
      }
      if (weightAt !== null) {
        const cell = cells[weightAt]!;
        const place = () => `${where()}, column "${header[weightAt]}"`;
        values[begin + width] = checkedWeight(cellNumber(cell), place, () => JSON.stringify(cell));
      }
      let at = begin;
      for (const { at: column, reader } of features) {
        reader.readText(cells[column]!, values, at, where);
        at += reader.width;
      }
      return groupAt === null ? null : cells[groupAt]!;
    },
    finish: () => ({
      features: features.map(({ reader }) => reader.finish()),
      labels: labels.map(({ reader }) => reader.finish()),
      ...(weightAt !== null && { weight: numbersOf(header[weightAt]!) }),
    }),
  };
}

/** Null where there is none. */
function headerDifference(has: readonly string[], wants: readonly string[]): string | null {
  const at = wants.findIndex((name, i) => has[i] !== name);
  if (at < 0 && has.length === wants.length) return null;
  if (has.length !== wants.length) return `has ${plural(has.length, "column")}; expected ${wants.length}`;
  return `has "${has[at]}" as column ${at + 1}; expected "${wants[at]}"`;
}

/** A column of single numbers. */
export function numbersOf(name: string): DataColumn {
  return { name, type: "number", shape: [] };
}

export function ragged(file: string, lineIndex: number, line: string, cells: number, columns: number): LockstepError {
  const where = place(file, lineIndex);
  if (isBlank(line)) return new LockstepError("invalid-data", `${where} is blank; expected ${columns} cells.`);
  return new LockstepError(
    "invalid-data",
    `${where} has ${cells} ${cells === 1 ? "cell" : "cells"}; expected ${columns}, as in the header.`,
  );
}
