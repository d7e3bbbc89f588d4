/** Where checkpoints are kept, from how a person names the place. */
import { existsSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { openForReading, workersFoldersIn } from "../adapters/fs/open-for-reading.ts";
import { LockstepError } from "../core/errors.ts";
import type { CheckpointStorage } from "../ports/checkpoint-storage.ts";
import type { Log } from "../ports/log.ts";

/** Opens a place that is there already, and the workers' own folders in or beside it: nothing is made. */
export async function openStorage(location: string, log: Log): Promise<CheckpointStorage> {
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
  return dirname(pointer.location);
}
