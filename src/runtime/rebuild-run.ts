/**
 * What etcd knew of a run, written anew from its checkpoints: when etcd's data are gone, or are older than what its members
 * and its checkpoints have seen. Revisions begin anew then, so a new *era* does: nothing that was fenced in the one before
 * counts in it. Whoever trains goes on from the state that it has; nobody publishes or deletes before this is done.
 */
import { type BestSoFar, isSameBest, movesBest } from "../core/checkpoint-policy.ts";
import type { CheckpointRule } from "../core/job.ts";
import { LockstepError, messageOf } from "../core/errors.ts";
import { encodeJson } from "../core/json.ts";
import { type Keys, keysOf, runKey } from "../core/keys.ts";
import { CheckpointError, type Manifest } from "../core/manifest.ts";
import { firstOrigin, type Origin } from "../core/origin.ts";
import type { Progress } from "../core/progress.ts";
import type { CheckpointRecord, Equivalences, JobRecord, PublishedRecord } from "../core/records.ts";
import { settingsIn } from "../core/settings.ts";
import { compareStates } from "../core/state-order.ts";
import { type CheckpointPointer, type EpochHistory, stateOf } from "../core/status.ts";
import type {
  CheckpointContent,
  CheckpointCopy,
  CheckpointWords,
  RunSources,
  StoredCheckpoint,
} from "../ports/checkpoint-storage.ts";
import type { Condition, Coordination, Operation } from "../ports/coordination.ts";
import { bestSoFar, equivalencesOf } from "./decision-operations.ts";
import { pointerOf } from "./pointers.ts";
import { type RunReading, readRun, readValue } from "./run-reading.ts";
import { unchanged } from "./run-view.ts";
import { progressOf } from "./state.ts";

/** The checkpoints of a job, of all its runs, as a coordinator sees them. */
export interface RunArchive extends RunSources {
  /** The newest run of which there is a checkpoint; 0 when there is none. */
  newestRun(): Promise<number>;
  /** As `CheckpointStorage.load`. */
  load(run: number, id: string): Promise<CheckpointContent>;
  /** As `CheckpointStorage.check`. */
  check(run: number, id: string): Promise<StoredCheckpoint>;
  /** As `CheckpointStorage.copies`; empty where all share one place. */
  copiesOf(run: number, id: string, manifestSha256: string): Promise<readonly CheckpointCopy[]>;
  /** Whether they lie in workers' own directories, and not in one that all share. */
  isReplicated(run: number): Promise<boolean>;
}

/** A transaction takes 128 operations: where there are more checkpoints than this, the oldest are written down before it. */
const recordsAtOnce = 100;

/**
 * The highest generation that anybody has seen and etcd does not know of; null when it knows of all. `seen`: what the asker
 * itself has read of.
 */
export function unknownGeneration(reading: RunReading, stored: readonly StoredCheckpoint[], seen = 0): number | null {
  const known = Math.max(reading.generation?.generation ?? 0, reading.origin.after);
  const highest = Math.max(
    seen,
    ...reading.members.map((member) => member.seen),
    ...stored.map(({ manifest }) => manifest.generation),
  );
  return highest > known ? highest : null;
}

/** Whether etcd knows less of the run than its members, or than the asker, who has read of generation `seen`. */
export function hasLostData(reading: RunReading, keys: Keys, seen: number): boolean {
  return !reading.entries.has(keys.record) || unknownGeneration(reading, [], seen) !== null;
}

export interface Rebuilding {
  readonly coordination: Coordination;
  readonly job: string;
  readonly run: number;
  /** Null when nobody remembers it: it is then taken from the newest checkpoint, with the wishes of this start. */
  readonly record: JobRecord | null;
  readonly wishes: Pick<JobRecord, "workers" | "budgetMs" | "epochs" | "checkpoint" | "replicas">;
  /** Null where the coordinator sees no checkpoints: those who train still have their states. */
  readonly archive: RunSources | null;
  /** Of a run that is rebuilt already, as far as it could be: what is in the archive are only those that etcd does not name. */
  readonly fromBrought?: boolean;
  /** The highest generation that this coordinator has read of. */
  readonly seen: number;
  /** The transaction is the active coordinator's; empty at a start. */
  readonly conditions: readonly Condition[];
}

