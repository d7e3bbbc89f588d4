/** What etcd remembers of a run's checkpoints: the ledger with its pointers, and which are live, condemned or pinned. */
import type { CheckpointsInEtcd } from "../core/checkpoint-list.ts";
import { decodeJson } from "../core/json.ts";
import { keysOf } from "../core/keys.ts";
import type { CheckpointRecord } from "../core/records.ts";
import type { Coordination } from "../ports/coordination.ts";
import { readPins } from "./pins.ts";
import { type RunLedger, readLedger } from "./read-ledger.ts";

export interface RunCheckpoints extends RunLedger, CheckpointsInEtcd {
  /** Somebody leads it, who may delete checkpoints. */
  readonly isLed: boolean;
}

/** Of the run that was trained last, or of the one with this number. */
export async function readCheckpoints(
  coordination: Coordination,
  job: string,
  run: number | null,
): Promise<RunCheckpoints> {
  const ledger = await readLedger(coordination, job, run);
  const keys = keysOf(job, ledger.record.run);
  const { entries } = await coordination.list(keys.checkpoints);
  const records = entries.map(
    ({ key, value }) => [key.slice(keys.checkpoints.length), decodeJson<CheckpointRecord>(value)] as const,
  );
  const isLed = (await coordination.get(keys.leader)) !== null;
  return { ...ledger, isLed, records: new Map(records), pins: await readPins({ coordination, keys }) };
}
