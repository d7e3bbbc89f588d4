/**
 * Tidying a worker's own directory, where workers share none. The leader condemns checkpoints in etcd, and each holder deletes
 * its own copies; one that was away then does it when it comes back.
 *
 * Deleted is what can never be needed again, whatever happens later: what is condemned, and what etcd does not name as
 * published though `latest` is as far or further, since nothing is ever published behind `latest`. So nobody can be too late,
 * however long it slept in between; an unpublished copy that is ahead of `latest` stays, since it may be about to be
 * published, or etcd's data may be older than it; so does one of another era than `latest`, which may be the best one that
 * etcd has lost the record of; and without `latest`, or without etcd, nothing is deleted.
 */
import { messageOf } from "../core/errors.ts";
import { decodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import type { CheckpointRecord, JobRecord } from "../core/records.ts";
import { compareStates } from "../core/state-order.ts";
import type { CheckpointPointer } from "../core/status.ts";
import type { CheckpointStorage } from "../ports/checkpoint-storage.ts";
import type { Coordination, Watch } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";

export interface OwnCheckpointsOptions {
  readonly coordination: Coordination;
  readonly keys: Keys;
  readonly record: JobRecord;
  /** The worker's own, which nobody else writes to. */
  readonly storage: CheckpointStorage;
  readonly pollMs: number;
  readonly log: Log;
}

export interface Tidying extends Watch {
  /** Once more, before its worker ends. */
  tidy(): Promise<void>;
}

/** Tidies now, and whenever what is published may have changed, until it is closed. */
export function keepTidy(options: OwnCheckpointsOptions): Tidying {
  const { coordination, keys, log, pollMs } = options;
  let isTidying = false;
  let again = false;
  const tidy = async () => {
    again = true;
    if (isTidying) return;
    isTidying = true;
    while (again) {
      again = false;
      // What fails is tried again after the next hint: nobody waits for it.
      await deleteUnneeded(options).catch((error: unknown) => {
        log.debug("a worker's own checkpoints were not tidied", { error: messageOf(error) });
      });
    }
    isTidying = false;
  };
  void tidy();
  const watch = coordination.watch(keys.checkpoints, pollMs, () => void tidy());
  return { close: () => watch.close(), tidy };
}

export async function deleteUnneeded({ coordination, keys, record, storage, log }: OwnCheckpointsOptions) {
  // In this order: what is published after `latest` was read is further than it.
  const entry = await coordination.get(keys.latest);
  if (!entry) return;
  const latest = decodeJson<CheckpointPointer>(entry.value);
  const { entries } = await coordination.list(keys.checkpoints);
  const stateOf = new Map(
    entries.map(({ key, value }) => [
      key.slice(keys.checkpoints.length),
      decodeJson<CheckpointRecord>(value).state as string,
    ]),
  );
  for (const { id, manifest } of await storage.list()) {
    if (manifest.job !== record.job || manifest.run !== String(record.run)) continue;
    const state = stateOf.get(id);
    const isBehind = manifest.era === latest.era && compareStates(manifest, latest) <= 0;
    if (state !== "condemned" && !(state === undefined && isBehind)) continue;
    await storage.delete(id);
    log.info("deleted a checkpoint that nobody needs any more", { id });
  }
}
