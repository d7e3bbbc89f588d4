/** The values of the keys in etcd, other than membership (generation.ts) and the pointers (status.ts). */
import type { BestOf } from "./checkpoint-policy.ts";
import type { ErrorCode } from "./errors.ts";
import type { WorkerCounts } from "./decision.ts";
import type { CheckpointRule } from "./job.ts";
import type { JobSettings } from "./settings.ts";
import type { StateName } from "./state-order.ts";
import type { CheckpointPointer } from "./status.ts";

/** What a run is: written by the coordinator before the first worker joins. */
export interface JobRecord {
  readonly job: string;
  readonly run: number;
  /** Logical shards S; never changes within a lineage. */
  readonly shards: number;
  readonly workers: WorkerCounts;
  /** The failure budget of this start, see failure-budget.ts; one for all of its processes. */
  readonly budgetMs: number;
  /** Compute threads inside one worker. */
  readonly threads: number;
  /** The job file's fields that decide the bits, each as text. */
  readonly fields: Readonly<Record<string, string>>;
  /** What this start was told beside the job file; left out in runs of before there was that. */
  readonly settings?: JobSettings;
  /** Fields that may change from start to start without changing what has been trained. */
  readonly epochs: number;
  readonly checkpoint: CheckpointRule;
  /** How many workers beside the leader keep a copy of each checkpoint, each on a disk of its own; 0: all share one place. */
  readonly replicas: number;
  /** The last start was allowed to change what the bits depend on. */
  readonly mayChange: boolean;
  /** Its first start was asked for a new run (--resume never): what workers bring of a run with its number is another's. */
  readonly isAskedFor: boolean;
  /** Which start of the run this is, counted from 1; processes that are started again take part in the same one. */
  readonly start: number;
  /** What whoever asked for this start called it; null for one without a name. */
  readonly startName?: string | null;
  /** The names of starts before it, newest last: nobody makes one of them again. */
  readonly earlierStarts?: readonly string[];
}

/** A wish to stop, or why the run cannot go on. It is for the processes of its start, and of earlier ones, alone. */
export interface Ending {
  readonly start: number;
  readonly reason: string;
  /** Of a failure: the error that every process ends with. */
  readonly code?: ErrorCode;
}

export function isFor(ending: Ending | null, start: number): boolean {
  return ending !== null && ending.start >= start;
}

/** The run has reached its end, and its last checkpoint is published. */
export interface Done {
  readonly epoch: number;
  /** Why it has ended before the last epoch that was asked for; null if it has not. */
  readonly early: string | null;
}

/**
 * Why a run is only *equivalent*: something that its bits depend on has changed since it began. Without this key, and
 * with an empty list, it is *bit-exact*. Written by the active coordinator with a Forming; nothing is ever taken away.
 */
export interface Equivalences {
  readonly reasons: readonly string[];
}

export function exactnessOf(reasons: readonly string[]): "bit-exact" | "equivalent" {
  return reasons.length === 0 ? "bit-exact" : "equivalent";
}

/** A worker has reached a point at which something is decided together, with this state. */
export interface Arrival {
  readonly workerId: string;
  readonly step: number;
  readonly digest: string;
}

/** A committed epoch: everyone who reads it goes on. */
export interface EpochRecord {
  readonly epoch: number;
  readonly generation: number;
  readonly members: readonly string[];
  readonly state: StateName;
  readonly weightsDigest: string;
  /** Null for epoch 0, the state before training. */
  readonly metrics: Readonly<Record<string, number>> | null;
  readonly improved: boolean;
  /** What the best before was of, when this epoch set it aside because it is of something else. */
  readonly setAside: BestOf | null;
  /** A stop was asked for before this was committed: everyone leaves once it is published. */
  readonly stopping: boolean;
}

/**
 * What becomes of a checkpoint. *Live*: it may be gone on from and pinned. *Condemned*: never again, and anyone may delete it,
 * however late. *Set aside*: it was read to the end and is not what was written; it stays where it is, for people, who may have
 * it condemned. From live it goes once, and never back.
 */
export type CheckpointRecord = PublishedRecord | CondemnedRecord;

/** Of a published checkpoint that has not been deleted. */
export interface PublishedRecord {
  readonly state: "live" | "set-aside";
  readonly pointer: CheckpointPointer;
  /** Wall-clock time of writing: for people, and for what is kept one in so many hours. */
  readonly writtenAtMs: number;
  /** What a worker found wrong with it, where it was set aside. */
  readonly reason?: string;
}

/** Its key says which one it is. More is not needed, and nobody may know more: it may never have been published, or finished. */
export interface CondemnedRecord {
  readonly state: "condemned";
}

/** A checkpoint with a pin is not condemned. That of a reader is leased; an operator's stays until it is taken away. */
export interface Pin {
  /** Who pinned it, or why; for people. */
  readonly note: string;
}

/** A published checkpoint, remembered also when it is deleted. */
export interface SaveRecord {
  readonly lineage: number;
  readonly era: number;
  readonly epoch: number;
  readonly step: number;
  readonly weightsDigest: string;
  readonly checkpoint: string;
}

export interface LeaderRecord {
  readonly workerId: string;
  readonly generation: number;
}

export interface CoordinatorRecord {
  /** Where the control service listens. */
  readonly address: string;
  readonly pid: number;
  readonly name: string;
}

/** Why a worker is not let in, or not any more. */
export interface Refusal {
  /** "incompatible": it will never fit. "evicted": it may come back as a new incarnation; "diverged": without its state. */
  readonly kind: "incompatible" | "evicted" | "diverged";
  readonly reason: string;
}

/** Whether the arrivals at one point are complete, and of one mind. */
export function agreement(arrivals: readonly Arrival[], world: number): "waiting" | "agreed" | "diverged" {
  // Also where two differ already: with all of them there, a majority can tell which one is wrong.
  if (arrivals.length < world) return "waiting";
  const [first] = arrivals;
  const isOther = ({ step, digest }: Arrival) => step !== first?.step || digest !== first.digest;
  return arrivals.some(isOther) ? "diverged" : "agreed";
}
