/** What a run is doing, for people and tools: made from what etcd holds and from what the workers say. */
import type { CheckpointPolicy } from "../core/checkpoint-policy.ts";
import { memberIds } from "../core/membership.ts";
import { decodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { runProgress } from "../core/pace.ts";
import {
  type CoordinatorRecord,
  type Done,
  type Ending,
  type EpochRecord,
  type Equivalences,
  isFor,
  type JobRecord,
  type LeaderRecord,
} from "../core/records.ts";
import { noSettings } from "../core/settings.ts";
import type {
  CheckpointPointer,
  ClusterState,
  ClusterStatus,
  EpochHistory,
  ProcessStatus,
  RunningEpoch,
} from "../core/status.ts";
import { type Wishes, wishesOf } from "../core/wishes.ts";
import type { Entry, Lease } from "../ports/coordination.ts";
import { type RunReading, readValue } from "./run-reading.ts";

/** How far a worker says it is. */
export interface WorkerProgress {
  readonly workerId: string;
  readonly generation: number;
  readonly epoch: number;
  readonly step: number;
  readonly stepInEpoch: number;
  readonly samplesPerSecond: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly leaseHeld: boolean;
}

export interface StatusInput {
  readonly record: JobRecord;
  readonly keys: Keys;
  readonly self: CoordinatorRecord;
  readonly lease: Lease | null;
  readonly reading: RunReading;
  readonly progresses: readonly WorkerProgress[];
  readonly reason: string;
  readonly stepsPerEpoch: number;
  /** Steps a second; null while it is not known. */
  readonly speed: number | null;
  /** When a worker has reported last, in ISO 8601. */
  readonly updatedAt: string | null;
}

export function clusterStatus(input: StatusInput): ClusterStatus {
  const { record, keys, self, lease, reading, progresses, reason, stepsPerEpoch } = input;
  const { entries, epochs, generation, members } = reading;
  const leader = readValue<LeaderRecord>(entries, keys.leader)?.workerId ?? null;
  const latest = readValue<CheckpointPointer>(entries, keys.latest);
  const ranks = memberIds(generation);
  const furthest = [...progresses].reduce<WorkerProgress | null>(
    (top, one) => (!top || one.step > top.step ? one : top),
    null,
  );
  const committed = epochs.at(-1);
  const [failed, stop] = [keys.failed, keys.stop].map((key) => {
    const ending = readValue<Ending>(entries, key);
    return isFor(ending, record.start) ? ending : null;
  });
  const early = readValue<Done>(entries, keys.done)?.early ?? null;
  const extent = {
    state: failed ? "failed" : stateOf(reading, keys, stop !== null),
    epoch: committed?.epoch ?? latest?.epoch ?? 0,
    step: Math.max(furthest?.step ?? 0, committed?.state.step ?? 0, latest?.step ?? 0),
    epochs: record.epochs,
    stepsPerEpoch,
  } as const;
  return {
    job: record.job,
    ...extent,
    // What it cannot go on for matters more than what the membership is at.
    reason: failed?.reason ?? early ?? (stop ? stop.reason : reason),
    failure: failed ? (failed.code ?? "diverged") : null,
    generation: generation?.generation ?? 0,
    progress: runProgress(extent, input.speed, input.updatedAt),
    running: runningEpoch(furthest, committed),
    processes: [
      coordinatorProcess(entries.get(keys.coordinator), self, lease),
      ...members.map((member): ProcessStatus => {
        const progress = progresses.find(({ workerId }) => workerId === member.workerId);
        const rank = ranks.indexOf(member.workerId);
        return {
          role: "worker",
          workerId: member.workerId,
          rank: rank < 0 || generation?.kind !== "running" ? null : rank,
          leader: member.workerId === leader,
          pid: member.pid,
          address: member.address,
          epoch: progress?.epoch ?? null,
          step: progress?.step ?? null,
          lease: progress?.leaseHeld === false ? "lost" : "held",
        };
      }),
    ],
    history: historyOf(reading),
    policy: policyOf(record),
    best: readValue<CheckpointPointer>(entries, keys.best),
    latest,
    early,
    equivalences: readValue<Equivalences>(entries, keys.equivalences)?.reasons ?? [],
    settings: record.settings ?? noSettings,
    wishes: wishesOf(record.start, readValue<Wishes>(entries, keys.wishes)),
  };
}

/** Where the run stands, as every line of a coordinator's log tells it: cheap, and nothing is asked that may say something itself. */
export function placeOf(
  { entries, epochs, generation }: RunReading,
  keys: Keys,
  progresses: readonly WorkerProgress[],
) {
  const latest = readValue<CheckpointPointer>(entries, keys.latest);
  const committed = epochs.at(-1);
  const reported = progresses.map(({ step }) => step);
  return {
    generation: generation?.generation ?? 0,
    epoch: committed?.epoch ?? latest?.epoch ?? 0,
    step: Math.max(0, ...reported, committed?.state.step ?? 0, latest?.step ?? 0),
  };
}

/**
 * Of every committed epoch the record; of those whose records etcd has lost, what the state remembers. A record's row is the same
 * object each time, so that who compares one view of many epochs with the next finds at once what is new.
 */
export function historyOf({ epochs, remembered }: RunReading): readonly EpochHistory[] {
  const recorded = epochs.flatMap((record) => rowOf(record) ?? []);
  if (remembered.length === 0) return recorded;
  const known = new Set(recorded.map(({ epoch }) => epoch));
  return [...remembered.filter(({ epoch }) => !known.has(epoch)), ...recorded].sort((a, b) => a.epoch - b.epoch);
}

/** Of records that are decoded once; see `Decoder`. */
const rows = new WeakMap<EpochRecord, EpochHistory | null>();

function rowOf(record: EpochRecord): EpochHistory | null {
  const known = rows.get(record);
  if (known !== undefined) return known;
  const { epoch, state, metrics, improved, setAside } = record;
  const row = metrics ? { epoch, step: state.step, metrics, improved, ...(setAside ? { setAside } : {}) } : null;
  rows.set(record, row);
  return row;
}

/** What decides about the best epoch, of all that a job says about checkpoints. */
export function policyOf({ checkpoint }: JobRecord): CheckpointPolicy {
  const { monitor, mode, minDelta, initialValueThreshold } = checkpoint;
  return { monitor, mode, minDelta, initialValueThreshold };
}

function stateOf({ entries, generation }: RunReading, keys: Keys, isStopping: boolean): ClusterState {
  if (entries.has(keys.done)) return "finished";
  const active = memberIds(generation).some((id) => entries.has(keys.member(id)));
  if (isStopping) return active ? "stopping" : "stopped";
  if (!active || !generation) return "waiting";
  if (generation.kind === "forming") return "forming";
  return generation.paused ? "paused" : "training";
}

function runningEpoch(progress: WorkerProgress | null, committed: EpochRecord | undefined): RunningEpoch | null {
  if (!progress || progress.stepInEpoch === 0 || progress.epoch < (committed?.epoch ?? 0)) return null;
  const { epoch, stepInEpoch, samplesPerSecond, metrics } = progress;
  return { epoch: epoch + 1, stepInEpoch, samplesPerSecond, metrics };
}

function coordinatorProcess(entry: Entry | undefined, self: CoordinatorRecord, lease: Lease | null): ProcessStatus {
  const active = entry ? decodeJson<CoordinatorRecord>(entry.value) : self;
  const own = active.address === self.address;
  return {
    role: "coordinator",
    workerId: null,
    rank: null,
    leader: false,
    pid: active.pid,
    address: active.address,
    epoch: null,
    step: null,
    lease: own ? (lease?.isHeld() ? "held" : "lost") : entry ? "held" : null,
  };
}
