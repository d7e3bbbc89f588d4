/** A run's committed epochs, from what etcd remembers of it or from its checkpoints. */
import type { ComparedRun } from "../core/comparison.ts";
import type { CheckpointPolicy } from "../core/checkpoint-policy.ts";
import { LockstepError } from "../core/errors.ts";
import type { Fingerprint } from "../core/fingerprint.ts";
import { decodeJson } from "../core/json.ts";
import { keysOf, runKey } from "../core/keys.ts";
import { CheckpointError } from "../core/manifest.ts";
import type { Progress } from "../core/progress.ts";
import type { Equivalences, JobRecord } from "../core/records.ts";
import { usualPolicy } from "../core/run-history.ts";
import { noSettings, settingsIn } from "../core/settings.ts";
import type { CheckpointStorage, StoredCheckpoint } from "../ports/checkpoint-storage.ts";
import type { Coordination } from "../ports/coordination.ts";
import { historyOf, policyOf } from "./cluster-status.ts";
import { readRun, readValue } from "./run-reading.ts";
import { progressOf } from "./state.ts";

/** All that can be compared of a run. */
export type ReadRun = Omit<ComparedRun, "name">;

/** Of the run that was trained last, or of the one with this number. "usage": etcd knows no such run. */
export async function historyFromEtcd(coordination: Coordination, job: string, run: number | null): Promise<ReadRun> {
  const last = await coordination.get(runKey(job));
  const keys = keysOf(job, run ?? Number(last?.value ?? 0));
  const entry = await coordination.get(keys.record);
  if (!entry) {
    throw new LockstepError("usage", `etcd knows no run ${run === null ? "" : `${run} `}of a job "${job}".`, {
      hint:
        run !== null && last
          ? `The one that was trained last is run ${last.value}.`
          : "Launch it first, or name its folder.",
    });
  }
  const record = decodeJson<JobRecord>(entry.value);
  const reading = readRun((await coordination.list(keys.prefix)).entries, keys);
  const { entries, epochs } = reading;
  return {
    job,
    run: record.run,
    settings: record.settings ?? noSettings,
    policy: policyOf(record),
    history: historyOf(reading),
    digests: new Map(epochs.map(({ epoch, weightsDigest }) => [epoch, weightsDigest])),
    fields: readValue<Fingerprint>(entries, keys.fingerprint) ?? record.fields,
    equivalences: readValue<Equivalences>(entries, keys.equivalences)?.reasons ?? [],
  };
}

/**
 * Of the newest checkpoint that is whole, which remembers all epochs before it. Whoever calls is told of those that are not.
 * "corrupt-checkpoint": none is whole.
 * @param stored of one run, oldest first, at least one
 */
export async function historyFromCheckpoints(
  storage: CheckpointStorage,
  stored: readonly StoredCheckpoint[],
  onCorrupt: (error: CheckpointError) => void,
): Promise<ReadRun> {
  const { stored: newest, progress } = await newestWhole(storage, stored, onCorrupt);
  const { job, run, openings, fingerprint, equivalences } = newest.manifest;
  // What was trained in an earlier lineage counts up to where the next one was opened.
  const isOnTheWay = (one: StoredCheckpoint["manifest"]) =>
    openings.every(({ lineage, step }) => one.lineage >= lineage || one.step <= step);
  const boundaries = stored.filter((one) => one.manifest.stepInEpoch === 0 && isOnTheWay(one.manifest));
  return {
    job,
    run: Number(run),
    settings: settingsIn(fingerprint),
    policy: policyIn(progress),
    history: progress.history,
    digests: new Map(boundaries.map((one) => [one.manifest.epoch, one.manifest.weightsDigest])),
    fields: fingerprint,
    equivalences,
  };
}

/** The newest checkpoint that is whole, and the progress that it holds. As `historyFromCheckpoints`. */
export async function newestWhole(
  storage: CheckpointStorage,
  stored: readonly StoredCheckpoint[],
  onCorrupt: (error: CheckpointError) => void,
): Promise<{ readonly stored: StoredCheckpoint; readonly progress: Progress }> {
  for (const one of [...stored].reverse()) {
    try {
      return { stored: one, progress: progressOf(await storage.load(one.id)) };
    } catch (error) {
      if (!(error instanceof CheckpointError) || error.problem !== "corrupt") throw error;
      onCorrupt(error);
    }
  }
  throw new CheckpointError("corrupt", `No checkpoint of the run is whole: ${stored.length} were read.`);
}

/** What decided about the best epoch, as far as the state remembers it. */
export function policyIn({ best, history }: Progress): CheckpointPolicy {
  return best ? { monitor: best.of.monitor, mode: best.of.mode } : usualPolicy(history);
}
