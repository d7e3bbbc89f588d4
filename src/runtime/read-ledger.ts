/** What etcd remembers of a run's weights: their digest at every boundary, and at every save. */
import { LockstepError } from "../core/errors.ts";
import type { Fingerprint } from "../core/fingerprint.ts";
import { decodeJson } from "../core/json.ts";
import { keysOf, runKey } from "../core/keys.ts";
import { isOnTheWay } from "../core/origin.ts";
import type { Equivalences, JobRecord, SaveRecord } from "../core/records.ts";
import type { CheckpointPointer } from "../core/status.ts";
import type { Coordination } from "../ports/coordination.ts";
import { readRun, readValue } from "./run-reading.ts";

export interface RunLedger {
  readonly record: JobRecord;
  /** Of the whole dataset; null before the first membership. */
  readonly dataDigest: string | null;
  readonly equivalences: readonly string[];
  /** The lineage under way; the entries are those on the way to it. */
  readonly lineage: number;
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

/** Of the run that was trained last, or of the one with this number. */
export async function readLedger(coordination: Coordination, job: string, run: number | null): Promise<RunLedger> {
  const last = await coordination.get(runKey(job));
  const keys = keysOf(job, run ?? Number(last?.value ?? 0));
  const entry = await coordination.get(keys.record);
  if (!entry) {
    throw new LockstepError("usage", `etcd knows no run ${run === null ? "" : `${run} `}of a job "${job}".`, {
      hint: "Launch it first, or name its folder with --directory.",
    });
  }
  const record = decodeJson<JobRecord>(entry.value);
  const { entries: listed } = await coordination.list(keys.prefix);
  const { entries: known, epochs, origin, earlier } = readRun(listed, keys);
  const saves = listed
    .filter(({ key }) => key.startsWith(keys.saves))
    .map(({ value }) => decodeJson<SaveRecord>(value))
    .filter((save) => isOnTheWay(save, origin, earlier));
  const entries: LedgerEntry[] = [
    ...epochs.map(
      ({ epoch, state, weightsDigest }): LedgerEntry => ({
        ...{ event: "boundary", epoch, step: state.step, weightsDigest, checkpoint: null },
      }),
    ),
    ...saves.map(
      ({ epoch, step, weightsDigest, checkpoint }): LedgerEntry => ({
        ...{ event: "save", epoch, step, weightsDigest, checkpoint },
      }),
    ),
  ];
  return {
    record,
    dataDigest: readValue<Fingerprint>(known, keys.fingerprint)?.["data.digest"] ?? null,
    equivalences: readValue<Equivalences>(known, keys.equivalences)?.reasons ?? [],
    lineage: origin.lineage,
    pointers: { best: readValue(known, keys.best), latest: readValue(known, keys.latest) },
    entries: entries.sort((a, b) => a.step - b.step || a.event.localeCompare(b.event)),
  };
}
