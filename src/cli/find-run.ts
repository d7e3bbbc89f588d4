/** The run that a user means by a word: a job of this machine by its name, a job's folder, or the folder of one of its runs. */
import { existsSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { connectControl } from "../adapters/grpc/control.ts";
import { jobExtensions, loadJob } from "../adapters/job-file/load-job.ts";
import { readLaunchRecord } from "../adapters/system/launch-record.ts";
import { type RegisteredRun, readRun, runningJobs } from "../adapters/system/run-registry.ts";
import { LockstepError, messageOf } from "../core/errors.ts";
import { nearestName } from "../core/nearest-name.ts";
import type { RunHistory } from "../core/run-history.ts";
import type { CheckpointStorage, StoredCheckpoint } from "../ports/checkpoint-storage.ts";
import { historyFromCheckpoints, historyFromEtcd, type ReadRun } from "../runtime/read-history.ts";
import type { Arguments } from "./command.ts";
import { withEtcdIn, withEtcdOfRun } from "./etcd-of-job.ts";
import { collecting, newestRunFolder, runFolders } from "./find-checkpoints.ts";
import { jobsIn } from "./find-folder.ts";
import { connectToJob, whichJob } from "./find-job.ts";
import { certificatesOf } from "./local-certificates.ts";
import { openStorage } from "./open-storage.ts";

const deadlineMs = 3000;

/** How the commands that read a run say what they take. */
export const runWords = "a job's name or file, its folder, or the folder of one of its runs";

const { job: _, ...whichCoordinator } = whichJob;

/** The options that say which run is meant. */
export const whichRun = {
  run: { value: "N", help: "which run of the job (default: the one that was trained last)" },
  ...whichCoordinator,
};

export interface RunPlace {
  /** Absolute: the job's folder. */
  readonly directory: string;
  /** Null: the one that was trained last. */
  readonly run: number | null;
  /** The launch of the job that runs; null where none does. */
  readonly launch: RegisteredRun | null;
  /** It trains this very run. */
  readonly isRunning: boolean;
  /** Null where only the folder was named, and nothing in it says so. */
  readonly job: string | null;
}

/**
 * @param word null: the only job that is running, or the only one in runs/
 * @param run null: the word says which, or the newest one is meant
 * "usage": there is no such job or run, or it is not clear which is meant.
 */
export async function findRun(word: string | null, run: number | null): Promise<RunPlace> {
  const launches = await runningJobs();
  const { directory, job, run: named } = await folderMeant(word, launches);
  if (run !== null && named !== null && run !== named) {
    throw new LockstepError("usage", `--run is ${run}, and ${word} is the folder of run ${named}.`, {
      hint: "Give one of the two.",
    });
  }
  const wanted = run ?? named;
  const launch = launches.find((one) => one.directory === directory) ?? null;
  const isRunning = launch !== null && (wanted === null || launch.run === wanted);
  return { directory, run: wanted, launch, isRunning, job: launch?.job ?? job ?? (await jobNameIn(directory)) };
}

interface Meant {
  readonly directory: string;
  readonly job: string | null;
  readonly run: number | null;
}

async function folderMeant(word: string | null, launches: readonly RegisteredRun[]): Promise<Meant> {
  if (word === null) return onlyJob(launches);
  const name = jobExtensions.includes(extname(word)) ? (await loadJob(word)).job.name : word;
  const running = launches.find(({ job }) => job === name);
  if (running) return { directory: running.directory, job: name, run: null };
  const isName = /^[\w.-]+$/.test(name);
  if (isName && isJobFolder(resolve("runs", name))) return { directory: resolve("runs", name), job: name, run: null };
  const folder = resolve(name);
  if (isJobFolder(folder)) return { directory: folder, job: null, run: null };
  const number = /^run-([1-9]\d*)$/.exec(basename(folder))?.[1];
  if (number !== undefined && existsSync(folder)) return { directory: dirname(folder), job: null, run: Number(number) };
  // A launch that was killed is still written down.
  const known = isName ? await readRun(name) : null;
  if (known && isJobFolder(known.directory)) return { directory: known.directory, job: name, run: null };
  const names = [...new Set([...launches.map(({ job }) => job), ...jobsIn("runs")])].sort();
  const near = nearestName(name, names);
  throw new LockstepError("usage", `There is no job ${JSON.stringify(word)}; ${runWords} was expected.`, {
    hint: near
      ? `Is ${near} meant?`
      : names.length > 0
        ? `There are: ${names.join(", ")}.`
        : "Give the folder that its files are in.",
  });
}

function onlyJob(launches: readonly RegisteredRun[]): Meant {
  const [only] = launches;
  if (only && launches.length === 1) return { directory: only.directory, job: only.job, run: null };
  const names = launches.length > 0 ? launches.map(({ job }) => job) : jobsIn("runs");
  if (launches.length === 0 && names.length === 1)
    return { directory: resolve("runs", names[0]!), job: names[0]!, run: null };
  const which = names.length === 0 ? "none was launched in this folder" : `there are ${names.join(", ")}`;
  throw new LockstepError("usage", `Which job is meant? None is said, and ${which}.`, { hint: `Give ${runWords}.` });
}

function isJobFolder(folder: string): boolean {
  return (
    existsSync(join(folder, "etcd")) ||
    existsSync(join(folder, "launch.json")) ||
    newestRunFolder(folder, null) !== null
  );
}

/** As the launch was told it. */
async function jobNameIn(directory: string): Promise<string | null> {
  const words = (await readLaunchRecord(directory))?.goOn.words ?? [];
  return words[words.indexOf("--job") + 1] ?? null;
}

/** Of a run that is trained, what its coordinator says; else what the newest checkpoint remembers, or etcd. */
async function readHistory(place: RunPlace): Promise<RunHistory> {
  if (place.launch && place.isRunning) return fromCoordinator(place.launch);
  return (await fromCheckpoints(place)) ?? fromEtcd(place);
}

/** With the digests of its weights, which etcd remembers; without etcd, those of its checkpoints. */
export async function readWhole(place: RunPlace): Promise<ReadRun> {
  if (place.launch) return fromEtcd(place);
  try {
    return await fromEtcd(place);
  } catch (error) {
    const found = await fromCheckpoints(place);
    if (found === null) throw error;
    process.stderr.write(`${messageOf(error)} So only the digests of checkpoints that are there are compared.\n`);
    return found;
  }
}

/** What the coordinator that --coordinator names says, for instance on another machine; else what `readHistory` says. */
export async function historyAsked(args: Arguments): Promise<RunHistory> {
  const [word] = args.words;
  const run = args.whole("run", 1) ?? null;
  const address = args.text("coordinator");
  if (address === undefined) return readHistory(await findRun(word ?? null, run));
  if (word !== undefined || run !== null) {
    const other = word ?? `--run ${run}`;
    throw new LockstepError(
      "usage",
      `--coordinator ${address} is given, which says what it trains, and ${other} too.`,
      {
        hint: "Give one of the two.",
      },
    );
  }
  const { control, close } = await connectToJob(args);
  try {
    const { job, settings, policy, history } = await control.status();
    return { job, run: null, settings, policy, history };
  } finally {
    close();
  }
}

async function fromCoordinator(launch: RegisteredRun): Promise<RunHistory> {
  const certificates = await certificatesOf(launch);
  const control = connectControl(launch.coordinator, deadlineMs, certificates);
  try {
    const { job, settings, policy, history } = await control.status();
    return { job, run: launch.run, settings, policy, history };
  } finally {
    control.close();
    certificates?.close();
  }
}

/** Null: there are none in the job's folder. Of several runs it is the one that has written last. */
async function fromCheckpoints({ directory, run, job }: RunPlace): Promise<ReadRun | null> {
  let last: { readonly storage: CheckpointStorage; readonly stored: readonly StoredCheckpoint[] } | null = null;
  for (const folder of runFolders(directory, run)) {
    const storage = await openStorage(folder, collecting(new Map()));
    const stored = (await storage.list()).filter(({ manifest }) => job === null || manifest.job === job);
    if (stored.length > 0 && (last === null || newest(stored) > newest(last.stored))) last = { storage, stored };
  }
  if (last === null) return null;
  return historyFromCheckpoints(last.storage, last.stored, (error) => {
    process.stderr.write(`${error.message} The one before it is taken.\n`);
  });
}

/** In ISO 8601, which sorts as text. */
function newest(stored: readonly StoredCheckpoint[]): string {
  return stored.reduce((last, { manifest: { writtenAt } }) => (writtenAt > last ? writtenAt : last), "");
}

async function fromEtcd({ directory, run, job, launch }: RunPlace): Promise<ReadRun> {
  if (launch) return withEtcdOfRun(launch, (etcd) => historyFromEtcd(etcd, launch.job, run));
  if (job === null) {
    throw new LockstepError("usage", `Which job is in ${directory} is not known, and it has no checkpoint.`, {
      hint: "Give the job's name, in the folder that its runs/ is in.",
    });
  }
  return withEtcdIn(directory, job, (etcd) => historyFromEtcd(etcd, job, run));
}
