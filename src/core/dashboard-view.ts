/**
 * What the dashboard shows: one plain document of sections. A coordinator fills it in while a run is under way, and the
 * files of a finished job do afterwards. The page imports these types, and the words below, from here.
 */
import type { ClusterState, ClusterStatus, EpochHistory } from "./status.ts";
import type { TimelineEntry } from "./timeline.ts";
import type { RatePoint } from "./worker-rates.ts";

export interface DashboardView {
  readonly status: StatusSection;
  readonly timeline: readonly TimelineEntry[];
  readonly checkpoints: CheckpointsSection;
  readonly health: HealthSection;
  /** One record a committed epoch, oldest first. */
  readonly history: Rows<EpochHistory>;
  readonly rates: Rows<RatePoint>;
  readonly decisions: Rows<DecisionEntry>;
}

/** Rows of which the oldest may be forgotten; `first` is the index of the first one, counted from the beginning. */
export interface Rows<T> {
  readonly first: number;
  readonly items: readonly T[];
}

export interface StatusSection extends Omit<ClusterStatus, "history"> {
  readonly run: number;
  /** "live": a coordinator tells it. "files": worked out from what a job has left in its folder. */
  readonly source: "live" | "files";
  /** Logical shards. */
  readonly shards: number;
}

export interface CheckpointsSection {
  readonly monitor: string;
  readonly rows: readonly CheckpointRow[];
  /** The page may pin and unpin. */
  readonly canPin: boolean;
  /** The server hands the weights out as a file. */
  readonly canDownload: boolean;
  /** Where the job file is, on the server's machine; null: it is not known there. */
  readonly jobFile: string | null;
  /** What `lockstep checkpoints` has to be told to find them, as words of a command line. */
  readonly words: readonly string[];
}

/** *verified*: it was read back and compared after it was written, or by whoever tells this. */
export type Verification = "verified" | "unchecked" | "set aside" | "corrupt" | "missing";

export interface CheckpointRow {
  readonly id: string;
  readonly lineage: number | null;
  readonly epoch: number | null;
  readonly stepInEpoch: number | null;
  readonly step: number | null;
  /** Of the monitored metric; null in the middle of an epoch. */
  readonly value: number | null;
  /** Null where the files are not seen. */
  readonly sizeBytes: number | null;
  readonly writtenAtMs: number | null;
  readonly isBest: boolean;
  readonly isLatest: boolean;
  /** The names of its pins, but for readers'. */
  readonly pins: readonly string[];
  readonly verification: Verification;
  /** What is wrong with it; null where nothing is. */
  readonly problem: string | null;
}

export interface HealthSection {
  /** Null where there is no etcd to ask. */
  readonly etcd: EtcdHealth | null;
  /** Of the coordinator that tells this; null where none does. */
  readonly coordinator: { readonly address: string; readonly active: boolean; readonly leaseSeconds: number } | null;
}

export interface EtcdHealth {
  /** A linearizable read succeeded, which takes a majority. */
  readonly quorum: boolean;
  readonly revision: number | null;
  readonly endpoints: readonly EndpointHealth[];
}

export interface EndpointHealth {
  readonly endpoint: string;
  /** Time of one request; null: it did not answer. */
  readonly latencyMs: number | null;
  readonly isLeader: boolean;
  readonly version: string | null;
  readonly sizeBytes: number | null;
  readonly problem: string | null;
}

export interface DecisionEntry {
  readonly atMs: number;
  readonly level: "info" | "warn" | "error";
  /** "coordinator", or a worker's id. */
  readonly process: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, string | number | boolean | null>>;
}

/** So many are kept. */
export const decisionsLength = 500;

export function isOver(state: ClusterState): boolean {
  return state === "finished" || state === "failed" || state === "stopped";
}
