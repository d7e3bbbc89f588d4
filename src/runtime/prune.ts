/**
 * Removing checkpoints. Deleting is late by nature, and no storage takes a fencing token: so a checkpoint is condemned in
 * etcd first, once and for all, by the leader; and what is condemned may be deleted by anyone, however late.
 */
import { type IdPlace, placeInId } from "../core/checkpoint-id.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { firstOrigin, type Origin } from "../core/origin.ts";
import type { CheckpointRecord, JobRecord } from "../core/records.ts";
import { keptCheckpoints } from "../core/retention.ts";
import type { CheckpointPointer } from "../core/status.ts";
import type { CheckpointStorage, StoredCheckpoint } from "../ports/checkpoint-storage.ts";
import type { Condition, Coordination } from "../ports/coordination.ts";
import { readPins } from "./pins.ts";
import { pointerOf } from "./pointers.ts";
import { asLeader, type RunState, unchanged } from "./run-view.ts";

export interface PruneOptions {
  readonly record: JobRecord;
  readonly keys: Keys;
  readonly coordination: Coordination;
  readonly storage: CheckpointStorage;
}

export type Pointers = Pick<RunState, "latest" | "best" | "origin">;

interface ReadCheckpoint extends CheckpointRecord {
  readonly modRevision: number;
}

/** The live checkpoints, and why each of those that the job keeps is kept, by id. */
export async function keptAndLive(
  options: Omit<PruneOptions, "storage">,
  { latest: newest, best: bestOne }: Pick<Pointers, "best"> & { readonly latest: NonNullable<Pointers["latest"]> },
): Promise<{ live: readonly ReadCheckpoint[]; kept: ReadonlyMap<string, string> }> {
  const { keys, coordination, record } = options;
  const { entries } = await coordination.list(keys.checkpoints);
  // After the records: of a pin that comes later than this, the record's revision tells.
  const pinned = new Set((await readPins(options)).keys());
  const live = entries
    .map((entry) => ({ modRevision: entry.modRevision, ...decodeJson<CheckpointRecord>(entry.value) }))
    .filter((checkpoint) => checkpoint.state === "live");
  const [latest, best] = [newest.value, bestOne?.value ?? null];
  return { live, kept: keptCheckpoints(record.checkpoint.keep, live, { latest, best, pinned }) };
}

/** Condemns and deletes what the job does not keep. */
export async function pruneCheckpoints(options: PruneOptions, state: Pointers | null, token: number): Promise<void> {
  const { keys } = options;
  if (!state?.latest) return;
  const { live, kept } = await keptAndLive(options, { latest: state.latest, best: state.best });
  for (const { modRevision, ...checkpoint } of live) {
    const { id } = checkpoint.pointer;
    if (kept.has(id)) continue;
    const isAsItWas: Condition = { kind: "modified-at", key: keys.checkpoint(id), revision: modRevision };
    if (!(await condemn(options, checkpoint, isAsItWas, state, token))) break;
  }
  await deleteCondemned(options);
}

/** What was set aside, but for what a pointer still names, or a pin keeps. */
export async function removableSetAside(
  options: Pick<PruneOptions, "keys" | "coordination">,
  { latest, best }: Pick<Pointers, "latest" | "best">,
): Promise<readonly ReadCheckpoint[]> {
  const { entries } = await options.coordination.list(options.keys.checkpoints);
  // After the records, as above.
  const pins = await readPins(options);
  const named = [latest?.value.id, best?.value.id];
  return entries
    .map((entry) => ({ modRevision: entry.modRevision, ...decodeJson<CheckpointRecord>(entry.value) }))
    .filter(({ state, pointer: { id } }) => state === "set-aside" && !pins.has(id) && !named.includes(id));
}

/** Condemns and deletes what was set aside: only when somebody asks for it, as people may want to look at it. */
export async function removeSetAside(options: PruneOptions, state: Pointers, token: number): Promise<void> {
  for (const { modRevision, ...checkpoint } of await removableSetAside(options, state)) {
    const key = options.keys.checkpoint(checkpoint.pointer.id);
    const isAsItWas: Condition = { kind: "modified-at", key, revision: modRevision };
    if (!(await condemn(options, checkpoint, isAsItWas, state, token))) break;
  }
  await deleteCondemned(options);
}

/**
 * Condemns and deletes what an earlier leader has written and not published, or has not even finished. It cannot publish it any
 * more, as its token is not the leader's; and whatever it sent before and is still under way finds the key. Nothing that is whole
 * and beyond `latest` is touched, nor anything of another run, nor what is whole and of another era: storage may know more than an
 * etcd whose data were lost.
 */
