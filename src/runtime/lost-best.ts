/** The best checkpoint, where etcd has lost its name: whoever has trained on remembers which one it was, and somebody may have it. */
import { type BestSoFar, movesBest } from "../core/checkpoint-policy.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { CheckpointError } from "../core/manifest.ts";
import type { Member } from "../core/membership.ts";
import type { CheckpointRecord, JobRecord } from "../core/records.ts";
import type { CheckpointPointer } from "../core/status.ts";
import type { CheckpointStorage } from "../ports/checkpoint-storage.ts";
import type { Coordination, Operation } from "../ports/coordination.ts";
import { broughtAt } from "./brought-checkpoints.ts";
import { pointerOf } from "./pointers.ts";

export interface LostBestOptions {
  readonly coordination: Coordination;
  readonly keys: Keys;
  readonly record: JobRecord;
  readonly storage: CheckpointStorage;
}

/**
 * What gives it its name back, or null: because what etcd names is as good, or because nobody who is here brings it. It is read
 * to the end first, and this worker has a copy then.
 */
export async function namingLostBest(
  { coordination, keys, record, storage }: LostBestOptions,
  best: BestSoFar | null,
  published: CheckpointPointer | null,
): Promise<{ readonly id: string; readonly operations: readonly Operation[] } | null> {
  if (!best || !movesBest(record.checkpoint, published, best)) return null;
  const { entries } = await coordination.list(keys.members);
  const members = entries.map(({ value }) => decodeJson<Member>(value));
  for (const id of broughtAt(best.step, record, members)) {
    if (!(await isWhole(storage, id))) continue;
    const stored = (await storage.list()).find((one) => one.id === id);
    const { metrics } = stored?.manifest ?? { metrics: null };
    if (!stored || stored.manifest.epoch !== best.epoch || metrics?.[best.of.monitor] !== best.value) continue;
    const holders = members.filter(({ brings }) => brings.includes(id)).map(({ name }) => name);
    const pointer = { ...pointerOf({ ...stored, holders }, record.checkpoint, null), of: best.of };
    const live: CheckpointRecord = { state: "live", pointer, writtenAtMs: Date.parse(stored.manifest.writtenAt) };
    const put = (key: string, value: unknown): Operation => ({ kind: "put", key, value: encodeJson(value) });
    return { id, operations: [put(keys.best, pointer), put(keys.checkpoint(id), live)] };
  }
  return null;
}

async function isWhole(storage: CheckpointStorage, id: string): Promise<boolean> {
  try {
    await storage.load(id);
    return true;
  } catch (error) {
    if (error instanceof CheckpointError) return false;
    throw error;
  }
}
