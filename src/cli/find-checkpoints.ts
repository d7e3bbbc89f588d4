/** Finds the checkpoints that a command is about, and what etcd says of them, from as little as the user says. */
import { existsSync, readdirSync } from "node:fs";
import { extname, join, resolve } from "node:path";
import { jobExtensions, loadJob } from "../adapters/job-file/load-job.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { createLog } from "../adapters/system/log.ts";
import { runningJobs } from "../adapters/system/run-registry.ts";
import { idsMeant } from "../core/checkpoint-id.ts";
import { LockstepError } from "../core/errors.ts";
import { nearestNames } from "../core/nearest-name.ts";
import { failureBudget } from "../core/failure-budget.ts";
import { keysOf } from "../core/keys.ts";
import { formatDuration } from "../core/number-format.ts";
import type { CheckpointContent, CheckpointStorage, StoredCheckpoint } from "../ports/checkpoint-storage.ts";
import type { Log, LogFields } from "../ports/log.ts";
import { withReaderPin } from "../runtime/pins.ts";
import { type RunCheckpoints, readCheckpoints } from "../runtime/read-checkpoints.ts";
import type { Arguments, Option } from "./command.ts";
import { etcdOfJob, withEtcdOf } from "./etcd-of-job.ts";
import { fullPlace, openStorage, placeOf } from "./open-storage.ts";

/** The options that say which checkpoints are meant. */
export const whichCheckpoints = {
  checkpoints: {
    value: "DIR|URL",
    help: "where they are; alone, without asking etcd (default: where the run has them)",
  },
  job: { value: "NAME", help: "the job's name (default: the one in the job file, or the only one in runs/)" },
  ...etcdOfJob,
  run: { value: "N", help: "which run of the job (default: the one that was trained last)" },
} satisfies Record<string, Option>;

export interface FoundCheckpoints {
  readonly storage: CheckpointStorage;
  /** Loads and verifies one, which nobody deletes meanwhile. */
  load(id: string): Promise<CheckpointContent>;
  /** For people. */
  readonly location: string;
  /** Null where etcd was not asked, or has nothing of the run. */
  readonly etcd: RunCheckpoints | null;
  /** How to come by what etcd says, where it says nothing. */
  readonly etcdHint: string;
  /** Whole ones of the run, oldest first; of all runs in that place where etcd is unknown. */
  readonly stored: readonly StoredCheckpoint[];
  /** Those whose manifest is corrupt, so that nobody knows of which run they are; and why, as a sentence. */
  readonly corrupt: ReadonlyMap<string, string>;
}

/** The job file and the checkpoints among the words of a command, in any order. */
export function wordsOf(args: Arguments): { readonly jobFile: string | null; readonly ids: readonly string[] } {
  const isFile = (word: string) => jobExtensions.includes(extname(word)) && !/-step-\d+-/.test(word);
  const files = args.words.filter(isFile);
  if (files.length > 1) {
    throw new LockstepError("usage", `Two job files were given, ${files[0]} and ${files[1]}; one was expected.`);
  }
  return { jobFile: files[0] ?? null, ids: args.words.filter((word) => !isFile(word)) };
}

/** Says on standard error what it could not find out. */
export async function findCheckpoints(args: Arguments, jobFile: string | null): Promise<FoundCheckpoints> {
  const place = args.text("checkpoints");
  const { etcd, found, isAsked } = await askEtcd(args, jobFile);
  const etcdHint = isAsked
    ? "Launch the job: a start writes down again what etcd has lost."
    : "Name the job with --job, or its etcd with --etcd.";
  const pointer = etcd?.pointers.latest ?? etcd?.pointers.best;
  const location = place ?? (pointer ? placeOf(pointer) : found);
  if (location === null) {
    throw new LockstepError("usage", `Run ${etcd?.record.run} of "${etcd?.record.job}" has no checkpoint yet.`);
  }
  const corrupt = new Map<string, string>();
  const storage = await openStorage(location, collecting(corrupt));
  const listed = await storage.list();
  const isOfRun = ({ manifest: { job, run } }: StoredCheckpoint) =>
    etcd === null || (job === etcd.record.job && run === String(etcd.record.run));
  const stored = listed.filter(isOfRun);
  if (stored.length === 0 && corrupt.size === 0 && !pointer) {
    const run = listed.length > 0 ? ` of run ${etcd?.record.run} of "${etcd?.record.job}"` : "";
    throw new LockstepError("usage", `There is no checkpoint${run} in ${fullPlace(location)}.`, {
      hint: "Name the folder that they are in with --checkpoints, or the job's folder with --directory.",
    });
  }
  return {
    ...{ storage, location: fullPlace(location), etcd, etcdHint, stored, corrupt },
    load: (id) => loadPinned(args, storage, etcd, id),
  };
}