export interface Rebuilt {
  /** False when something changed meanwhile: everything is to be looked at again. */
  readonly succeeded: boolean;
  /** What a person should know of, each a sentence. */
  readonly notices: readonly string[];
}

export async function rebuildRun(wish: Rebuilding): Promise<Rebuilt> {
  const { coordination, job, run, archive } = wish;
  const keys = keysOf(job, run);
  const [newest, { entries }] = await Promise.all([coordination.get(runKey(job)), coordination.list(keys.prefix)]);
  const reading = readRun(entries, keys);
  const stored = (await archive?.checkpointsOf(run)) ?? [];
  const unknown = unknownGeneration(reading, stored, wish.seen);
  // Somebody else has rebuilt it, or it was only read before the checkpoints were.
  const knowsAll = reading.entries.has(keys.record) && unknown === null;
  if (knowsAll && !wish.fromBrought) return { succeeded: false, notices: [] };
  const isUsable = (id: string) => (recordIn(reading, keys, id)?.state ?? "live") === "live";
  const { whole, setAside } = await newestWhole(
    archive,
    run,
    stored.filter(({ id }) => isUsable(id)),
  );
  const record = wish.record ?? (whole && recordOf(wish, whole.content));
  if (!record) {
    throw new LockstepError(
      "corrupt-checkpoint",
      `etcd's data of run ${run} of "${job}" are gone, and none of its ${stored.length} checkpoints is whole: ${setAside[0]?.reason ?? ""}`,
      { hint: "Put a whole checkpoint back in its place, or begin a new run with --resume never." },
    );
  }
  const named = wish.fromBrought ? reading.checkpoints.filter(({ state }) => state === "live") : [];
  const { pointers, best, progress } = pointersOf(stored, { named, setAside }, whole, record);
  const latest = whole && pointers.get(whole.stored.id)!;
  const from = latest && { checkpoint: latest.id, state: stateOf(latest) };
  const lineage = Math.max(reading.origin.lineage, whole?.stored.manifest.lineage ?? 1);
  const origin: Origin = {
    lineage,
    era: 1 + Math.max(reading.origin.era, ...stored.map(({ manifest }) => manifest.era)),
    // Step 0 is published before anybody takes another.
    from: from ?? (stored.length > 0 || (unknown !== null && !archive) ? unseen(lineage) : null),
    reason: "etcd's data were lost, or older than what was trained",
    best: bestSoFar(best),
    after: unknown ?? reading.generation?.generation ?? reading.origin.after,
  };
  const put = (key: string, value: unknown): Operation => ({ kind: "put", key, value: encodeJson(value) });
  const reasons = [...new Set([...(whole?.stored.manifest.equivalences ?? []), ...equivalencesOf(reading, keys)])];
  const operations: Operation[] = [
    { kind: "put", key: runKey(job), value: String(Math.max(run, Number(newest?.value ?? 0))) },
    // Whoever trains on belongs to its own start, and is to hear a stop of this one.
    put(keys.record, { ...record, start: Math.max(record.start, ...reading.members.map(({ start }) => start)) }),
    put(keys.origin, origin),
    put(keys.equivalences, { reasons } satisfies Equivalences),
    ...(whole ? [put(keys.fingerprint, whole.stored.manifest.fingerprint)] : []),
    // One that was forming without a beginning: whoever is in it would wait for it.
    ...(wish.fromBrought && reading.generation ? [{ kind: "delete" as const, key: keys.generation }] : []),
    ...(latest ? [put(keys.latest, latest)] : []),
    ...(best ? [put(keys.best, best)] : []),
    ...(progress ? [put(keys.remembered, progress.history satisfies readonly EpochHistory[])] : []),
  ];
  const records = [
    ...recordsOf(stored, pointers, setAside)
      .filter(({ state, pointer: { id } }) => state === "set-aside" || !recordIn(reading, keys, id))
      .map((one) => put(keys.checkpoint(one.pointer.id), one)),
    ...(archive && !wish.fromBrought ? withoutFiles(reading, keys, stored) : []),
    ...(whole ? lineagesOf(whole.stored.manifest, stored) : [])
      .map((one) => put(keys.lineage(one.lineage), one))
      .filter(({ key }) => !reading.entries.has(key)),
  ];
  const asRead = (key: string) => unchanged(key, reading.entries.get(key));
  const untouched = [keys.record, keys.origin, keys.generation, keys.latest, keys.best].map(asRead);
  const conditions = [...wish.conditions, ...untouched];
  // All of them, as what etcd does not name is deleted from disks. Without the origin, which comes last, all is begun anew.
  let succeeded = true;
  // Of each record what was read, too: a leader may condemn meanwhile what it could not publish.
  const write = async (what: readonly Operation[], others: readonly Operation[] = []) =>
    (await coordination.transact([...conditions, ...what.map(({ key }) => asRead(key))], [...others, ...what]))
      .succeeded;
  while (succeeded && records.length > recordsAtOnce) succeeded = await write(records.splice(0, recordsAtOnce));
  if (succeeded) succeeded = await write(records, operations);
  const goesOn = latest
    ? `${latest.id}, step ${latest.step}, is the newest that is whole`
    : "no checkpoint can be seen from here";
  return {
    succeeded,
    notices: [
      `etcd knew less of run ${run} than its workers or checkpoints: era ${origin.era} begins, and ${goesOn}.`,
      ...setAside.map(({ id, reason }) => `The checkpoint ${id} is set aside: ${reason}`),
      ...(progress?.best && !best
        ? [
            `The best checkpoint (epoch ${progress.best.epoch}) is not there any more; best moves with the next epoch that is better.`,
          ]
        : []),
    ],
  };
}

