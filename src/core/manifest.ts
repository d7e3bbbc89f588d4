import type { Opening } from "./origin.ts";
import { LockstepError, type LockstepErrorOptions } from "./errors.ts";

/**
 * A checkpoint's description: what it holds, of which state, written by whom under which right. It is written last,
 * so a checkpoint without a manifest does not exist.
 */
export interface Manifest {
  readonly formatVersion: 1;
  readonly id: string;
  readonly job: string;
  /** Names one start of training from scratch; resumed runs keep it. */
  readonly run: string;
  /** The order of states is (lineage, era, step), and then that of epochs: see state-order.ts. */
  readonly lineage: number;
  readonly era: number;
  readonly step: number;
  /** Completed epochs, and steps done in the one after. */
  readonly epoch: number;
  readonly stepInEpoch: number;
  readonly generation: number;
  /** The create revision of the leadership key under which this was written. */
  readonly fencingToken: number;
  /** "sha256:…" of weights, optimizer slots and the rest of the state; what the whole generation agreed on. */
  readonly stateDigest: string;
  /** "sha256:…" over the weights' little-endian bytes in the model's order. */
  readonly weightsDigest: string;
  /** The cluster fingerprint: what had to be equal on every node. */
  readonly fingerprint: Readonly<Record<string, string>>;
  /** Why the weights are only equivalent to those of an undisturbed run; empty while they are bit-exact. */
  readonly equivalences: readonly string[];
  /** Lineages and eras that were opened on the way here, and why; oldest first, without the first. */
  readonly openings: readonly Opening[];
  /** The worker ids of the generation, in rank order. */
  readonly members: readonly string[];
  /** The metrics of the epoch that ended at this step, by name; null in the middle of an epoch. */
  readonly metrics: Readonly<Record<string, number>> | null;
  /** Wall-clock time of writing, for people; no decision is made by it. */
  readonly writtenAt: string;
  readonly files: readonly ManifestFile[];
}

export interface ManifestFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** Of all files together. */
export function contentBytes({ files }: Pick<Manifest, "files">): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** What is wrong with a checkpoint, or with the place where it should be; callers decide by this. */
export type CheckpointProblem =
  /** It, or a part of it, is not there: never written, not whole yet, deleted, or not visible from here. */
  | "missing"
  /** It is not published: it never was, or is not kept any more. */
  | "not-published"
  /** The storage did not let it be read. It may be whole. */
  | "unreadable"
  /** It was read to the end, and what was read is not what was written. */
  | "corrupt"
  /** The storage did not let it be written or deleted. */
  | "unwritable";

/** A checkpoint that cannot be used or made. Its code is "corrupt-checkpoint" when, and only when, it is corrupt. */
export class CheckpointError extends LockstepError {
  readonly problem: CheckpointProblem;

  constructor(problem: CheckpointProblem, message: string, options: LockstepErrorOptions = {}) {
    super(problem === "corrupt" ? "corrupt-checkpoint" : "internal", message, options);
    this.problem = problem;
  }
}

/**
 * Whether a checkpoint or one of its files can have this name: 1 to 128 letters, digits, ".", "_" and "-", beginning
 * with a letter or digit, without "..". So a name is never a path, nor hidden, nor that of a staging folder.
 */
export function isPlainName(name: unknown): name is string {
  return typeof name === "string" && /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(name) && !name.includes("..");
}

/**
 * The text of a manifest: equal manifests give equal text, so its SHA-256 names them. JSON with fixed order of fields,
 * records sorted by key, "NaN", "Infinity", "-Infinity" and "-0" as strings. The last field is the CRC-32 of all text
 * before it, so that a manifest can be checked where nothing else knows its hash.
 */
export function serializeManifest(manifest: Manifest): string {
  const ordered = Object.fromEntries(fieldNames.map((name) => [name, written(name, manifest)]));
  const body = JSON.stringify(ordered, null, 2).slice(0, -"\n}".length);
  return `${body},\n  "crc32": "${crc32(body)}"\n}\n`;
}

