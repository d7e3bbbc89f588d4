/**
 * Taking a state out of a checkpoint. *Unreadable is not corrupt*: what cannot be read, or is not to be seen yet, is waited for,
 * since it may be whole. What was read to the end and is not what was written, and what is gone (core/gone.ts), is set
 * aside, in etcd, with the reason; the coordinator then finds another state to go on from. Nothing is deleted.
 */
import type { FailureBudget } from "../core/failure-budget.ts";
import { messageOf } from "../core/errors.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import { goneReason, isGone } from "../core/gone.ts";
import type { Keys } from "../core/keys.ts";
import { CheckpointError } from "../core/manifest.ts";
import type { CheckpointRecord, JobRecord } from "../core/records.ts";
import type { CheckpointStorage } from "../ports/checkpoint-storage.ts";
import type { Clock } from "../ports/clock.ts";
import type { ComputeInfo } from "../ports/compute.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { type NamedSnapshot, verified } from "./held-state.ts";
import { withReaderPin } from "./pins.ts";
import { patiently, unlessAborted } from "./patience.ts";
import { contentToSnapshot } from "./state.ts";

export interface LoadOptions {
  readonly record: JobRecord;
  readonly info: ComputeInfo;
  readonly keys: Keys;
  readonly budget: FailureBudget;
  readonly coordination: Coordination;
  readonly storage: CheckpointStorage;
  readonly clock: Clock;
  readonly log: Log;
  readonly workerId: string;
}

export interface Wanted {
  readonly id: string;
  /** Of the state that it must hold. */
  readonly digest: string;
  /** The revision of the generation key that asks for it. */
  readonly generation: number;
}

/**
 * Rejects when `over` is aborted, and when the checkpoint does not fit this worker's model. Null when a stop was asked for
 * while it could not be read: what is to be gone on from is published, so nothing is lost by not waiting for it.
 */
export async function loadState(
  options: LoadOptions,
  wanted: Wanted,
  over: AbortSignal,
  isStopping: () => boolean,
): Promise<NamedSnapshot | null> {
  const { info, storage, clock, log, budget } = options;
  for (let said = ""; ; ) {
    try {
      // The storage may have to ask etcd who has it.
      const read = () => withReaderPin({ ...options, signal: over }, wanted.id, () => storage.load(wanted.id, over));
      const patience = { clock, log, pauseMs: budget.pollMs, signal: over };
      const content = await unlessAborted(patiently(patience, "reading a checkpoint", read), over);
      return await verifiedAs(contentToSnapshot(content, info), wanted, info);
    } catch (error) {
      over.throwIfAborted();
      if (!(error instanceof CheckpointError)) throw error;
      const reason =
        error.problem === "corrupt" ? error.message : (await isGoneNow(options, wanted, error)) ? goneReason : null;
      if (reason !== null) {
        await setAside(options, wanted, reason, over);
        // The next generation says what to go on from.
        return unlessAborted(new Promise<never>(() => {}), over);
      }
      if (error.message !== said) {
        log.warn("the state cannot be read yet; waiting for it", {
          checkpoint: wanted.id,
          reason: `${error.message} To go on from another one, stop, and start with --resume ID.`,
        });
      }
      said = error.message;
      if (isStopping()) return null;
    }
    await clock.sleep(budget.pollMs, over);
  }
}

async function verifiedAs(
  snapshot: NamedSnapshot["snapshot"],
  { id, digest }: Wanted,
  info: ComputeInfo,
): Promise<NamedSnapshot> {
  try {
    return await verified(snapshot, digest, info);
  } catch (error) {
    throw new CheckpointError("corrupt", `The checkpoint ${id} is another one: ${messageOf(error)}`);
  }
}

/** Where each worker has its own, another one may have it, and come back. */
async function isGoneNow(
  { coordination, keys, storage, record: { job, run, replicas }, clock }: LoadOptions,
  { id }: Wanted,
  { problem }: CheckpointError,
): Promise<boolean> {
  if (problem !== "missing" || replicas > 0) return false;
  try {
    const entry = await coordination.get(keys.checkpoint(id));
    const record = entry && decodeJson<CheckpointRecord>(entry.value);
    if (record?.state !== "live") return false;
    const ofRun = (await storage.list()).filter(({ manifest }) => manifest.job === job && manifest.run === String(run));
    const there = ofRun.map((stored) => stored.id);
    return isGone({ id, writtenAtMs: record.writtenAtMs }, there, clock.wallMs());
  } catch {
    return false; // who cannot be asked says nothing
  }
}

/** Only from live, and only as a member of the generation that asks for it: a fenced record. */
async function setAside(
  options: LoadOptions,
  { id, generation }: Wanted,
  reason: string,
  over: AbortSignal,
): Promise<void> {
  const { coordination, keys, clock, log, budget, workerId } = options;
  log.error("a checkpoint is set aside", { checkpoint: id, reason });
  const key = keys.checkpoint(id);
  const attempt = async (): Promise<boolean> => {
    const entry = await coordination.get(key);
    // Where etcd has lost its data, the era that follows says what to go on from.
    if (!entry) return false;
    const record = decodeJson<CheckpointRecord>(entry.value);
    if (record.state !== "live") return true;
    const aside: CheckpointRecord = { ...record, state: "set-aside", reason: `${workerId} says: ${reason}` };
    const { succeeded } = await coordination.transact(
      [
        { kind: "modified-at", key: keys.generation, revision: generation },
        { kind: "modified-at", key, revision: entry.modRevision },
      ],
      [{ kind: "put", key, value: encodeJson(aside) }],
    );
    return succeeded;
  };
  const parts = { clock, log, pauseMs: budget.pollMs / 4, signal: over };
  // When the generation is over that asked for it, `over` ends this.
  while (!(await patiently(parts, "setting a checkpoint aside", attempt))) await clock.sleep(parts.pauseMs, over);
}
