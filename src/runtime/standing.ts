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
  /** Committed steps and completed epochs of the state that it began from; null until it runs. */
  readonly from: { readonly step: number; readonly epoch: number } | null;
  /** Why the generation was formed. */
  readonly reason: string;
}

export function standingOf(workerId: string, generation: Generation, leaseHeld: boolean): Standing {
  const rank = memberIds(generation).indexOf(workerId);
  const { generation: number, kind, members, reason } = generation;
  const place = { workerId, generation: number, kind, world: members.length, rank: rank < 0 ? null : rank };
  return { ...place, leaseHeld, from: beganFrom(generation), reason };
}

function beganFrom(generation: Generation): Standing["from"] {
  if (generation.kind === "forming") return null;
  const { source } = generation;
  return source.kind === "seed" ? { step: 0, epoch: 0 } : { step: source.state.step, epoch: source.state.epoch };
}
