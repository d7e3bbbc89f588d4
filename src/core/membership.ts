/** Who is in: what workers announce, and the values of the generation key. */
import type { Fingerprint } from "./fingerprint.ts";
import type { Origin } from "./origin.ts";
import type { Range } from "./sampler.ts";
import type { StateName } from "./state-order.ts";

/** A worker that is alive and wants to be in: the value of its member key. */
export interface Member {
  readonly workerId: string;
  readonly name: string;
  /** Where peers subscribe to its outbox. */
  readonly address: string;
  readonly pid: number;
  readonly fingerprint: Fingerprint;
  /** The start of the run that it belongs to, see `JobRecord`. */
  readonly start: number;
  /** It is going away in order, as soon as others have the state and a generation is formed without it. */
  readonly leaving: boolean;
  /**
   * Since it was admitted it has had the state of a running generation, as a member or by following: so it reaches the
   * members, and they reach it.
   */
  readonly hasState: boolean;
  /** The highest generation that it has read of: if etcd knows of none so high, etcd has lost data. */
  readonly seen: number;
  /**
   * The last running generation whose state it had when it was admitted; of who is leaving, when etcd has lost data since. 0 if
   * it brings none.
   */
  readonly trainedIn: number;
  /** For people, who want to know how long an epoch is. */
  readonly stepsPerEpoch: number;
  /** Roughly how long its steps take, so that nobody takes a long one for a hang; 0 before the first. */
  readonly stepMs: number;
  /** Where it has its own checkpoints; null where all workers share one place. */
  readonly store: Store | null;
  /** The ids of those that etcd does not name; after a loss of etcd's data, of all. */
  readonly brings: readonly string[];
}

/** A worker's own checkpoints, of which it gives others copies, and takes theirs. */
export interface Store {
  /** Of the directory: two workers with the same one have one disk between them. */
  readonly id: string;
  /** Where it is asked, and asked for copies. */
  readonly address: string;
}

export interface Forming {
  readonly kind: "forming";
  readonly generation: number;
  /** In rank order, so that they can open their streams to each other while the generation forms. */
  readonly members: readonly FormingMember[];
  /** The coordinator that forms it, by its fencing token: another one starts over. */
  readonly coordinator: number;
  /** The start of the run in which a generation ran last; 0 if none has. */
  readonly ranIn: number;
  readonly reason: string;
}

export interface FormingMember {
  readonly workerId: string;
  readonly address: string;
}

export interface Running {
  readonly kind: "running";
  readonly generation: number;
  readonly members: readonly RunningMember[];
  readonly source: Source;
  /** The lineage and the era that its members are in: whoever takes a state from before moves it there. */
  readonly origin: Origin;
  /** The start of the run, see `JobRecord`. */
  readonly start: number;
  /** Too few are left: they take and publish the state, and wait. */
  readonly paused: boolean;
  /** Why it was formed; for people. */
  readonly reason: string;
}

export interface RunningMember extends FormingMember {
  readonly rank: number;
  readonly shards: Range;
}

export type Source =
  | { readonly kind: "seed" }
  | { readonly kind: "member"; readonly workerId: string; readonly state: StateName }
  | { readonly kind: "checkpoint"; readonly id: string; readonly state: StateName };

export type Generation = Forming | Running;

export function memberIds(generation: Generation | null): readonly string[] {
  if (!generation) return [];
  return generation.members.map(({ workerId }) => workerId);
}

export function describeSource(source: { kind: string; workerId?: string; id?: string }): string {
  return source.workerId ?? source.id ?? source.kind;
}
