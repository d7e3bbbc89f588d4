/** What etcd remembers of a run's weights: their digest at every boundary, and at every save. */
import { LockstepError } from "../core/errors.ts";
import { decodeJson } from "../core/json.ts";
import { keysOf, runKey } from "../core/keys.ts";
import type { EpochRecord, Equivalences, JobRecord, SaveRecord } from "../core/records.ts";
import type { CheckpointPointer } from "../core/status.ts";
import type { Coordination } from "../ports/coordination.ts";

export interface RunLedger {
  readonly record: JobRecord;
  readonly equivalences: readonly string[];
  readonly pointers: { readonly best: CheckpointPointer | null; readonly latest: CheckpointPointer | null };
  /** In order of steps; a boundary before the save that covers it. */
  readonly entries: readonly LedgerEntry[];
}

export type LedgerEntry = {
  readonly event: "boundary" | "save";
  readonly epoch: number;
  readonly step: number;
  readonly weightsDigest: string;
  /** The checkpoint; null for a boundary. */
  readonly checkpoint: string | null;
};

/** Of the newest run, or of the one with this number. */
export async function readLedger(coordination: Coordination, job: string, run: number | null): Promise<RunLedger> {
  const newest = await coordination.get(runKey(job));
  const keys = keysOf(job, run ?? Number(newest?.value ?? 0));
  const entry = await coordination.get(keys.record);
  if (!entry) {
    throw new LockstepError("usage", `etcd knows no run ${run === null ? "" : `${run} `}of a job "${job}".`, {
      hint: "Launch it first, name its folder with --directory, or give --shards to see the samples of a run to come.",
    });
  }
  const record = decodeJson<JobRecord>(entry.value);
  const [epochs, saves, equivalences, best, latest] = await Promise.all([
    coordination.list(keys.epochs(record.lineage)),
    coordination.list(keys.saves(record.lineage)),
    coordination.get(keys.equivalences),
    coordination.get(keys.best),
    coordination.get(keys.latest),
  ]);
  const entries: LedgerEntry[] = [
    ...epochs.entries.map(({ value }): LedgerEntry => {
      const { epoch, state, weightsDigest } = decodeJson<EpochRecord>(value);
      return { event: "boundary", epoch, step: state.step, weightsDigest, checkpoint: null };
    }),
    ...saves.entries.map(({ value }): LedgerEntry => ({ event: "save", ...decodeJson<SaveRecord>(value) })),
  ];
  return {
    record,
    equivalences: equivalences ? decodeJson<Equivalences>(equivalences.value).reasons : [],
    pointers: { best: best && decodeJson(best.value), latest: latest && decodeJson(latest.value) },
    entries: entries.sort((a, b) => a.step - b.step || a.event.localeCompare(b.event)),
  };
}
