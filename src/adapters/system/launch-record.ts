/** How a job was launched last, in its folder: so that it can be launched again without saying all of it again. */
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { GoOn } from "../../core/run-result.ts";

const name = "launch.json";

export interface LaunchRecord {
  /** Relative paths among the words begin here. */
  readonly workingDirectory: string;
  readonly goOn: GoOn;
  /** Why the launch could not go on; absent while it runs, and where it ended otherwise. */
  readonly failure?: LaunchFailure;
}

export interface LaunchFailure {
  /** The number of the run. */
  readonly run: number;
  readonly reason: string;
}

export async function writeLaunchRecord(directory: string, record: LaunchRecord): Promise<void> {
  const staged = join(directory, `.${name}.${process.pid}`);
  await writeFile(staged, `${JSON.stringify(record)}\n`);
  await rename(staged, join(directory, name));
}

/** Null: nothing was launched there, or an older lockstep has launched it. */
export async function readLaunchRecord(directory: string): Promise<LaunchRecord | null> {
  const text = await readFile(join(directory, name), "utf8").catch(() => null);
  return text === null ? null : (JSON.parse(text) as LaunchRecord); // renamed into place when it was whole
}

/** For whoever looks at the job's files afterwards; the next launch begins a new record. */
export async function recordFailure(directory: string, failure: LaunchFailure): Promise<void> {
  const record = await readLaunchRecord(directory);
  if (record) await writeLaunchRecord(directory, { ...record, failure });
}
