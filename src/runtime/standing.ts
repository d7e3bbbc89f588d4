import { type Generation, memberIds } from "../core/membership.ts";

/** What a worker is in the generation that it has read of. */
export interface Standing {
  readonly workerId: string;
  readonly generation: number;
  /** Whether the generation is being formed, or runs. */
  readonly kind: Generation["kind"];
  readonly world: number;
  /** Null: it stands by. */
  readonly rank: number | null;
  readonly leaseHeld: boolean;
  /** Why the generation was formed. */
  readonly reason: string;
}

export function standingOf(workerId: string, generation: Generation, leaseHeld: boolean): Standing {
  const rank = memberIds(generation).indexOf(workerId);
  const { generation: number, kind, members, reason } = generation;
  return { workerId, generation: number, kind, world: members.length, rank: rank < 0 ? null : rank, leaseHeld, reason };
}
