/**
 * What `launch` has started on this machine, one file a job in the user's state folder: so `status` needs no address,
 * and a second launch of the same job is refused while the first one lives.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { LockstepError } from "../../core/errors.ts";

export interface RegisteredRun {
  readonly job: string;
  readonly run: number;
  /** The launch process. */
  readonly pid: number;
  readonly directory: string;
  readonly etcd: readonly string[];
  /** Where the coordinator serves status. */
  readonly coordinator: string;
  /** Where it serves HTTP; null: nowhere. */
  readonly http: string | null;
  /** The folder of an operator's certificates, to ask coordinator and etcd; null: they speak plain text. */
  readonly tls: string | null;
  /** Of the etcd that was started for the job; none where it uses another one. */
  readonly etcdPids: readonly number[];
  /** How many workers the launch keeps running, named worker-0 and so on. */
  readonly workers: number;
  readonly spares: number;
}

function folder(): string {
  return join(process.env.XDG_STATE_HOME || join(homedir(), ".local", "state"), "lockstep", "jobs");
}

const fileOf = (job: string): string => join(folder(), `${job}.json`);

export async function readRun(job: string): Promise<RegisteredRun | null> {
  const text = await readFile(fileOf(job), "utf8").catch(() => null);
  if (text === null) return null;
  try {
    return JSON.parse(text) as RegisteredRun; // written by registerRun
  } catch {
    return null; // a torn file of a machine that lost power names nothing that lives
  }
}

let lastWritten: Promise<void> = Promise.resolve();

/** In the order of the calls: two at once would write into one file, and a reader could find it empty. */
export function registerRun(run: RegisteredRun): Promise<void> {
  const write = async () => {
    await mkdir(folder(), { recursive: true });
    const staged = `${fileOf(run.job)}.${process.pid}`;
    await writeFile(staged, `${JSON.stringify(run)}\n`);
    await rename(staged, fileOf(run.job));
  };
  const written = lastWritten.then(write);
  lastWritten = written.catch(() => {}); // whoever called is told of it
  return written;
}

export async function forgetRun(job: string): Promise<void> {
  await lastWritten;
  const known = await readRun(job);
  if (known?.pid === process.pid) await rm(fileOf(job), { force: true });
}

/** Refuses a job whose launch still lives. */
export async function checkNotRunning(job: string): Promise<void> {
  const known = await readRun(job);
  if (!known || known.pid === process.pid || !(await isLockstep(known.pid))) return;
  throw new LockstepError(
    "job-running",
    `The job "${job}" is running already: process ${known.pid}, files in ${known.directory}.`,
    {
      hint: `Look at it with \`lockstep status --job ${job}\`, stop it with \`lockstep stop --job ${job}\`, or use another name with --job.`,
    },
  );
}

export async function runningJobs(): Promise<RegisteredRun[]> {
  const names = await readdir(folder()).catch(() => []);
  const runs = await Promise.all(
    names.filter((name) => name.endsWith(".json")).map((name) => readRun(name.slice(0, -5))),
  );
  const alive = await Promise.all(runs.map(async (run) => run !== null && (await isLockstep(run.pid))));
  return runs.filter((run, i): run is RegisteredRun => run !== null && alive[i]!);
}

/** Whether a process id is in use by lockstep; ids are given again to others. */
async function isLockstep(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "lockstep");
  return commandLine.includes("lockstep");
}