export async function removeUnpublished(options: PruneOptions, state: Pointers | null, token: number): Promise<void> {
  const { keys } = options;
  if (!state?.latest) return;
  const latest = state.latest.value;
  for (const one of await unpublished(options, latest, token)) {
    // What was never published has no value that anything could be compared with.
    const { monitor, of } = latest;
    const pointer = { ...pointerOf(one, options.record.checkpoint, null), monitor, of, value: null };
    const isUnpublished: Condition = { kind: "absent", key: keys.checkpoint(one.id) };
    const left: CheckpointRecord = { state: "live", pointer, writtenAtMs: Date.parse(one.manifest.writtenAt) };
    if (!(await condemn(options, left, isUnpublished, state, token))) break;
  }
  for (const { id, step, generation } of await unfinished(options, state, token)) {
    const { lineage, era, epoch, monitor, of, stepInEpoch } = latest;
    const digests = { stateDigest: "", weightsDigest: "", manifestSha256: "" };
    // Of a part nobody knows more than its id says: nothing is decided by the rest, as it is condemned with the first word of it.
    const place = { id, location: "", lineage, era, step, epoch, stepInEpoch, generation };
    const pointer: CheckpointPointer = { ...place, ...digests, monitor, of, value: null };
    const left: CheckpointRecord = { state: "live", pointer, writtenAtMs: 0 };
    if (!(await condemn(options, left, { kind: "absent", key: keys.checkpoint(id) }, state, token))) break;
  }
  await deleteCondemned(options);
}

/** Of this run's parts of checkpoints those that were begun before this token, or in an earlier era, and of which etcd has no record. */
export async function unfinished(
  { keys, coordination, storage, record }: PruneOptions,
  { origin }: Pick<Pointers, "origin">,
  token: number,
): Promise<readonly (IdPlace & { readonly id: string })[]> {
  const ids = (await storage.unfinished?.()) ?? [];
  if (ids.length === 0) return [];
  const { entries } = await coordination.list(keys.checkpoints);
  const known = new Set(entries.map(({ key }) => key.slice(keys.checkpoints.length)));
  // Tokens begin anew with each era, and generations do not.
  const { after } = origin === null ? firstOrigin : decodeJson<Origin>(origin);
  return ids.flatMap((id) => {
    const place = placeInId(record, id);
    const isEarlier = place && (place.generation <= after || place.fencingToken < token);
    return isEarlier && !known.has(id) ? [{ id, ...place }] : [];
  });
}

/** What was written before this token and is covered by `latest`, and of which etcd has no record. */
export async function unpublished(
  { keys, coordination, storage, record }: PruneOptions,
  latest: CheckpointPointer,
  token: number,
): Promise<readonly StoredCheckpoint[]> {
  const stored = await storage.list();
  const { entries } = await coordination.list(keys.checkpoints);
  const known = new Set(entries.map(({ key }) => key.slice(keys.checkpoints.length)));
  return stored.filter(({ id, manifest: { job, run, era, lineage, step, fencingToken } }) => {
    const isOurs = job === record.job && run === String(record.run) && era === latest.era;
    const isCovered = lineage < latest.lineage || (lineage === latest.lineage && step <= latest.step);
    return isOurs && isCovered && fencingToken < token && !known.has(id);
  });
}

async function condemn(
  { keys, coordination }: PruneOptions,
  checkpoint: CheckpointRecord,
  condition: Condition,
  state: Pointers,
  token: number,
): Promise<boolean> {
  const condemned: CheckpointRecord = { ...checkpoint, state: "condemned" };
  const { succeeded } = await coordination.transact(
    [
      ...asLeader(keys, token, state),
      condition,
      unchanged(keys.latest, state.latest),
      unchanged(keys.best, state.best),
    ],
    [{ kind: "put", key: keys.checkpoint(checkpoint.pointer.id), value: encodeJson(condemned) }],
  );
  return succeeded;
}

/** Only what is condemned is deleted: it can never be published again, so nobody can be too late. */
async function deleteCondemned({ keys, coordination, storage }: PruneOptions): Promise<void> {
  const { entries } = await coordination.list(keys.checkpoints);
  for (const entry of entries) {
    if (decodeJson<CheckpointRecord>(entry.value).state !== "condemned") continue;
    await storage.delete(entry.key.slice(keys.checkpoints.length));
    await coordination.transact(
      [{ kind: "modified-at", key: entry.key, revision: entry.modRevision }],
      [{ kind: "delete", key: entry.key }],
    );
  }
}