/** No checkpoint can be seen from here: only who has it in memory can go on, since nobody may begin at the seed again. */
function unseen(lineage: number): Origin["from"] {
  return { checkpoint: null, state: { lineage, era: 0, step: -1, epoch: -1, digest: "" } };
}

function recordIn({ entries }: RunReading, keys: Keys, id: string): CheckpointRecord | null {
  return readValue<CheckpointRecord>(entries, keys.checkpoint(id));
}

/** What an older copy of etcd's data names and was deleted since. */
function withoutFiles({ entries }: RunReading, keys: Keys, stored: readonly StoredCheckpoint[]): Operation[] {
  const there = new Set(stored.map(({ id }) => keys.checkpoint(id)));
  return [...entries.keys()]
    .filter((key) => key.startsWith(keys.checkpoints) && !there.has(key))
    .map((key) => ({ kind: "delete", key }));
}

/**
 * Where each lineage began on the way to this state, as its manifest tells. Whoever goes back later asks them what lies on that
 * way. Of a checkpoint that is deleted it is known where it was, but not whether its epoch was closed: neither is there any more.
 */
function lineagesOf({ openings }: Manifest, stored: readonly StoredCheckpoint[]): Origin[] {
  return openings.flatMap(({ lineage, era, step, checkpoint, reason }, i): Origin[] => {
    const before = openings[i - 1] ?? firstOrigin;
    if (lineage === before.lineage) return [];
    const from = stored.find(({ id }) => id === checkpoint)?.manifest;
    const place = from ?? { ...{ lineage: before.lineage, era: before.era }, step, epoch: Number.MAX_SAFE_INTEGER };
    const state = {
      ...{ lineage: place.lineage, era: place.era, step: place.step, epoch: place.epoch },
      digest: from?.stateDigest ?? "",
    };
    return [{ lineage, era, from: { checkpoint, state }, reason, best: null, after: 0 }];
  });
}

