/** JSON lines: an object a line, whose named fields are numbers, booleans, lists of numbers of one shape, categories or texts. */
import { createHash } from "node:crypto";
import { type Dictionaries, kindOf } from "../../core/columns.ts";
import type { DataColumn } from "../../core/data-summary.ts";
import { LockstepError } from "../../core/errors.ts";
import type { JsonLinesSource } from "../../core/job.ts";
import { nearestName } from "../../core/nearest-name.ts";
import { checkedWeight } from "../../core/sample-weight.ts";
import { sizeOf } from "../../core/transforms.ts";
import type { DescribedDataset, OpenOptions } from "../../ports/dataset.ts";
import { rowsOf } from "./array-dataset.ts";
import { byteLines, place, textOf } from "./byte-lines.ts";
import { ColumnReader } from "./column-reader.ts";
import { numbersOf, roomFor } from "./csv.ts";
import { isBlank } from "./csv-row.ts";
import { Dictionary } from "./dictionary.ts";
import { locate, readDataFile } from "./read-file.ts";

/** Lists in lists, at most; what is deeper is no sample. */
const maximumDimensions = 8;

interface Field {
  readonly name: string;
  /** Of one sample's value. */
  readonly shape: readonly number[];
  /** Null for a list of numbers. */
  readonly reader: ColumnReader | null;
}

interface Column {
  readonly fields: readonly Field[];
  /** Of all of them together. */
  readonly width: number;
  readonly values: Float32Array;
}

export async function openJsonLines(
  source: JsonLinesSource,
  baseDirectory: string,
  options: OpenOptions = {},
): Promise<DescribedDataset> {
  const file = locate(source.path, baseDirectory);
  return decodeJsonLines(file, await readDataFile(file), source, options);
}

export function decodeJsonLines(
  file: string,
  bytes: Buffer,
  source: JsonLinesSource,
  { dictionaries, group }: OpenOptions = {},
): DescribedDataset {
  const lines = byteLines(bytes);
  if (lines.length === 0) {
    throw new LockstepError("invalid-data", `The data file ${file} is empty; expected a JSON object in each line.`);
  }
  const objectIn = (line: number) => parsedObject(textOf(bytes, lines[line]!), place(file, line));
  const first = objectIn(0);
  const open = (names: readonly string[], isLabel: boolean) => {
    const fields = fieldsFor(source, names, isLabel, dictionaries ?? {}, first, place(file, 0));
    const width = fields.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    const isRead = fields.every(({ reader }) => reader === null || reader.kind === "number");
    // A number takes two bytes at least, so more than this are never read; what is wrong with the file is found before.
    const room =
      isRead && !fields.some(({ reader }) => reader?.mayBeMissing)
        ? Math.min(lines.length * width, bytes.length)
        : null;
    return { fields, width, values: room === null ? roomFor(file, lines.length, width) : new Float32Array(room) };
  };
  const [features, label] = [open(source.features, false), open([source.label], true)];
  const weight = source.weight === undefined ? null : new Float32Array(lines.length);
  const groups = group === undefined ? null : new Dictionary(null);
  const groupOf = new Uint32Array(groups === null ? 0 : lines.length);
  for (let line = 0; line < lines.length; line++) {
    const object = line === 0 ? first : objectIn(line);
    for (const { fields, width, values } of [features, label]) {
      readFields(object, fields, values, line * width, () => place(file, line));
    }
    if (weight) weight[line] = weightIn(object, source.weight!, place(file, line));
    if (groups !== null) groupOf[line] = groups.codeOf(groupText(object, group!, place(file, line)));
  }
  const { kind, columns, missing } = source;
  const settings = JSON.stringify({
    ...{ kind, features: source.features, label: source.label, columns, missing, weight: source.weight },
    ...{ group, dictionaries },
  });
  const final = groups?.finish().final ?? null;
  return {
    length: lines.length,
    digest: `sha256:${createHash("sha256").update(`${settings}\n`).update(bytes).digest("hex")}`,
    features: { shape: shapeOf(features, [features.width]) },
    label: { shape: shapeOf(label, []) },
    files: [file],
    columns: {
      features: columnsOf(features),
      label: columnsOf(label)[0]!, // one field
      ...(source.weight !== undefined && { weight: numbersOf(source.weight) }),
    },
    ...(final === null ? {} : { groups: groupOf.map((code) => final[code]!) }),
    read: (indices) => ({
      count: indices.length,
      features: rowsOf(features.values, features.width, lines.length, indices),
      label: rowsOf(label.values, label.width, lines.length, indices),
      ...(weight && { weight: rowsOf(weight, 1, lines.length, indices) }),
    }),
    labels: (indices) => rowsOf(label.values, label.width, lines.length, indices),
  };
}

function columnsOf({ fields, width, values }: Column): readonly DataColumn[] {
  let begin = 0;
  return fields.map(({ name, shape, reader }) => {
    begin += sizeOf(shape);
    return reader?.finish(values, begin - sizeOf(shape), width) ?? { name, type: "number", shape };
  });
}

