/** Where checkpoints are kept, from how a person names the place: a folder, or `s3://BUCKET/PREFIX`. */
import { existsSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { openDirectoryStorage } from "../adapters/fs/checkpoint-storage.ts";
import { openForReading, workersFoldersIn } from "../adapters/fs/open-for-reading.ts";
import { formatS3Location, isS3Location, parseS3Location } from "../adapters/s3/location.ts";
import { LockstepError } from "../core/errors.ts";
import type { CheckpointStorage } from "../ports/checkpoint-storage.ts";
import type { Log } from "../ports/log.ts";

/** Opens a place that is there already, and the workers' own folders in or beside it: nothing is made. */
export async function openStorage(location: string, log: Log): Promise<CheckpointStorage> {
  if (isS3Location(location)) return openObjectStorage(location, log);
  const directory = resolve(location);
  const stat = statSync(directory, { throwIfNoEntry: false });
  // A worker may have lost its folder, and another one's be here.
  if (!stat && (await workersFoldersIn(dirname(directory))).length > 0) return openForReading(directory, log);
  if (!stat) {
    throw new LockstepError("usage", `There is no folder ${directory} with checkpoints.`, {
      hint: "Name it with --checkpoints, or the job's folder with --directory.",
    });
  }
  if (!stat.isDirectory()) {
    throw new LockstepError("usage", `${directory} is no folder; the one that checkpoints are in was expected.`);
  }
  if (existsSync(join(directory, "manifest.json"))) {
    throw new LockstepError(
      "usage",
      `${directory} is one checkpoint; the folder that checkpoints are in was expected.`,
      {
        hint: `Give ${dirname(directory)}.`,
      },
    );
  }
  return openForReading(directory, log);
}

/** The place that a published checkpoint lies in. */
export function placeOf(pointer: { readonly location: string }): string {
  const { location } = pointer;
  return isS3Location(location) ? location.slice(0, location.lastIndexOf("/")) : dirname(location);
}

/** Opens the place of a published checkpoint to read it, whether or not the folder is there. */
export async function openPlace(location: string, log: Log): Promise<CheckpointStorage> {
  return isS3Location(location) ? openObjectStorage(location, log) : openForReading(resolve(location), log);
}

/** Opens a place to write to; a folder is made if it is not there. */
export async function openForWriting(location: string, log: Log): Promise<CheckpointStorage> {
  return isS3Location(location) ? openObjectStorage(location, log) : openDirectoryStorage(resolve(location), log);
}

/** An absolute path, or a URL; the same one wherever it is asked from. "usage" for a URL that names no place. */
export function fullPlace(location: string): string {
  return isS3Location(location) ? formatS3Location(parseS3Location(location)) : resolve(location);
}

/** Whether a checkpoint can be looked for from here: a folder may be another machine's. */
export function isInReach(location: string): boolean {
  return isS3Location(location) || existsSync(location);
}

/** Before anything is started: object storage that cannot be used, and copies of what all share. */
export async function checkPlace(location: string | undefined, replicas: number, log: Log): Promise<void> {
  if (location === undefined || !isS3Location(location)) return;
  checkShared(location, replicas);
  await openObjectStorage(location, log);
}

/** With copies on the workers' disks, each worker has a folder of its own. */
export function checkShared(location: string, replicas: number): void {
  if (replicas === 0 || !isS3Location(location)) return;
  throw new LockstepError(
    "usage",
    `--checkpoints is ${location}, which all workers share, and ${replicas} copies of each checkpoint are to be kept on their disks.`,
    { hint: "Give --replicas 0, or a folder." },
  );
}

/** Its library is loaded by whoever needs it, and by nobody else. */
async function openObjectStorage(location: string, log: Log): Promise<CheckpointStorage> {
  const { openS3Storage } = await import("../adapters/s3/checkpoint-storage.ts");
  return openS3Storage(location, log);
}