interface Whole {
  readonly stored: StoredCheckpoint;
  readonly content: CheckpointWords;
}

/** The newest that can be read to the end and is what was written, and what was found wrong with those after it. */
async function newestWhole(
  archive: RunSources | null,
  run: number,
  stored: readonly StoredCheckpoint[],
): Promise<{ whole: Whole | null; setAside: readonly { readonly id: string; readonly reason: string }[] }> {
  const setAside: { id: string; reason: string }[] = [];
  const newestFirst = [...stored].sort((a, b) => compareStates(b.manifest, a.manifest));
  for (const one of newestFirst) {
    try {
      return { whole: { stored: one, content: await archive!.load(run, one.id) }, setAside };
    } catch (error) {
      // What cannot be read may be whole: nobody goes back behind it.
      if (!(error instanceof CheckpointError) || error.problem !== "corrupt") throw error;
      setAside.push({ id: one.id, reason: messageOf(error) });
    }
  }
  return { whole: null, setAside };
}

/** What the run was trained with, as its newest checkpoint says it. */
function recordOf({ job, run, wishes }: Rebuilding, { manifest }: CheckpointWords): JobRecord {
  const { fingerprint } = manifest;
  const fields = Object.entries(fingerprint).filter(([field]) => field.startsWith("job.") && field !== "job.graph");
  return {
    ...{ job, run, ...wishes },
    shards: Number(fingerprint.shards),
    threads: Number(fingerprint["engine.threads"] ?? 1),
    fields: Object.fromEntries(fields),
    settings: settingsIn(fingerprint),
    mayChange: false,
    isAskedFor: false,
    // The start that rebuilds it is the first that etcd knows of.
    start: 0,
  };
}

function pointersOf(
  stored: readonly StoredCheckpoint[],
  { named, setAside }: { named: readonly PublishedRecord[]; setAside: readonly { readonly id: string }[] },
  whole: Whole | null,
  { checkpoint }: JobRecord,
) {
  const progress: Progress | null = whole && progressOf(whole.content);
  const sampling = progress?.samplings.at(-1) ?? null;
  const pointers = new Map(stored.map((one) => [one.id, pointerOf(one, checkpoint, sampling)]));
  const known = [...named.map(({ pointer }) => pointer), ...pointers.values()];
  const isSetAside = ({ id }: CheckpointPointer) => setAside.some((one) => one.id === id);
  const epochs = known.filter((pointer) => pointer.stepInEpoch === 0 && !isSetAside(pointer));
  return { pointers, best: bestAmong(epochs, progress?.best ?? null, checkpoint), progress };
}

/**
 * The checkpoint of the epoch that was the best one, when the newest was written. If that was never published, or is not there
 * any more, the best of those that are.
 */
function bestAmong(
  pointers: readonly CheckpointPointer[],
  best: BestSoFar | null,
  rule: CheckpointRule,
): CheckpointPointer | null {
  if (!best) return null;
  const found = pointers.filter(({ step, value }) => step === best.step && value === best.value).at(-1);
  if (found) return { ...found, of: best.of };
  return pointers
    .filter(({ of }) => isSameBest(of, best.of))
    .reduce<CheckpointPointer | null>((top, one) => (movesBest(rule, top, one) ? one : top), null);
}

function recordsOf(
  stored: readonly StoredCheckpoint[],
  pointers: ReadonlyMap<string, CheckpointPointer>,
  setAside: readonly { readonly id: string; readonly reason: string }[],
): PublishedRecord[] {
  return stored.map(({ id, manifest }) => {
    const wrong = setAside.find((one) => one.id === id);
    const record = { pointer: pointers.get(id)!, writtenAtMs: Date.parse(manifest.writtenAt) };
    return wrong ? { ...record, state: "set-aside", reason: wrong.reason } : { ...record, state: "live" };
  });
}
