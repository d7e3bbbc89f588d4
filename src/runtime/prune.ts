/**
 * Removing checkpoints. Deleting is late by nature, and no storage takes a fencing token: so a checkpoint is condemned in
 * etcd first, once and for all, by the leader; and what is condemned may be deleted by anyone, however late.
 */
import { type IdPlace, placeInId } from "../core/checkpoint-id.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { firstOrigin, type Origin } from "../core/origin.ts";
import type { CheckpointRecord, JobRecord, PublishedRecord } from "../core/records.ts";
import { keptCheckpoints } from "../core/retention.ts";
import { compareStates, type StatePlace } from "../core/state-order.ts";
import type { CheckpointStorage, StoredCheckpoint } from "../ports/checkpoint-storage.ts";
import type { Condition, Coordination, Operation } from "../ports/coordination.ts";
import { readPins } from "./pins.ts";
import { asLeader, inEra, type RunState, unchanged } from "./run-view.ts";

export interface PruneOptions {
  readonly record: JobRecord;
  readonly keys: Keys;
  readonly coordination: Coordination;
  readonly storage: CheckpointStorage;
}

export type Pointers = Pick<RunState, "latest" | "best" | "origin">;

/** Nothing is deleted before there is one. */
export type WithLatest = Pointers & { readonly latest: NonNullable<Pointers["latest"]> };

/** What etcd says of the checkpoints, read at once: each record with its revision. */
export interface ReadRecords {
  readonly published: readonly (PublishedRecord & Read)[];
  readonly condemned: readonly Read[];
  readonly pinned: ReadonlySet<string>;
}

interface Read {
  readonly id: string;
  readonly modRevision: number;
}

export async function readRecords(options: Pick<PruneOptions, "keys" | "coordination">): Promise<ReadRecords> {
  const { entries } = await options.coordination.list(options.keys.checkpoints);
  // After the records: of a pin that comes later than this, the record's revision tells.
  const pinned = new Set((await readPins(options)).keys());
  const records = entries.map(({ key, value, modRevision }) => {
    return { ...decodeJson<CheckpointRecord>(value), id: idIn(options.keys, key), modRevision };
  });
  const published = records.filter((one) => one.state !== "condemned");
  return { published, condemned: records.filter(({ state }) => state === "condemned"), pinned };
}

/** The live checkpoints, and why each of those that the job keeps is kept, by id. */
export function keptAndLive(
  record: JobRecord,
  { published, pinned }: ReadRecords,
  pointers: WithLatest,
): { live: readonly (PublishedRecord & Read)[]; kept: ReadonlyMap<string, string> } {
  const live = published.filter((one) => one.state === "live");
  const [latest, best] = [pointers.latest.value, pointers.best?.value ?? null];
  return { live, kept: keptCheckpoints(record.checkpoint.keep, live, { latest, best, pinned }) };
}

/** Condemns and deletes what the job does not keep. */
export async function pruneCheckpoints(options: PruneOptions, state: Pointers | null, token: number): Promise<void> {
  if (!hasLatest(state)) return;
  const { live, kept } = keptAndLive(options.record, await readRecords(options), state);
  for (const one of live) {
    if (kept.has(one.id)) continue;
    if (!(await condemn(options, one.id, asItWas(options, one), state, token))) break;
  }
  await deleteCondemned(options);
}

/** What was set aside, but for what a pointer still names, or a pin keeps. */
export function removableSetAside(
  { published, pinned }: ReadRecords,
  { latest, best }: Pick<Pointers, "latest" | "best">,
): readonly (PublishedRecord & Read)[] {
  const named = [latest?.value.id, best?.value.id];
  return published.filter(({ state, id }) => state === "set-aside" && !pinned.has(id) && !named.includes(id));
}

/** Condemns and deletes what was set aside: only when somebody asks for it, as people may want to look at it. */
export async function removeSetAside(options: PruneOptions, state: Pointers, token: number): Promise<void> {
  for (const one of removableSetAside(await readRecords(options), state)) {
    if (!(await condemn(options, one.id, asItWas(options, one), state, token))) break;
  }
  await deleteCondemned(options);
}

/**
 * Condemns and deletes what an earlier leader has written and not published, or has not even finished. It cannot publish it any
 * more, as its token is not the leader's; and whatever it sent before and is still under way finds the key. Nothing that is whole
 * and beyond `latest` is touched, nor anything of another run, nor what is whole and of another era: storage may know more than an
 * etcd whose data were lost. Only when somebody asks for it, what is of earlier eras goes too.
 */
export async function removeUnpublished(
  options: PruneOptions,
  state: Pointers | null,
  token: number,
  earlierEras = false,
): Promise<void> {
  const { keys, coordination, storage, record } = options;
  if (!hasLatest(state)) return;
  const there = await inStorage(storage);
  const { entries } = await coordination.list(keys.checkpoints);
  const known = new Set(entries.map(({ key }) => idIn(keys, key)));
  const { unpublished, ofEarlierEras, unfinished } = leftBehind(record, there, known, state, token);
  for (const { id } of [...unpublished, ...unfinished, ...(earlierEras ? ofEarlierEras : [])]) {
    const isUnpublished: Condition = { kind: "absent", key: keys.checkpoint(id) };
    if (!(await condemn(options, id, isUnpublished, state, token))) break;
  }
  await deleteCondemned(options);
}

