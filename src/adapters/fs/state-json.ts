import { LockstepError } from "../../core/errors.ts";

/*
 * JSON that loses nothing. The state that training resumes from must come back as it was, and plain JSON turns NaN and
 * the infinities into null, −0 into 0, and leaves out what it cannot say. Those numbers are written as
 * {"$number":"NaN"}; everything else that JSON cannot hold is refused.
 */
const numberKey = "$number";

/** Writes null, booleans, numbers, texts, lists and plain records of such. Fails on anything else, with its path. */
export function encodeState(state: unknown): string {
  return JSON.stringify(encodable(state, "state"));
}

/** Reads what `encodeState` wrote; fails with a SyntaxError on what is not JSON. */
export function decodeState(text: string): unknown {
  return JSON.parse(text, (_key, value: unknown) => {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, numberKey)) return value;
    return Number(Reflect.get(value, numberKey));
  });
}

function encodable(value: unknown, path: string): unknown {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "number") {
    if (Object.is(value, -0)) return { [numberKey]: "-0" };
    return Number.isFinite(value) ? value : { [numberKey]: String(value) };
  }
  // Not `map`, which would pass over the holes of a list.
  if (Array.isArray(value)) return Array.from(value, (item, index) => encodable(item, `${path}[${index}]`));
  if (isPlainRecord(value) && !Object.hasOwn(value, numberKey)) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, encodable(item, `${path}.${key}`)]));
  }
  throw new LockstepError("internal", `A checkpoint cannot hold ${path}: it is ${nameOf(value)}.`, {
    hint: "Only null, booleans, numbers, texts, lists and plain records come back from JSON as they were.",
  });
}

function isPlainRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function nameOf(value: unknown): string {
  if (typeof value !== "object" || value === null) return typeof value;
  return isPlainRecord(value) ? `a record with the reserved key "${numberKey}"` : `a ${value.constructor.name}`;
}
