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
}

export function standingOf(workerId: string, generation: Generation, leaseHeld: boolean): Standing {
  const rank = memberIds(generation).indexOf(workerId);
  const { kind, members } = generation;
  return {
    workerId,
    generation: generation.generation,
    kind,
    world: members.length,
    rank: rank < 0 ? null : rank,
    leaseHeld,
  };
}
