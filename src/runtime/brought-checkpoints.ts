/**
 * Checkpoints that workers bring. Where each worker has a disk of its own, nobody else sees what lies there; so each says, in its
 * member key, what it has that etcd does not name. Usually that is nothing. After a loss of etcd's data it is everything: should
 * nobody be left who has the state in memory, the run is rebuilt from it; and the best checkpoint gets its name back.
 */
import { placeInId } from "../core/checkpoint-id.ts";
import { messageOf } from "../core/errors.ts";
import type { Keys } from "../core/keys.ts";
import type { Member } from "../core/membership.ts";
import type { JobRecord } from "../core/records.ts";
import type { CheckpointStorage, RunSources, StoredCheckpoint } from "../ports/checkpoint-storage.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import type { RunReading } from "./run-reading.ts";

/** Asks the workers for what they bring of this run. */
export type BroughtSources = (members: readonly Member[]) => RunSources;

/** So many are named; they are the newest. Each is some 40 bytes of a key that is read again and again. */
const mostBrought = 200;

export interface BringingOptions {
  readonly coordination: Coordination;
  readonly keys: Keys;
  readonly record: JobRecord;
  /** The worker's own. */
  readonly storage: CheckpointStorage;
  readonly log: Log;
}

/** The ids of a worker's own checkpoints of the run that etcd does not name, oldest first. Fails while etcd is away. */
export async function broughtBy(options: BringingOptions): Promise<string[]> {
  const { coordination, keys } = options;
  const own = await ownOf(options);
  if (own.length === 0) return [];
  const { entries } = await coordination.list(keys.checkpoints);
  const named = new Set(entries.map(({ key }) => key));
  return own
    .map(({ id }) => id)
    .filter((id) => !named.has(keys.checkpoint(id)))
    .slice(-mostBrought);
}

/** The last generation that has written any of a worker's own checkpoints of the run: an etcd that knows of none so high has lost data. */
export async function newestGeneration(options: BringingOptions): Promise<number> {
  const own = await ownOf(options);
  return Math.max(0, ...own.map(({ manifest }) => manifest.generation));
}

async function ownOf({ record, storage, log }: BringingOptions): Promise<readonly StoredCheckpoint[]> {
  try {
    const stored = await storage.list();
    return stored.filter(({ manifest: { job, run } }) => job === record.job && run === String(record.run));
  } catch (error) {
    log.warn("a worker's own checkpoints cannot be listed", { error: messageOf(error) });
    return [];
  }
}

/** Those of the members who bring what was lost, each with just that: written before the loss, and after all that etcd names. */
export function bringersIn(reading: RunReading, keys: Keys, record: JobRecord): Member[] {
  const { members, entries, checkpoints, origin } = reading;
  const newest = Math.max(0, ...checkpoints.map(({ pointer }) => pointer.generation));
  const isLost = (id: string) => {
    const generation = placeInId(record, id)?.generation ?? 0;
    return generation > newest && generation <= origin.after && !entries.has(keys.checkpoint(id));
  };
  return members
    .map((member) => ({ ...member, brings: member.brings.filter(isLost) }))
    .filter(({ brings }) => brings.length > 0);
}

/** The ids that these members bring of a state at this step. */
export function broughtAt(step: number, record: JobRecord, members: readonly Member[]): readonly string[] {
  const ids = members.flatMap(({ brings }) => brings);
  return [...new Set(ids)].filter((id) => placeInId(record, id)?.step === step);
}
