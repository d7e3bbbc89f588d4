/**
 * What is said beside a job file of what is in it: `--set batchSize=64` is written into one of its fields, and `--param units=64`
 * is given to the function that makes the job. Both are kept as they were typed, by name, and read anew in every process: so
 * all of them come to the same job.
 */
import { LockstepError } from "./errors.ts";
import { joined, wrongField, written } from "./field-checks.ts";
import type { Fingerprint } from "./fingerprint.ts";
import { decodeJson, encodeJson } from "./json.ts";
import { nearestName } from "./nearest-name.ts";

export interface JobSettings {
  /** By the field's path, as "compile.optimizer.learningRate". */
  readonly set: Readonly<Record<string, string>>;
  /** By the parameter's name. */
  readonly params: Readonly<Record<string, string>>;
}

export const noSettings: JobSettings = { set: {}, params: {} };

export type ParamValue = number | string | boolean;
export type ParamValues = Readonly<Record<string, ParamValue>>;

/** Of the values of defaults, their types: 256 is a number, and true may become false. */
export type Params<Defaults extends ParamValues> = {
  readonly [Name in keyof Defaults]: Defaults[Name] extends number
    ? number
    : Defaults[Name] extends boolean
      ? boolean
      : string;
};

/** What `--set` and `--param` were given, each "NAME=VALUE"; said twice, the second counts. "usage": no such form. */
export function parseSettings(set: readonly string[], params: readonly string[]): JobSettings {
  return { set: pairsOf("set", "FIELD", set), params: pairsOf("param", "NAME", params) };
}

function pairsOf(option: string, what: string, words: readonly string[]): Readonly<Record<string, string>> {
  const pairs = words.map((word) => {
    const at = word.indexOf("=");
    if (at > 0) return [word.slice(0, at), word.slice(at + 1)] as const;
    throw new LockstepError("usage", `--${option} is ${JSON.stringify(word)}; ${what}=VALUE was expected.`, {
      hint: option === "set" ? "As in --set batchSize=64." : "As in --param units=64.",
    });
  });
  return Object.fromEntries(pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

/** The words that say the same again. */
export function settingsWords({ set, params }: JobSettings): string[] {
  const wordsOf = (option: string, values: Readonly<Record<string, string>>) =>
    Object.entries(values).flatMap(([name, value]) => [option, `${name}=${value}`]);
  return [...wordsOf("--set", set), ...wordsOf("--param", params)];
}

/** For people: "batchSize=64 units=32"; null where nothing was said. */
export function settingsText(settings: JobSettings | undefined): string | null {
  if (settings === undefined || hasNone(settings)) return null;
  return settingsWords(settings)
    .filter((_, i) => i % 2 === 1)
    .join(" ");
}

export function hasNone({ set, params }: JobSettings): boolean {
  return Object.keys(set).length + Object.keys(params).length === 0;
}

export function areSameSettings(one: JobSettings, other: JobSettings): boolean {
  return encodeJson({ set: one.set, params: one.params }) === encodeJson({ set: other.set, params: other.params });
}

const toldField = "told.settings";

/** What a fingerprint, and with it every checkpoint, tells of the settings: a field, or none where there is nothing to tell. */
export function toldSettings(settings: JobSettings): Fingerprint {
  return hasNone(settings) ? {} : { [toldField]: encodeJson(settings) };
}

/** The settings that a fingerprint tells of. */
export function settingsIn(fingerprint: Fingerprint): JobSettings {
  const told = fingerprint[toldField];
  return told === undefined ? noSettings : decodeJson<JobSettings>(told);
}

/** What to do about a start that is refused as its settings are not those of the run; null where they are. */
export function settingsHint(run: JobSettings | undefined, now: JobSettings): string | null {
  if (areSameSettings(run ?? noSettings, now)) return null;
  const words = settingsWords(run ?? noSettings).join(" ");
  return words === ""
    ? "The run was started without --set and --param: leave them out"
    : `The run was started with ${words}: give that again`;
}

/**
 * The definition with each `set` written into its field, made where it is not there. Text stays text where the field holds text;
 * else it is read as JSON, where it is JSON. What the fields take is checked afterwards, with all others.
 */
export function withFields(definition: Readonly<Record<string, unknown>>, set: JobSettings["set"]): unknown {
  return Object.entries(set).reduce<unknown>((job, [path, text]) => {
    if (path === "name") {
      throw new LockstepError("usage", `--set name=${text}: the name of a job is no field to set.`, {
        hint: `Write --job ${text}.`,
      });
    }
    return withField(job, "", path.split("."), text);
  }, definition);
}

function withField(value: unknown, above: string, [name, ...rest]: readonly string[], text: string): unknown {
  if (name === undefined) return typeof value === "string" ? text : readValue(text);
  const path = joined(above, name);
  if (Array.isArray(value)) {
    const index = Number(name);
    if (!/^\d+$/.test(name) || index >= value.length) {
      throw wrongField(
        above,
        value,
        `an index from 0 to ${value.length - 1} after "${above}.", instead of ${written(name)}`,
      );
    }
    return value.with(index, withField(value[index], path, rest, text));
  }
  const fields = value === undefined ? {} : value;
  if (typeof fields !== "object" || fields === null) {
    throw new LockstepError("invalid-job", `--set ${path}: ${above} is ${written(value)}, which has no fields.`, {
      hint: `Set ${above} itself, as --set ${above}=VALUE; JSON will do.`,
    });
  }
  const before = Object.hasOwn(fields, name) ? (fields as Record<string, unknown>)[name] : undefined; // an object: see above
  return { ...fields, [name]: withField(before, path, rest, text) };
}

function readValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The parameters with what was given instead of their defaults, each read as what its default is. "usage": no such one. */
export function paramsOf(defaults: ParamValues, given: JobSettings["params"]): ParamValues {
  const names = Object.keys(defaults);
  for (const name of Object.keys(given)) {
    if (Object.hasOwn(defaults, name)) continue;
    const near = nearestName(name, names);
    throw new LockstepError("usage", `--param ${name}: the job has no parameter of this name.`, {
      hint:
        near !== null
          ? `Did you mean ${near}?`
          : names.length > 0
            ? `It has ${names.join(", ")}.`
            : "It has none: write defineJob({ units: 256 }, ({ units }) => ({ … })) in the job file.",
    });
  }
  const values = Object.entries(defaults).map(([name, value]) => {
    const text = given[name];
    return [name, text === undefined ? value : paramOf(name, value, text)] as const;
  });
  return Object.fromEntries(values);
}

function paramOf(name: string, fallback: ParamValue, text: string): ParamValue {
  if (typeof fallback === "string") return text;
  if (typeof fallback === "boolean") {
    if (text === "true" || text === "false") return text === "true";
    throw new LockstepError("usage", `--param ${name} is ${JSON.stringify(text)}; true or false was expected.`);
  }
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new LockstepError(
    "usage",
    `--param ${name} is ${JSON.stringify(text)}; a number was expected, as its default ${fallback} is.`,
  );
}
