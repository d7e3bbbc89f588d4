/**
 * Checks of single fields of something that a person wrote. Each names the field by its path
 * (`compile.optimizer.learningRate`), shows the value as written and says what was expected.
 */
import { LockstepError } from "./errors.ts";
import { nearestName } from "./nearest-name.ts";

/** Returns the value in its type, or throws "invalid-job". */
export type Check<T> = (value: unknown, path: string) => T;

/** A numeric range in numbers and in words, so that the two cannot drift apart at the place of use. */
export interface Range {
  readonly words: string;
  readonly contains: (value: number) => boolean;
}

export const positive: Range = { words: "a number above 0", contains: (value) => value > 0 };
export const notNegative: Range = { words: "a number, 0 or more", contains: (value) => value >= 0 };
export const notZero: Range = { words: "a number other than 0", contains: (value) => value !== 0 };
export const betweenZeroAndOne: Range = {
  words: "a number above 0 and below 1",
  contains: (value) => value > 0 && value < 1,
};
export const fromZeroToBelowOne: Range = {
  words: "a number from 0 to below 1",
  contains: (value) => value >= 0 && value < 1,
};

export function wrongField(path: string, value: unknown, expected: string, hint?: string): LockstepError {
  const what = value === undefined ? `${path} is missing` : `${path} is ${written(value)}`;
  return new LockstepError("invalid-job", `${what}; expected ${expected}.`, hint === undefined ? {} : { hint });
}

export function finiteNumber(range: Range): Check<number> {
  return (value, path) => {
    if (typeof value === "number" && Number.isFinite(value) && range.contains(value)) return value;
    throw wrongField(path, value, range.words, unquoted(value));
  };
}

export function wholeNumber(minimum: number, maximum = Number.MAX_SAFE_INTEGER): Check<number> {
  const limit = maximum === Number.MAX_SAFE_INTEGER ? `${minimum} or more` : `from ${minimum} to ${maximum}`;
  return (value, path) => {
    if (typeof value === "number" && Number.isInteger(value) && value >= minimum && value <= maximum) return value;
    throw wrongField(path, value, `a whole number, ${limit}`, unquoted(value));
  };
}

export const flag: Check<boolean> = (value, path) => {
  if (typeof value === "boolean") return value;
  throw wrongField(path, value, "true or false");
};

export function filledText(what: string): Check<string> {
  return (value, path) => {
    if (typeof value === "string" && value.trim() !== "") return value;
    throw wrongField(path, value, what);
  };
}

/** One or more names, all different; `what` they are of, in one word. */
export function nameList(what: string): Check<readonly string[]> {
  return (value, path) => {
    const example = typeof value === "string" ? `Write [${written(value)}].` : undefined;
    if (!Array.isArray(value) || value.length === 0) {
      throw wrongField(path, value, `a list of one or more names of ${what}s`, example);
    }
    return value.map((item, index) => {
      if (value.indexOf(item) < index) throw wrongField(`${path}[${index}]`, item, `each ${what} once`);
      return filledText(`the name of a ${what}`)(item, `${path}[${index}]`);
    });
  };
}

/** The shape of one sample's values; `expected` says how it is written. */
export function shapeOf(expected: string): Check<readonly number[]> {
  return (value, path) => {
    if (!Array.isArray(value)) throw wrongField(path, value, expected);
    return value.map((size, index) => wholeNumber(1)(size, `${path}[${index}]`));
  };
}

/** One of a closed set of names; `aliases` maps other tools' names to ours, for the hint only. */
export function oneOf<Name extends string>(
  names: readonly Name[],
  aliases: Readonly<Record<string, string>> = {},
): Check<Name> {
  return (value, path) => {
    const found = names.find((name) => name === value);
    if (found !== undefined) return found;
    const meant = typeof value === "string" ? (aliases[value] ?? nearestName(value, names)) : null;
    throw wrongField(path, value, listed(names), meant === null ? undefined : `Did you mean ${written(meant)}?`);
  };
}

/** The fields of a plain object all of whose names are known. Fields that are `undefined` count as left out. */
export function fieldsOf(
  value: unknown,
  path: string,
  names: readonly string[],
  expected: string,
  hintFor: (unknownName: string) => string | null = () => null,
): Readonly<Record<string, unknown>> {
  if (!isPlainObject(value)) throw wrongField(path, value, expected);
  for (const name of Object.keys(value)) {
    if (names.includes(name)) continue;
    const where = path === "" ? "a job" : path;
    const meant = nearestName(name, names);
    throw new LockstepError("invalid-job", `${joined(path, name)} is not a field that ${where} has.`, {
      hint: meant === null ? (hintFor(name) ?? `Its fields are ${names.join(", ")}.`) : `Did you mean "${meant}"?`,
    });
  }
  return value;
}

export function optional<T>(value: unknown, path: string, check: Check<T>): T | undefined {
  return value === undefined ? undefined : check(value, path);
}

export function joined(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

/** `"a", "b" or "c"`. */
export function listed(names: readonly string[], conjunction = "or"): string {
  const quoted = names.map((name) => JSON.stringify(name)); // a tab would not be seen
  const last = quoted.pop() ?? "nothing";
  return quoted.length === 0 ? last : `${quoted.join(", ")} ${conjunction} ${last}`;
}

export function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  // A module namespace has no prototype; an object from another realm has another Object's.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

const longestWritten = 60;

/** A value as its author would recognize it, on one line. */
export function written(value: unknown): string {
  switch (typeof value) {
    case "string":
      return shortened(JSON.stringify(value));
    case "number":
      return Object.is(value, -0) ? "-0" : String(value);
    case "bigint":
      return `${value}n`;
    case "function":
      return value.name === "" ? "a function" : `the function ${value.name}`;
    case "object":
      return value === null ? "null" : shortened(writtenObject(value));
    default:
      return String(value);
  }
}

function writtenObject(value: object): string {
  if (Array.isArray(value)) return `[${value.map((item) => writtenInside(item)).join(", ")}]`;
  if (!isPlainObject(value)) return `an object of class ${value.constructor.name}`;
  const fields = Object.entries(value).map(([name, item]) => `${name}: ${writtenInside(item)}`);
  return fields.length === 0 ? "{}" : `{ ${fields.join(", ")} }`;
}

function writtenInside(value: unknown): string {
  if (Array.isArray(value)) return "[…]";
  return isPlainObject(value) ? "{…}" : written(value);
}

function shortened(text: string): string {
  return text.length <= longestWritten ? text : `${text.slice(0, longestWritten - 1)}…`;
}

function unquoted(value: unknown): string | undefined {
  if (typeof value !== "string" || value.trim() === "" || Number.isNaN(Number(value))) return undefined;
  return `Write the number without quotes: ${value.trim()}.`;
}
