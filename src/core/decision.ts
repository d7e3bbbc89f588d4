/** What the coordinator decides by, and what it may decide. */
import type { StateView } from "./beginning.ts";
import type { Suspicion } from "./broken-links.ts";
import type { Divergence, Replay } from "./divergence.ts";
import type { Fingerprint } from "./fingerprint.ts";
import type { Forming, Generation, Member, Running } from "./membership.ts";

/** How many workers a run wants. */
export interface WorkerCounts {
  /** So many it waits for when no member of its last generation is left. */
  readonly start: number;
  /** With fewer it pauses. */
  readonly min: number;
  /** More than these, and more than there are shards, stand by. */
  readonly max: number;
}

export interface ClusterView extends StateView {
  /** This coordinator's fencing token. */
  readonly coordinator: number;
  /** The start of the run, see `JobRecord`. */
  readonly start: number;
  readonly shards: number;
  readonly workers: WorkerCounts;
  /** Of the last generation; null before the first. */
  readonly fingerprint: Fingerprint | null;
  /** This start may change what the bits depend on (--allow-change). */
  readonly mayChange: boolean;
  /**
   * This coordinator has been active for longer than any lease lasts, so a member whose key is there is alive. Before,
   * it may be the key of a cluster that was killed as a whole, after which the job may be started with changes.
   */
  readonly settled: boolean;
  /** Those whose keys are there, oldest key first. */
  readonly members: readonly Member[];
  /** Members of the current generation whose keys are not there, but which may be alive and write them again. */
  readonly unsure: ReadonlySet<string>;
  /**
   * etcd's data were lost, no generation was formed since, and some who were members before may not have announced
   * themselves yet.
   */
  readonly mayReturn: boolean;
  /** The names of those who bring checkpoints, each on a disk of its own, of later generations than any that etcd names. */
  readonly bringers: readonly string[];
  /** The run was asked for as a new one, see `JobRecord`. */
  readonly isAskedFor: boolean;
  /** Ids that were refused or evicted; never admitted again. */
  readonly refused: ReadonlySet<string>;
  readonly generation: Generation | null;
  /** Links of the current generation that do not work, as one end says. */
  readonly suspicions: readonly Suspicion[];
  /** Members of the running generation have compared their states, and they differ. */
  readonly divergence: Divergence | null;
  readonly done: boolean;
  /** This start of the run cannot go on. */
  readonly failed: boolean;
  readonly stopRequested: boolean;
  /** How long the current generation has been forming, as this coordinator saw it. */
  readonly formingForMs: number;
  readonly formingLimitMs: number;
}

export type Decision =
  /** `needsHelp`: a person has to do something, or it waits for ever. */
  | { readonly kind: "wait"; readonly reason: string; readonly needsHelp?: true }
  | { readonly kind: "refuse"; readonly workerId: string; readonly reason: string }
  | {
      readonly kind: "form";
      readonly forming: Forming;
      readonly evicted: readonly Eviction[];
      readonly fingerprint: Fingerprint;
      /** As in the view, with what this membership adds. */
      readonly equivalences: readonly string[];
      /** As in the view, unless this generation goes back. */
      readonly replay: Replay | null;
    }
  /** Its origin is the view's, unless this generation has to go back behind what was published. */
  | { readonly kind: "run"; readonly running: Running; readonly reason: string }
  /**
   * Nobody would be left to go on: the members stop together and publish their state. It is for those of their start: of a
   * cluster that was killed, keys may be there that say so, when a later start has begun.
   */
  | { readonly kind: "stop"; readonly reason: string; readonly start: number }
  /** What etcd knew of the run is written anew from the checkpoints that workers bring. */
  | { readonly kind: "rebuild"; readonly reason: string }
  | {
      readonly kind: "fail";
      readonly reason: string;
      readonly code: "diverged" | "corrupt-checkpoint" | "incompatible";
    };

/** A worker that is left out against its will. Its id is never admitted again. */
export interface Eviction {
  readonly workerId: string;
  readonly reason: string;
  /** "diverged": it is to forget its state. */
  readonly kind: "evicted" | "diverged";
}

/** Why a member is left out that has gone, or died, while its run stops: nobody can tell which, and nothing is lost by it. */
export const goneAtStop = "is gone as the run stops";