/**
 * Reads what `serializeManifest` wrote, and nothing else: whatever has another checksum, another form or a field
 * outside its bounds is "corrupt-checkpoint"; what a newer lockstep wrote is "incompatible".
 */
export function parseManifest(text: string): Manifest {
  const seal = /,\n {2}"crc32": "([0-9a-f]{8})"\n\}\n$/.exec(text);
  if (seal === null) throw corrupt("it does not end with its checksum; it is cut off, or not lockstep's");
  const sum = crc32(text.slice(0, seal.index));
  if (sum !== seal[1]) throw corrupt(`its text has the checksum ${sum}, and ${seal[1]} was written`);

  const value = parseObject(text);
  refuseNewerFormat(value.formatVersion);
  const problem = manifestProblem(value);
  if (problem !== null) throw corrupt(problem);
  const { crc32: _, ...described } = value;
  // Every field was checked by `manifestProblem`; the metrics' numbers are still in their written form.
  const manifest = { ...described, metrics: readNumbers(value.metrics) } as unknown as Manifest;
  // Finds fields that are unknown or doubled, and makes sure that text and manifest have one and the same hash.
  if (serializeManifest(manifest) !== text) throw corrupt("it is not in the form in which format version 1 is written");
  return manifest;
}

/**
 * What keeps `value` from being the manifest of a checkpoint, as a sentence's end with the field, its value and what
 * was expected; null if nothing does.
 */
export function manifestProblem(value: object): string | null {
  for (const name of fieldNames) {
    const found: unknown = Reflect.get(value, name);
    const { accepts, expected } = fields[name];
    if (!accepts(found)) return `"${name}" is ${shown(found)}; expected ${expected}`;
  }
  return null;
}

interface Field {
  readonly expected: string;
  readonly accepts: (value: unknown) => boolean;
}

const count: Field = {
  expected: "a whole number from 0 to 2^53 - 1",
  accepts: (value) => Number.isSafeInteger(value) && Number(value) >= 0,
};
const words: Field = {
  expected: "text of 1 to 1,000 characters",
  accepts: (value) => typeof value === "string" && value.length >= 1 && value.length <= 1000,
};
const digest: Field = {
  expected: '"sha256:" and 64 hexadecimal digits',
  accepts: (value) => typeof value === "string" && /^sha256:[0-9a-f]{64}$/.test(value),
};

/** One entry a field, in the order in which they are written. */
const fields: { readonly [Name in keyof Manifest]: Field } = {
  formatVersion: { expected: "1", accepts: (value) => value === 1 },
  id: { expected: 'a name of letters, digits, ".", "_" and "-"', accepts: isPlainName },
  job: words,
  run: words,
  lineage: count,
  era: count,
  step: count,
  epoch: count,
  stepInEpoch: count,
  generation: count,
  fencingToken: count,
  stateDigest: digest,
  weightsDigest: digest,
  fingerprint: {
    expected: "texts by name",
    accepts: (value) => isRecord(value) && Object.values(value).every((text) => typeof text === "string"),
  },
  equivalences: {
    expected: "a list of reasons",
    accepts: (value) => Array.isArray(value) && value.every((reason) => typeof reason === "string"),
  },
  openings: {
    expected: "a list of the beginnings of lineages",
    accepts: (value) => Array.isArray(value) && value.every(isOpening),
  },
  members: {
    expected: "a list of worker ids",
    accepts: (value) => Array.isArray(value) && value.every(words.accepts),
  },
  metrics: {
    expected: "null, or numbers by name",
    accepts: (value) => value === null || (isRecord(value) && Object.values(value).every(isWrittenNumber)),
  },
  writtenAt: {
    expected: 'a time such as "2025-01-31T12:00:00.000Z"',
    accepts: (value) => typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(value),
  },
  files: {
    expected:
      'a list of files: different names of letters, digits, ".", "_" and "-" without "..", ' +
      "whole sizes in bytes, and 64 hexadecimal digits of SHA-256",
    accepts: (value) =>
      Array.isArray(value) && value.every(isFile) && new Set(value.map((file) => file.name)).size === value.length,
  },
};
// The table's type has exactly the manifest's fields as keys.
const fieldNames = Object.keys(fields) as (keyof Manifest)[];

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isOpening(value: unknown): value is Opening {
  return (
    isRecord(value) &&
    Object.keys(value).length === 5 &&
    [value.lineage, value.era, value.step].every(count.accepts) &&
    (value.checkpoint === null || isPlainName(value.checkpoint)) &&
    words.accepts(value.reason)
  );
}

