/**
 * Names of starts: a supervisor starts a coordinator again as it was started before, and that must not begin training anew. One
 * name is one start; whoever comes with the last one's takes part in it, and a name that is over is refused.
 */
import { LockstepError } from "../core/errors.ts";
import { decodeJson } from "../core/json.ts";
import { keysOf } from "../core/keys.ts";
import { maxRememberedStarts } from "../core/limits.ts";
import type { JobRecord } from "../core/records.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { RunRequest } from "./open-run.ts";

type Wish = Pick<RunRequest, "job" | "resume" | "startName">;

/** "usage": it was, and others have been made since. */
export async function isOfLastStart(
  coordination: Coordination,
  { job, startName }: Wish,
  run: number,
): Promise<boolean> {
  if (startName === null || run === 0) return false;
  const entry = await coordination.get(keysOf(job, run).record);
  const record = entry && decodeJson<JobRecord>(entry.value);
  if (record?.startName === startName) return true;
  if (!record?.earlierStarts?.includes(startName)) return false;
  throw new LockstepError("usage", `The start "${startName}" of "${job}" is over; others have been made since.`, {
    hint: "Give the name of the last start to take part in it, or a new one to make another.",
  });
}

/** What the record of the next start, or of the same one, remembers. */
export function startNames(
  { resume, startName }: Wish,
  old: JobRecord,
): Pick<JobRecord, "startName" | "earlierStarts"> {
  const before = old.startName ?? null;
  const earlierStarts = old.earlierStarts ?? [];
  if (resume === "same") return { startName: startName ?? before, earlierStarts };
  const known = before === null ? earlierStarts : [...earlierStarts, before];
  return { startName, earlierStarts: known.slice(-maxRememberedStarts) };
}
