/** JSON lines: an object a line, whose named fields are numbers, booleans, lists of numbers of one shape, categories or texts. */
import { type Dictionaries, kindOf, labelNames } from "../../core/columns.ts";
import { LockstepError } from "../../core/errors.ts";
import type { JsonLinesSource } from "../../core/job.ts";
import { nearestName } from "../../core/nearest-name.ts";
import { checkedWeight } from "../../core/sample-weight.ts";
import { sizeOf } from "../../core/transforms.ts";
import type { OpenOptions } from "../../ports/dataset.ts";
import { place, textOf } from "./byte-lines.ts";
import { ColumnReader, type FinishedColumn } from "./column-reader.ts";
import { numbersOf } from "./csv.ts";
import { isBlank } from "./csv-row.ts";
import type { RecordParser, TextFormat } from "./text-table.ts";

/** Lists in lists, at most; what is deeper is no sample. */
const maximumDimensions = 8;

interface Field {
  readonly name: string;
  /** Of one sample's value. */
  readonly shape: readonly number[];
  /** Null for a list of numbers. */
  readonly reader: ColumnReader | null;
}

export function jsonLinesFormat(source: JsonLinesSource, options: OpenOptions): TextFormat {
  const { kind, features, label, columns, missing, weight } = source;
  const { group, dictionaries, isOther = false } = options;
  return {
    separator: null,
    hasHeader: false,
    expected: "a JSON object in each line",
    settings: { kind, features, label, columns, missing, weight, group, dictionaries },
    isOther,
    isGrouped: group !== undefined,
    label,
    open: (file, first) => openObjects(file, first, source, options),
  };
}

function openObjects(
  firstFile: string,
  first: string,
  source: JsonLinesSource,
  { dictionaries = {}, group }: OpenOptions,
): RecordParser {
  const firstPlace = place(firstFile, 0);
  const object = parsedObject(first, firstPlace);
  const open = (names: readonly string[], isLabel: boolean) =>
    fieldsFor(source, names, isLabel, dictionaries, object, firstPlace);
  const [features, labels] = [open(source.features, false), open(labelNames(source.label), true)];
  const [width, labelWidth] = [widthOf(features), widthOf(labels)];
  const { weight } = source;
  const labelPlace = width + Number(weight !== undefined);
  return {
    form: {
      features: shapeOf(features, [width]),
      isWeighted: weight !== undefined,
      label: typeof source.label === "string" ? labels[0]!.shape : [labelWidth],
    },
    compareHeader() {},
    read(file, bytes, record, values, begin) {
      const where = () => place(file, record.line);
      const object = parsedObject(textOf(bytes, record), where());
      const like = file === firstFile ? "line 1" : firstPlace;
      readFields(object, features, values, begin, where, like);
      readFields(object, labels, values, begin + labelPlace, where, like);
      if (weight !== undefined) values[begin + width] = weightIn(object, weight, where());
      return group === undefined ? null : groupText(object, group, where());
    },
    finish: () => ({
      features: features.map(finished),
      labels: labels.map(finished),
      ...(weight !== undefined && { weight: numbersOf(weight) }),
    }),
  };
}

function finished({ name, shape, reader }: Field): FinishedColumn {
  return reader?.finish() ?? { column: { name, type: "number", shape }, final: null };
}

function widthOf(fields: readonly Field[]): number {
  return fields.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

/** A single list keeps its shape. */
function shapeOf(fields: readonly Field[], otherwise: readonly number[]): readonly number[] {
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

/** `like`: the line that says the shapes. */
function readFields(
  object: object,
  fields: readonly Field[],
  values: Float32Array,
  begin: number,
  where: () => string,
  like: string,
): void {
  let at = begin;
  for (const { name, shape, reader } of fields) {
    const isThere = Object.hasOwn(object, name);
    const value: unknown = isThere || !reader?.mayBeMissing ? fieldOf(object, name, where()) : null;
    at =
      reader === null
        ? put(value, shape, 0, values, at, `${where()}, "${name}"`, like)
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
  like: string,
): number {
  if (axis === shape.length) {
    values[at] = numberOf(value, where, null);
    return at + 1;
  }
  if (!Array.isArray(value) || value.length !== shape[axis]) {
    const has = Array.isArray(value) ? `has ${value.length} values` : `is ${shortened(value)}`;
    const shown = shape.slice(axis).join(" × ");
    throw new LockstepError("invalid-data", `${where} ${has}; expected a list of ${shown}, as in ${like}.`, {
      hint: "All samples have one shape: pad or cut them before training.",
    });
  }
  let next = at;
  for (let i = 0; i < value.length; i++) {
    next = put(value[i], shape, axis + 1, values, next, `${where}[${i}]`, like);
  }
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
    readFields(object, fields, into, 0, () => where, where);
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