/** A single list keeps its shape. */
function shapeOf({ fields }: Pick<Column, "fields">, otherwise: readonly number[]): readonly number[] {
  const [{ shape } = { shape: [] }] = fields;
  return fields.length === 1 && shape.length > 0 ? shape : otherwise;
}

/** What fields hold: as the job file says, or, of numbers, as the first line has them, where one may be missing that is no list. */
function fieldsFor(
  source: JsonLinesSource,
  names: readonly string[],
  isLabel: boolean,
  known: Dictionaries,
  first: object,
  where: string,
): readonly Field[] {
  const missing = source.missing ?? null;
  return names.map((name) => {
    const texts = Object.hasOwn(known, name) ? known[name]! : null;
    const reader = new ColumnReader({ name, kind: kindOf(source, name), missing, known: texts, isLabel });
    return fieldIn(first, reader, where);
  });
}

/** A list of numbers has the shape that it has in this object; what is none is for the reader. */
function fieldIn(object: object, reader: ColumnReader, where: string): Field {
  const { name, kind } = reader;
  const value = Object.hasOwn(object, name) || !reader.mayBeMissing ? fieldOf(object, name, where) : null;
  const shape = kind === "number" ? shapeIn(value, `${where}, "${name}"`) : [];
  return shape.length > 0 ? { name, shape, reader: null } : { name, shape: reader.shape, reader };
}

function readFields(
  object: object,
  fields: readonly Field[],
  values: Float32Array,
  begin: number,
  where: () => string,
): void {
  let at = begin;
  for (const { name, shape, reader } of fields) {
    const isThere = Object.hasOwn(object, name);
    const value: unknown = isThere || !reader?.mayBeMissing ? fieldOf(object, name, where()) : null;
    at =
      reader === null
        ? put(value, shape, 0, values, at, `${where()}, "${name}"`)
        : readOne(value, reader, values, at, where, () => `${where()}, "${name}"`);
  }
}

/**
 * Reads a JSON value as one of a column, whoever writes it, and returns where the next one goes. Texts as they are; of a category, numbers
 * and booleans by their JSON. `here`: the value's place, for messages; `where`: its line.
 */
export function readOne(
  value: unknown,
  reader: ColumnReader,
  values: Float32Array,
  at: number,
  where: () => string,
  here: () => string,
): number {
  const { name, kind, width } = reader;
  if (value === null && reader.mayBeMissing) reader.readMissing(values, at, here);
  else if (kind === "number") {
    if (typeof value === "string" && reader.isMissing(value)) reader.readMissing(values, at, here);
    else values[at] = numberOf(value, here(), name);
  } else if (typeof value === "string") reader.readText(value, values, at, where);
  else if (kind === "category" && (typeof value === "number" || typeof value === "boolean")) {
    reader.readText(String(value), values, at, where);
  } else {
    throw new LockstepError("invalid-data", `${here()} is ${shortened(value)}; expected a text.`, {
      hint:
        value === null
          ? 'Say that values may be missing, missing: [""], or leave such samples out.'
          : "A category is a text, a number, true or false; a column of words or characters is a text.",
    });
  }
  return at + width;
}

function weightIn(object: object, name: string, where: string): number {
  const value = fieldOf(object, name, where);
  return checkedWeight(
    value,
    () => `${where}, "${name}"`,
    () => shortened(value),
  );
}

function groupText(object: object, name: string, where: string): string {
  const value = fieldOf(object, name, where);
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return String(value);
  throw new LockstepError(
    "invalid-data",
    `${where}, "${name}" is ${shortened(value)}; expected a text or number, by which validation.column groups.`,
  );
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
    values[at] = numberOf(value, where, null);
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

/** `name`: the field's, where it is a number by itself. */
export function numberOf(value: unknown, where: string, name: string | null): number {
  const number =
    typeof value === "boolean" ? Number(value) : typeof value === "number" ? Math.fround(value) : Number.NaN;
  if (Number.isFinite(number)) return number;
  throw new LockstepError("invalid-data", `${where} is ${shortened(value)}; expected a finite number.`, {
    hint:
      value === null
        ? 'Leave out such samples; or fill in missing values, by preprocess: { features: impute("median") }.'
        : typeof value === "string" && name !== null
          ? `If the field holds texts, say so: columns: { ${JSON.stringify(name)}: "category" }.`
          : "All values of a field are numbers, or lists of one shape.",
  });
}

/** Reads the features of single objects in the same way, for a model that is used. `readers`: of the features, for all of the objects. */
export function featuresReader(readers: readonly ColumnReader[]) {
  return (object: object, width: number, into: Float32Array, where: string): void => {
    const fields = readers.map((reader) => fieldIn(object, reader, where));
    const has = fields.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    if (has !== width) {
      throw new LockstepError("invalid-data", `${where} has ${has} values; the model takes ${width}.`);
    }
    readFields(object, fields, into, 0, () => where);
  };
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