/** Only a leader deletes, and only what is published: anything else is not in danger. */
function loadPinned(
  args: Arguments,
  storage: CheckpointStorage,
  etcd: RunCheckpoints | null,
  id: string,
): Promise<CheckpointContent> {
  if (!etcd?.isLed || etcd.records.get(id)?.state !== "live") return storage.load(id);
  const { job, run, budgetMs } = etcd.record;
  const parts = {
    keys: keysOf(job, run),
    budget: failureBudget(budgetMs),
    clock: systemClock,
    log: collecting(new Map()),
  };
  return withEtcdOf(args, job, (coordination) => withReaderPin({ coordination, ...parts }, id, () => storage.load(id)));
}

/** The checkpoint that a user means by an id, a part of one, `best` or `latest`. */
export function resolveCheckpoint(found: FoundCheckpoints, word: string): string {
  if (word === "best" || word === "latest") return pointed(found, word);
  const ids = [...found.stored.map(({ id }) => id), ...found.corrupt.keys()];
  const parts = idsMeant(word, ids);
  if (parts.length === 1) return parts[0]!;
  if (parts.length > 1) {
    throw new LockstepError("usage", `"${word}" is a part of ${parts.length} checkpoints: ${some(parts)}.`, {
      hint: "Give more of the id.",
    });
  }
  const record = found.etcd?.records.get(word);
  if (record) {
    const isGone = record.state === "condemned" ? "was condemned and is deleted" : `is not in ${found.location}`;
    throw new LockstepError("usage", `The checkpoint ${word} ${isGone}.`, {
      hint: `There are: ${some(ids)}.`,
    });
  }
  const near = nearestNames(word, ids, 3);
  throw new LockstepError("usage", `There is no checkpoint ${JSON.stringify(word)} in ${found.location}.`, {
    hint: `The nearest ${near.length === 1 ? "is" : "are"} ${near.join(", ")}.`,
  });
}

/** Without etcd nobody knows what was published; what storage has is said to be no more than that. */
function pointed({ etcd, etcdHint, stored, location }: FoundCheckpoints, word: "best" | "latest"): string {
  if (etcd) {
    const pointer = etcd.pointers[word];
    if (pointer) return pointer.id;
    throw new LockstepError("usage", `Run ${etcd.record.run} of "${etcd.record.job}" has no ${word} checkpoint yet.`);
  }
  const hint = `There are: ${some(stored.map(({ id }) => id))}.`;
  const why = `without etcd nobody knows which checkpoint in ${location} is ${word}`;
  throw new LockstepError("usage", `Give an id: ${why}.`, { hint: `${hint} Or: ${etcdHint}` });
}

/** What the user named may be a name, a file, a folder, or nothing at all where there is one job only. */
async function askEtcd(
  args: Arguments,
  jobFile: string | null,
): Promise<{ etcd: RunCheckpoints | null; found: string | null; isAsked: boolean }> {
  const [place, name, directory] = [args.text("checkpoints"), args.text("job"), args.text("directory")];
  const run = args.whole("run", 1) ?? null;
  if (
    place !== undefined &&
    jobFile === null &&
    ![name, directory, args.text("etcd")].some((given) => given !== undefined)
  ) {
    return { etcd: null, found: null, isAsked: false };
  }
  const job = name ?? (jobFile === null ? await onlyJob(directory) : (await loadJob(jobFile)).job.name);
  try {
    return { etcd: await withEtcdOf(args, job, (etcd) => readCheckpoints(etcd, job, run)), found: null, isAsked: true };
  } catch (error) {
    // Where etcd's data are gone, the checkpoints are all the more worth looking at.
    const found = place ?? newestRunFolder(resolve(directory ?? join("runs", job)), run);
    if (!(error instanceof LockstepError && error.code === "usage") || found === null) throw error;
    process.stderr.write(
      `${error.message.replace(/\.$/, "")}: what is published, best, latest or pinned is unknown.\n`,
    );
    return { etcd: null, found, isAsked: true };
  }
}

