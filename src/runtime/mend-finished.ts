/**
 * A run that is finished has no workers which would find out that what it published was damaged since: whoever evaluates it
 * finds out, each time anew. So a start reads `latest` and `best` back. What is corrupt is set aside, with the reason. Without
 * its `latest` the run is not finished any more, and its workers go on from the newest whole checkpoint before; `best` moves to
 * the next best that is whole. One transaction does it, which compares all that it was decided by.
 */
import { LockstepError, messageOf } from "../core/errors.ts";
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
 * What was mended, as sentences; none when all is whole, or cannot be told from here, or the run is not finished.
 * @param trainsOn whether this start trains such a run on: its workers then find out about `latest` by themselves
 */
export async function mendFinished(
  coordination: Coordination,
  archive: RunArchive | null,
  keys: Keys,
  trainsOn: (done: Done, record: JobRecord) => boolean,
): Promise<readonly string[]> {
  for (;;) {
    const { entries } = await coordination.list(keys.prefix);
    const reading = readRun(entries, keys);
    const record = readValue<JobRecord>(reading.entries, keys.record);
    const latest = readValue<CheckpointPointer>(reading.entries, keys.latest);
    const done = readValue<Done>(reading.entries, keys.done);
    if (!archive || !record || !latest || !done) return [];
    const unread = trainsOn(done, record) ? latest : null;
    const copies: string[] = [];
    const damaged = await damagedOf(archive, record, reading, { latest, unread, copies }, keys);
    if (damaged.size === 0) return copies;
    refuseWhileTraining(record, reading);
    const best = bestWithout(damaged, reading, keys);
    if (await setAside(coordination, keys, reading, { damaged, latest, best })) {
      return noticesOf(damaged, latest, readValue(reading.entries, keys.best), best);
    }
  }
}

/** Why, by id. Of a `best` that is damaged the next best is read too, and so on. */
async function damagedOf(
  archive: RunArchive,
  record: JobRecord,
  reading: RunReading,
  { latest, unread, copies }: { latest: CheckpointPointer; unread: CheckpointPointer | null; copies: string[] },
  keys: Keys,
): Promise<ReadonlyMap<string, string>> {
  const damaged = new Map<string, string>();
  const read = new Set(unread ? [unread.id] : []);
  const isDamaged = async (pointer: CheckpointPointer) => {
    if (read.has(pointer.id)) return damaged.has(pointer.id);
    read.add(pointer.id);
    const isLive = reading.checkpoints.some(({ state, pointer: { id } }) => state === "live" && id === pointer.id);
    const reason = isLive ? await damageOf(archive, record, pointer, copies) : null;
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

/** Null: it is whole, or it cannot be told. What is absent or cannot be read may be whole. A damaged copy of several is told. */
async function damageOf(
  archive: RunArchive,
  { run, replicas }: JobRecord,
  { id, manifestSha256, holders }: CheckpointPointer,
  told: string[],
): Promise<string | null> {
  if (replicas > 0) {
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
  try {
    const { manifestSha256: sha256 } = await archive.check(run, id);
    return sha256 === manifestSha256
      ? null
      : `its manifest has the SHA-256 ${sha256}, and ${manifestSha256} was published`;
  } catch (error) {
    return error instanceof CheckpointError && error.problem === "corrupt" ? messageOf(error) : null;
  }
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
      ? `${was}; of those that are whole ${best.id} (epoch ${best.epoch}, ${best.monitor} ${best.value}) is, from here on.`
      : `${was}, and no other one is whole that could be: best moves with the next epoch.`,
  ];
}
