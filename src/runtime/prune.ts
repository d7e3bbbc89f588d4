/**
 * Removing checkpoints. Deleting is late by nature, and no storage takes a fencing token: so a checkpoint is condemned in
 * etcd first, once and for all, by the leader; and what is condemned may be deleted by anyone, however late.
 */
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import type { CheckpointRecord } from "../core/records.ts";
import type { CheckpointStorage } from "../ports/checkpoint-storage.ts";
import type { Coordination } from "../ports/coordination.ts";
import { type RunState, unchanged } from "./run-view.ts";

export interface PruneOptions {
  readonly keys: Keys;
  readonly coordination: Coordination;
  readonly storage: CheckpointStorage;
}

/** Condemns and deletes what is neither `latest`, `best`, nor the newest before `latest`. */
export async function pruneCheckpoints(
  { keys, coordination, storage }: PruneOptions,
  state: RunState | null,
  token: number,
): Promise<void> {
  if (!state?.latest) return;
  const { entries } = await coordination.list(keys.checkpoints);
  const checkpoints = entries.map((entry) => ({
    id: entry.key.slice(keys.checkpoints.length),
    modRevision: entry.modRevision,
    ...decodeJson<CheckpointRecord>(entry.value),
  }));
  const kept = new Set([state.latest.value.id, state.best?.value.id]);
  const older = checkpoints
    .filter(({ id, state: phase }) => phase === "live" && !kept.has(id))
    .sort((a, b) => b.pointer.step - a.pointer.step);
  for (const { id, pointer, modRevision } of older.slice(1)) {
    const condemned: CheckpointRecord = { state: "condemned", pointer };
    const { succeeded } = await coordination.transact(
      [
        { kind: "created-at", key: keys.leader, revision: token },
        { kind: "modified-at", key: keys.checkpoint(id), revision: modRevision },
        unchanged(keys.latest, state.latest),
        unchanged(keys.best, state.best),
      ],
      [{ kind: "put", key: keys.checkpoint(id), value: encodeJson(condemned) }],
    );
    if (!succeeded) return;
  }
  // Only what is condemned is deleted: it can never be published again, so nobody can be too late.
  const { entries: after } = await coordination.list(keys.checkpoints);
  for (const entry of after) {
    if (decodeJson<CheckpointRecord>(entry.value).state !== "condemned") continue;
    await storage.delete(entry.key.slice(keys.checkpoints.length));
    await coordination.transact(
      [{ kind: "modified-at", key: entry.key, revision: entry.modRevision }],
      [{ kind: "delete", key: entry.key }],
    );
  }
}