/** Of a job's folder, the checkpoints of its newest run, or of the one with this number. */
export function newestRunFolder(directory: string, run: number | null): string | null {
  return runFolders(directory, run)[0] ?? null;
}

/** Of a job's folder, the checkpoints of its runs, those of the newest first; or of the one with this number alone. */
export function runFolders(directory: string, run: number | null): readonly string[] {
  const numbers = runsIn(directory).filter((number) => run === null || number === run);
  return numbers.map((number) => checkpointsIn(directory, number));
}

/** The numbers of the runs that have checkpoints in a job's folder, newest first. */
export function runsIn(directory: string): readonly number[] {
  return namesIn(directory)
    .flatMap((name) => /^run-([1-9]\d*)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .filter((number) => existsSync(checkpointsIn(directory, number)))
    .sort((a, b) => b - a);
}

function checkpointsIn(directory: string, run: number): string {
  return join(directory, `run-${run}`, "checkpoints");
}

async function onlyJob(directory: string | undefined): Promise<string> {
  if (directory !== undefined) {
    // A folder does not say its job's name: the manifests in it do.
    const folder = newestRunFolder(resolve(directory), null);
    const stored = folder === null ? [] : await (await openStorage(folder, collecting(new Map()))).list();
    const name = stored.at(-1)?.manifest.job;
    if (name !== undefined) return name;
    throw new LockstepError("usage", `Which job is in ${resolve(directory)} is not known: it has no checkpoint yet.`, {
      hint: "Give the job file, or the job's name with --job.",
    });
  }
  const running = await runningJobs();
  const known = new Set([...running.map(({ job }) => job), ...namesIn("runs").filter((name) => isJobFolder(name))]);
  const [only] = known;
  if (known.size === 1 && only !== undefined) return only;
  const which = known.size === 0 ? "there is none in runs/" : `there are ${[...known].sort().join(", ")}`;
  throw new LockstepError("usage", `Which job is meant? In this folder ${which}.`, {
    hint: "Give the job file, its name with --job, its folder with --directory, or the checkpoints' with --checkpoints.",
  });
}

function isJobFolder(name: string): boolean {
  return namesIn(join("runs", name)).some((inside) => inside === "etcd" || /^run-\d+$/.test(inside));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // not there, or no folder
  }
}

function some(ids: readonly string[]): string {
  return ids.length <= 5 ? ids.join(", ") : `${ids.slice(0, 4).join(", ")} and ${ids.length - 4} more`;
}

/** Storage passes over what has a corrupt manifest, and says so in its log: here it is collected. */
export function collecting(corrupt: Map<string, string>): Log {
  const plain = createLog({ stream: process.stderr, format: "text", level: "error" });
  const warn = (message: string, fields: LogFields = {}) => {
    if (typeof fields.checkpoint !== "string") return plain.warn(message, fields);
    corrupt.set(fields.checkpoint, String(fields.reason ?? message));
  };
  return { ...plain, warn };
}

/** The metric that the run's checkpoints were judged by last; null where nobody says. */
export function monitorIn({ etcd }: FoundCheckpoints): string | null {
  return etcd?.pointers.latest?.monitor ?? etcd?.pointers.best?.monitor ?? null;
}

/** How long ago a checkpoint was written. Clocks of machines differ a little: what was written a moment from now is new. */
export function ageText(writtenAt: string): string {
  return formatDuration(Math.max(0, (systemClock.wallMs() - Date.parse(writtenAt)) / 1000));
}