/**
 * Condemns and deletes what this worker has written and could not publish, wherever `latest` covers it: nobody else can publish it,
 * and nobody goes on from it. What is ahead of `latest`, or of another era, stays: a run that etcd lost may be rebuilt from it.
 * @param own by id; those that are condemned are taken out
 */
export async function removeOwnUnpublished(
  options: PruneOptions,
  state: Pointers | null,
  own: Map<string, StatePlace>,
): Promise<void> {
  if (own.size === 0 || !hasLatest(state)) return;
  const { keys, coordination } = options;
  const latest = state.latest.value;
  for (const [id, place] of own) {
    if (place.era !== latest.era || compareStates(latest, place) < 0) continue;
    const { succeeded } = await coordination.transact(
      [inEra(keys, state), { kind: "absent", key: keys.checkpoint(id) }, unchanged(keys.latest, state.latest)],
      [condemnation(keys, id)],
    );
    if (succeeded) own.delete(id);
  }
  await deleteCondemned(options);
}

/** Whole checkpoints, and the ids of those of which there are parts only. */
export interface InStorage {
  readonly stored: readonly StoredCheckpoint[];
  readonly parts: readonly string[];
}

/** To be asked before etcd is: what is published in between has a record then. */
export async function inStorage(storage: CheckpointStorage): Promise<InStorage> {
  return { stored: await storage.list(), parts: (await storage.unfinished?.()) ?? [] };
}

export interface LeftBehind {
  /** What was written before this token and is covered by `latest`. */
  readonly unpublished: readonly StoredCheckpoint[];
  /** Whole ones from before etcd's data were lost, of which it has no record since: nobody knows what was published. */
  readonly ofEarlierEras: readonly StoredCheckpoint[];
  /** Of this run's parts of checkpoints those that were begun before this token, or in an earlier era. */
  readonly unfinished: readonly (IdPlace & { readonly id: string })[];
}

/** @param known the ids of those of which etcd has a record */
export function leftBehind(
  record: JobRecord,
  { stored, parts }: InStorage,
  known: ReadonlySet<string>,
  { latest: { value: latest }, origin }: WithLatest,
  token: number,
): LeftBehind {
  const unrecorded = stored.filter(
    ({ id, manifest: { job, run } }) => job === record.job && run === String(record.run) && !known.has(id),
  );
  const unpublished = unrecorded.filter(({ manifest: { era, lineage, step, fencingToken } }) => {
    const isCovered = lineage < latest.lineage || (lineage === latest.lineage && step <= latest.step);
    return era === latest.era && isCovered && fencingToken < token;
  });
  const ofEarlierEras = unrecorded.filter(({ manifest: { era } }) => era < latest.era);
  // Tokens begin anew with each era, and generations do not.
  const { after } = origin === null ? firstOrigin : decodeJson<Origin>(origin);
  const unfinished = parts.flatMap((id) => {
    const place = placeInId(record, id);
    const isEarlier = place && (place.generation <= after || place.fencingToken < token);
    const isKnown = known.has(id) || unpublished.some((one) => one.id === id);
    return isEarlier && !isKnown ? [{ id, ...place }] : [];
  });
  return { unpublished, ofEarlierEras, unfinished };
}

export function hasLatest(pointers: Pointers | null): pointers is WithLatest {
  return pointers !== null && pointers.latest !== null;
}

function idIn(keys: Keys, key: string): string {
  return key.slice(keys.checkpoints.length);
}

function asItWas({ keys }: PruneOptions, { id, modRevision }: Read): Condition {
  return { kind: "modified-at", key: keys.checkpoint(id), revision: modRevision };
}

async function condemn(
  { keys, coordination }: PruneOptions,
  id: string,
  condition: Condition,
  state: Pointers,
  token: number,
): Promise<boolean> {
  const { succeeded } = await coordination.transact(
    [
      ...asLeader(keys, token, state),
      condition,
      unchanged(keys.latest, state.latest),
      unchanged(keys.best, state.best),
    ],
    [condemnation(keys, id)],
  );
  return succeeded;
}

function condemnation(keys: Keys, id: string): Operation {
  return {
    kind: "put",
    key: keys.checkpoint(id),
    value: encodeJson({ state: "condemned" } satisfies CheckpointRecord),
  };
}

/** Only what is condemned is deleted: it can never be published again, so nobody can be too late. */
async function deleteCondemned({ keys, coordination, storage }: PruneOptions): Promise<void> {
  const { entries } = await coordination.list(keys.checkpoints);
  for (const entry of entries) {
    if (decodeJson<CheckpointRecord>(entry.value).state !== "condemned") continue;
    await storage.delete(idIn(keys, entry.key));
    await coordination.transact(
      [{ kind: "modified-at", key: entry.key, revision: entry.modRevision }],
      [{ kind: "delete", key: entry.key }],
    );
  }
}
