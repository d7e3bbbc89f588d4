import type { BestOf, CheckpointPolicy } from "./checkpoint-policy.ts";
import type { ErrorCode } from "./errors.ts";
import type { JobSettings } from "./settings.ts";
import type { StateName } from "./state-order.ts";
import type { Wishes } from "./wishes.ts";

/** What a job is doing, as the active coordinator tells it. `status --json` prints this and nothing else. */
export interface ClusterStatus {
  readonly job: string;
  readonly state: ClusterState;
  /** Why it is in this state, as a sentence. */
  readonly reason: string;
  /** Of a run that failed: what kind of error it ends with, as in the documented exit codes; else null. */
  readonly failure: ErrorCode | null;
  /** 0 before the first membership. */
  readonly generation: number;
  /** Completed epochs; steps committed since the beginning. */
  readonly epoch: number;
  readonly step: number;
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  readonly progress: RunProgress;
  /** Steps done in the epoch under way, and its running loss and metrics; null between epochs. */
  readonly running: RunningEpoch | null;
  readonly processes: readonly ProcessStatus[];
  /** One record a committed epoch, oldest first. */
  readonly history: readonly EpochHistory[];
  /** What decides about the best of them. */
  readonly policy: CheckpointPolicy;
  readonly best: CheckpointPointer | null;
  readonly latest: CheckpointPointer | null;
  /** Why a finished run has ended before its last epoch; null if it has not. */
  readonly early: string | null;
  /** Why the run is only equivalent; empty while it is bit-exact. */
  readonly equivalences: readonly string[];
  /** What this start was told beside the job file, by --set and --param. */
  readonly settings: JobSettings;
  /** What an operator wishes of this start's processes. */
  readonly wishes: Wishes;
}

export type ClusterState =
  | "waiting"
  | "forming"
  | "training"
  | "paused"
  | "stopping"
  | "stopped"
  | "finished"
  | "failed";

export interface RunProgress {
  /** Of all steps of all epochs, rounded down to a tenth. */
  readonly percent: number;
  /** At the pace of the last minute; 0 when it is finished, null while that is not known, or it does not train. */
  readonly remainingSeconds: number | null;
  /** When a worker has reported last, in ISO 8601 by the coordinator's clock; null where none has to this coordinator. */
  readonly updatedAt: string | null;
}

export interface RunningEpoch {
  /** The epoch under way, counted from 1. */
  readonly epoch: number;
  readonly stepInEpoch: number;
  readonly samplesPerSecond: number;
  readonly metrics: Readonly<Record<string, number>>;
}

export interface ProcessStatus {
  readonly role: "coordinator" | "worker" | "etcd" | "launch";
  /** Name and incarnation of a worker; null for the others. */
  readonly workerId: string | null;
  /** Index in the generation; null for a worker outside it and for other roles. */
  readonly rank: number | null;
  readonly leader: boolean;
  readonly pid: number | null;
  readonly address: string | null;
  readonly epoch: number | null;
  readonly step: number | null;
  /** "held" or "lost"; null where the process has none. */
  readonly lease: "held" | "lost" | null;
}

/** A committed epoch: only what is a function of committed state, so no times. Metrics are keyed as in Keras. */
export interface EpochHistory {
  readonly epoch: number;
  /** Steps committed when it ended. */
  readonly step: number;
  readonly metrics: Readonly<Record<string, number>>;
  /** Whether the monitored metric improved on the best so far. */
  readonly improved: boolean;
  /** What the best before was of, when it was set aside because it was of something else; mostly left out. */
  readonly setAside?: BestOf;
}

/** The state that a published checkpoint holds. */
export function stateOf({ lineage, era, step, epoch, stateDigest }: CheckpointPointer): StateName {
  return { lineage, era, step, epoch, digest: stateDigest };
}

/** The value of the `best` and `latest` keys: one complete, verified checkpoint. */
export interface CheckpointPointer {
  readonly id: string;
  readonly location: string;
  /** The names of the workers that had it on disks of their own when it was published; absent where all share one place. */
  readonly holders?: readonly string[];
  readonly lineage: number;
  readonly era: number;
  readonly step: number;
  readonly epoch: number;
  readonly stepInEpoch: number;
  readonly generation: number;
  readonly stateDigest: string;
  readonly weightsDigest: string;
  readonly manifestSha256: string;
  /** The monitored metric and its value at this checkpoint; null in the middle of an epoch and at step 0. */
  readonly monitor: string;
  readonly value: number | null;
  /** What the value is a value of: values of something else are not compared with it. */
  readonly of: BestOf;
}
