/**
 * What a start finds wrong with what is published, before there are workers that would. Of a run that is finished it reads `latest` and
 * `best` back, since whoever evaluates it would find out each time anew. Of any other it looks whether `best` is there, since
 * nobody goes on from it: `latest` is the workers' business. What is corrupt or gone is set aside, with the reason. Without its
 * `latest` a run is not finished any more, and its workers go on from the newest whole checkpoint before; `best` moves to
 * the next best that is left. One transaction does it, which compares all that it was decided by.
 */
import { LockstepError, messageOf } from "../core/errors.ts";
import { goneReason, isGone } from "../core/gone.ts";
import { encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { CheckpointError } from "../core/manifest.ts";
import type { Done, JobRecord, PublishedRecord } from "../core/records.ts";
import type { CheckpointPointer } from "../core/status.ts";
import type { Coordination, Operation } from "../ports/coordination.ts";
import { bestLeft } from "./decision-operations.ts";
import type { RunArchive } from "./rebuild-run.ts";
import { type RunReading, readRun, readValue } from "./run-reading.ts";
import { unchanged } from "./run-view.ts";

/**
 * What was mended, as sentences; none when all is whole, or cannot be told from here.
 * @param nowMs by the wall clock
 * @param trainsOn whether this start trains such a run on: its workers then find out about `latest` by themselves
 */
export async function mendPublished(
  coordination: Coordination,
  archive: RunArchive | null,
  keys: Keys,
  nowMs: number,
  trainsOn: (done: Done, record: JobRecord) => boolean,
): Promise<readonly string[]> {
  for (;;) {
    const { entries } = await coordination.list(keys.prefix);
    const reading = readRun(entries, keys);
    const record = readValue<JobRecord>(reading.entries, keys.record);
    const latest = readValue<CheckpointPointer>(reading.entries, keys.latest);
    const done = readValue<Done>(reading.entries, keys.done);
    if (!archive || !record || !latest) return [];
    const unread = !done || trainsOn(done, record) ? latest : null;
    const copies: string[] = [];
    const look = done ? "read" : "find";
    const damaged = await damagedOf({ archive, record, reading, keys, nowMs, look, copies }, { latest, unread });
    if (damaged.size === 0) return copies;
    // Those who train publish and set aside by themselves.
    if (!done && reading.members.length > 0) return copies;
    refuseWhileTraining(record, reading);
    const best = bestWithout(damaged, reading, keys);
    if (await setAside(coordination, keys, reading, { damaged, latest, best })) {
      return noticesOf(damaged, latest, readValue(reading.entries, keys.best), best);
    }
  }
}

interface Looking {
  readonly archive: RunArchive;
  readonly record: JobRecord;
  readonly reading: RunReading;
  readonly keys: Keys;
  readonly nowMs: number;
  /** "find": only whether it is there. */
  readonly look: "read" | "find";
  /** Told of damaged copies, where there are several. */
  readonly copies: string[];
}

/** Why, by id. Of a `best` that is damaged the next best is looked at too, and so on. */
async function damagedOf(
  looking: Looking,
  { latest, unread }: { latest: CheckpointPointer; unread: CheckpointPointer | null },
): Promise<ReadonlyMap<string, string>> {
  const { reading, keys } = looking;
  const damaged = new Map<string, string>();
  const seen = new Set(unread ? [unread.id] : []);
  const isDamaged = async (pointer: CheckpointPointer) => {
    if (seen.has(pointer.id)) return damaged.has(pointer.id);
    seen.add(pointer.id);
    const live = reading.checkpoints.find((one) => one.state === "live" && one.pointer.id === pointer.id);
    const reason = live ? await damageOf(looking, live) : null;
    if (reason !== null) damaged.set(pointer.id, reason);
    return reason !== null;
  };
  await isDamaged(latest);
  for (
    let best = readValue<CheckpointPointer>(reading.entries, keys.best);
    best && (await isDamaged(best));
    best = bestWithout(damaged, reading, keys)
  );
  return damaged;
}

/** Null: it is whole, or it cannot be told: what cannot be read may be whole. A damaged copy of several is told. */
async function damageOf(looking: Looking, published: PublishedRecord): Promise<string | null> {
  const { archive, look } = looking;
  const { run, replicas } = looking.record;
  if (replicas > 0) return look === "read" ? damageOfCopies(looking, published.pointer) : null;
  const { id, manifestSha256 } = published.pointer;
  const there = (await archive.checkpointsOf(run)).map((stored) => stored.id);
  const isAway = () => isGone({ id, writtenAtMs: published.writtenAtMs }, there, looking.nowMs);
  if (look === "find") return !there.includes(id) && isAway() ? goneReason : null;
  try {
    const { manifestSha256: sha256 } = await archive.check(run, id);
    return sha256 === manifestSha256
      ? null
      : `its manifest has the SHA-256 ${sha256}, and ${manifestSha256} was published`;
  } catch (error) {
    if (!(error instanceof CheckpointError)) return null;
    if (error.problem === "missing" && isAway()) return goneReason;
    return error.problem === "corrupt" ? messageOf(error) : null;
  }
}

async function damageOfCopies(
  { archive, record: { run }, copies: told }: Looking,
  { id, manifestSha256, holders }: CheckpointPointer,
): Promise<string | null> {
  const copies = await archive.copiesOf(run, id, manifestSha256);
  const corrupt = copies.filter(({ wrong }) => wrong?.problem === "corrupt");
  for (const { location, wrong } of corrupt) {
    told.push(
      `The copy of ${id} in ${location} is damaged; it is replaced once its worker needs it: ${messageOf(wrong)}`,
    );
  }
  // A holder that is not seen from here may have a whole copy.
  if (copies.length < (holders?.length ?? 1)) return null;
  return corrupt.length === copies.length ? messageOf(copies[0]?.wrong) : null;
}

function bestWithout(damaged: ReadonlyMap<string, string>, reading: RunReading, keys: Keys): CheckpointPointer | null {
  const checkpoints = reading.checkpoints.map(
    (one): PublishedRecord => (damaged.has(one.pointer.id) ? { ...one, state: "set-aside" } : one),
  );
  return bestLeft({ ...reading, checkpoints }, keys);
}

function refuseWhileTraining({ job, run }: JobRecord, { members }: RunReading): void {
  if (members.length === 0) return;
  const who = members.map(({ name }) => name).join(", ");
  throw new LockstepError("job-running", `${who} of run ${run} of "${job}" are still there, and it has to be mended.`, {
    hint: "They end by themselves, as the run is finished; start it again then.",
  });
}

async function setAside(
  coordination: Coordination,
  keys: Keys,
  reading: RunReading,
  found: {
    readonly damaged: ReadonlyMap<string, string>;
    readonly latest: CheckpointPointer;
    readonly best: CheckpointPointer | null;
  },
): Promise<boolean> {
  const { damaged, latest, best } = found;
  const before = readValue<CheckpointPointer>(reading.entries, keys.best);
  const operations = [...damaged].map(([id, reason]): Operation => {
    const record = reading.checkpoints.find(({ pointer }) => pointer.id === id)!;
    const aside: PublishedRecord = { ...record, state: "set-aside", reason: `a start says: ${reason}` };
    return { kind: "put", key: keys.checkpoint(id), value: encodeJson(aside) };
  });
  if (damaged.has(latest.id)) operations.push({ kind: "delete", key: keys.done });
  if (best && best.id !== before?.id) operations.push({ kind: "put", key: keys.best, value: encodeJson(best) });
  if (before && !best) operations.push({ kind: "delete", key: keys.best });
  const { record, origin, generation, done } = keys;
  const ids = new Set([...damaged.keys(), ...(best ? [best.id] : [])]);
  // The records of the checkpoints too: those must still be live.
  const compared = [record, origin, generation, done, keys.latest, keys.best, ...[...ids].map(keys.checkpoint)];
  const conditions = compared.map((key) => unchanged(key, reading.entries.get(key)));
  return (await coordination.transact(conditions, operations)).succeeded;
}

function noticesOf(
  damaged: ReadonlyMap<string, string>,
  latest: CheckpointPointer,
  before: CheckpointPointer | null,
  best: CheckpointPointer | null,
): string[] {
  const notices = [...damaged].map(
    ([id, reason]) => `The checkpoint ${id} is set aside: ${reason.replace(/\.$/, "")}.`,
  );
  if (damaged.has(latest.id)) {
    notices.push("It was latest, so the run is not finished any more: it goes on from the newest whole one before it.");
  }
  if (!before || before.id === best?.id) return notices;
  const was = `${before.id} (epoch ${before.epoch}) was best`;
  return [
    ...notices,
    best
      ? `${was}; of those that are left ${best.id} (epoch ${best.epoch}, ${best.monitor} ${best.value}) is, from here on.`
      : `${was}, and no other one is left that could be: best moves with the next epoch.`,
  ];
}