function isFile(value: unknown): value is ManifestFile {
  return (
    isRecord(value) &&
    isPlainName(value.name) &&
    count.accepts(value.sizeBytes) &&
    typeof value.sha256 === "string" &&
    /^[0-9a-f]{64}$/.test(value.sha256)
  );
}

/** A field in its written form: stable order inside, and nothing that JSON would lose. */
function written(name: keyof Manifest, manifest: Manifest): unknown {
  if (name === "files") return manifest.files.map(({ name, sizeBytes, sha256 }) => ({ name, sizeBytes, sha256 }));
  if (name === "openings") {
    return manifest.openings.map(({ lineage, era, step, checkpoint, reason }) => ({
      ...{ lineage, era, step, checkpoint, reason },
    }));
  }
  if (name === "fingerprint") return sortedByKey(manifest.fingerprint, (text) => text);
  if (name === "metrics" && manifest.metrics !== null) return sortedByKey(manifest.metrics, writeNumber);
  return manifest[name];
}

function sortedByKey<T>(record: Readonly<Record<string, T>>, write: (value: T) => unknown): Record<string, unknown> {
  const keys = Object.keys(record).sort();
  return Object.fromEntries(keys.map((key) => [key, write(record[key]!)]));
}

const unwritableNumbers = ["NaN", "Infinity", "-Infinity", "-0"];

/** JSON has no NaN and no infinities, and writes −0 as 0. */
function writeNumber(value: number): number | string {
  if (Object.is(value, -0)) return "-0";
  return Number.isFinite(value) ? value : String(value);
}

function isWrittenNumber(value: unknown): value is number | string {
  return typeof value === "number" || (typeof value === "string" && unwritableNumbers.includes(value));
}

function readNumbers(metrics: unknown): Record<string, number> | null {
  if (!isRecord(metrics)) return null;
  return Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name, Number(value)]));
}

function parseObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw corrupt("it is not JSON", cause);
  }
  if (!isRecord(value)) throw corrupt("it is not a JSON object");
  return value;
}

function refuseNewerFormat(formatVersion: unknown): void {
  if (!Number.isSafeInteger(formatVersion) || Number(formatVersion) <= 1) return;
  throw new LockstepError(
    "incompatible",
    `The checkpoint has format version ${formatVersion}, and this lockstep reads version 1: a newer lockstep wrote it.`,
    { hint: "Run the lockstep that wrote it, or a newer one." },
  );
}

function corrupt(problem: string, cause?: unknown): CheckpointError {
  return new CheckpointError("corrupt", `A checkpoint's manifest is not what was written: ${problem}.`, { cause });
}

function shown(value: unknown): string {
  if (value === undefined) return "absent";
  const text = typeof value === "number" ? String(value) : JSON.stringify(value);
  return text.length <= 200 ? text : `${text.slice(0, 200)}…`;
}

/** CRC-32 (ISO 3309) of the text's UTF-8 bytes, as 8 hexadecimal digits. Finds every single flipped bit. */
function crc32(text: string): string {
  let crc = 0xffffffff;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (~crc >>> 0).toString(16).padStart(8, "0");
}
