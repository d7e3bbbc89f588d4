/** JSON lines: an object a line, whose named fields are numbers, booleans, or lists of numbers of one shape. */
import { createHash } from "node:crypto";
import type { DataColumn } from "../../core/data-summary.ts";
import { LockstepError } from "../../core/errors.ts";
import type { JsonLinesSource } from "../../core/job.ts";
import { nearestName } from "../../core/nearest-name.ts";
import { sizeOf } from "../../core/transforms.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { rowsOf } from "./array-dataset.ts";
import { byteLines, place, textOf } from "./byte-lines.ts";
import { isBlank } from "./csv-row.ts";
import { locate, readDataFile } from "./read-file.ts";

/** Lists in lists, at most; what is deeper is no sample. */
const maximumDimensions = 8;

interface Column {
  readonly names: readonly string[];
  /** Of each field's value in the first line. */
  readonly shapes: readonly (readonly number[])[];
  /** Of all of them together. */
  readonly width: number;
  readonly values: Float32Array;
}

export async function openJsonLines(source: JsonLinesSource, baseDirectory: string): Promise<DescribedDataset> {
  const file = locate(source.path, baseDirectory);
  return decodeJsonLines(file, await readDataFile(file), source);
}

export function decodeJsonLines(file: string, bytes: Buffer, source: JsonLinesSource): DescribedDataset {
  const lines = byteLines(bytes);
  if (lines.length === 0) {
    throw new LockstepError("invalid-data", `The data file ${file} is empty; expected a JSON object in each line.`);
  }
  const objectIn = (line: number) => parsedObject(textOf(bytes, lines[line]!), place(file, line));
  const first = objectIn(0);
  // A number takes two bytes at least, so more than this are never read; what is wrong with the file is found before.
  const open = (names: readonly string[]) => openColumn(first, names, place(file, 0), lines.length, bytes.length);
  const [features, label] = [open(source.features), open([source.label])];
  for (let line = 0; line < lines.length; line++) {
    const object = line === 0 ? first : objectIn(line);
    for (const column of [features, label]) readRow(object, column, line, place(file, line));
  }
  const settings = JSON.stringify({ kind: source.kind, features: source.features, label: source.label });
  return {
    length: lines.length,
    digest: `sha256:${createHash("sha256").update(`${settings}\n`).update(bytes).digest("hex")}`,
    features: { shape: shapeOf(features, [features.width]) },
    label: { shape: shapeOf(label, []) },
    files: [file],
    columns: { features: columnsOf(features), label: columnsOf(label)[0]! }, // the label is one field
    read: (indices) => ({
      count: indices.length,
      features: rowsOf(features.values, features.width, lines.length, indices),
      label: rowsOf(label.values, label.width, lines.length, indices),
    }),
  };
}

function columnsOf({ names, shapes }: Column): readonly DataColumn[] {
  return names.map((name, i) => ({ name, type: "number", shape: shapes[i]! }));
}

/** A single list keeps its shape. */
function shapeOf({ shapes }: Column, otherwise: readonly number[]): readonly number[] {
  const [shape = []] = shapes;
  return shapes.length === 1 && shape.length > 0 ? shape : otherwise;
}

function openColumn(object: object, names: readonly string[], where: string, count: number, most: number): Column {
  const shapes = names.map((name) => shapeIn(fieldOf(object, name, where), `${where}, "${name}"`));
  const width = shapes.reduce((sum, shape) => sum + sizeOf(shape), 0);
  return { names, shapes, width, values: new Float32Array(Math.min(count * width, most)) };
}

/** By the first value of each list; whether the others are like it, `put` finds. */
function shapeIn(value: unknown, where: string): readonly number[] {
  const shape: number[] = [];
  for (let inner = value; Array.isArray(inner); inner = inner[0] as unknown) {
    if (inner.length === 0) throw new LockstepError("invalid-data", `${where} has an empty list; expected numbers.`);
    if (shape.push(inner.length) > maximumDimensions) {
      throw new LockstepError("invalid-data", `${where} has more than ${maximumDimensions} dimensions.`);
    }
  }
  return shape;
}

function readRow(object: object, { names, shapes, width, values }: Column, line: number, where: string): void {
  let at = line * width;
  for (const [i, name] of names.entries()) {
    at = put(fieldOf(object, name, where), shapes[i]!, 0, values, at, `${where}, "${name}"`);
  }
}

/** Writes a value of this shape and returns where the next one goes. */
function put(
  value: unknown,
  shape: readonly number[],
  axis: number,
  values: Float32Array,
  at: number,
  where: string,
): number {
  if (axis === shape.length) {
    values[at] = numberOf(value, where);
    return at + 1;
  }
  if (!Array.isArray(value) || value.length !== shape[axis]) {
    const has = Array.isArray(value) ? `has ${value.length} values` : `is ${shortened(value)}`;
    const shown = shape.slice(axis).join(" × ");
    throw new LockstepError("invalid-data", `${where} ${has}; expected a list of ${shown}, as in line 1.`, {
      hint: "All samples have one shape: pad or cut them before training.",
    });
  }
  let next = at;
  for (let i = 0; i < value.length; i++) next = put(value[i], shape, axis + 1, values, next, `${where}[${i}]`);
  return next;
}

function numberOf(value: unknown, where: string): number {
  const number =
    typeof value === "boolean" ? Number(value) : typeof value === "number" ? Math.fround(value) : Number.NaN;
  if (Number.isFinite(number)) return number;
  const isMissing = value === null;
  throw new LockstepError("invalid-data", `${where} is ${shortened(value)}; expected a finite number.`, {
    hint: isMissing
      ? "Fill in missing values, or leave out such samples, before training."
      : "Replace texts by numbers, as 0, 1, 2 for three categories; a list must be one in every line.",
  });
}

/** The numbers of some fields, one after the other, whatever their shape. Throws "invalid-data" where one is missing or no number. */
export function fieldNumbers(object: object, names: readonly string[], where: string): number[] {
  return names.flatMap((name) => {
    const value = fieldOf(object, name, where);
    const shape = shapeIn(value, `${where}, "${name}"`);
    const numbers = new Float32Array(sizeOf(shape));
    put(value, shape, 0, numbers, 0, `${where}, "${name}"`);
    return Array.from(numbers);
  });
}

function fieldOf(object: object, name: string, where: string): unknown {
  if (Object.hasOwn(object, name)) return Reflect.get(object, name);
  const meant = nearestName(name, Object.keys(object));
  throw new LockstepError("invalid-data", `${where} has no "${name}"; expected it in every line.`, {
    hint:
      meant === null ? "Fill in missing values, or leave out such samples, before training." : `Is "${meant}" meant?`,
  });
}

function parsedObject(line: string, where: string): object {
  if (isBlank(line)) throw new LockstepError("invalid-data", `${where} is blank; expected a JSON object.`);
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new LockstepError("invalid-data", `${where} is no JSON: ${clipped(line)}.`, {
      hint: "Write one JSON object a line.",
      cause,
    });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw new LockstepError("invalid-data", `${where} is ${clipped(line)}; expected a JSON object.`, {
    hint: 'Write each sample as { "name": value, … } on one line.',
  });
}

function shortened(value: unknown): string {
  return clipped(JSON.stringify(value));
}

function clipped(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 40)}…`;
}
