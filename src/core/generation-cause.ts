/** Why a generation is formed, as one of a few words: for whoever counts them. The reason beside it is for people, and says more. */
import type { ClusterView } from "./decision.ts";
import { type Forming, type Generation, memberIds } from "./membership.ts";

/** What was asked for, or belongs to a start. */
export const plannedCauses = ["start", "joined", "left"] as const;

/** What a recovery is of. */
export const faultCauses = [
  /** A member's process, or its lease, is gone. */
  "gone",
  /** Peers do not reach a member that is there. */
  "unreachable",
  /** A member did not report in time while the generation before was formed. */
  "silent",
  /** The members' states differed. */
  "diverged",
  /** The coordinator that formed the generation before is gone. */
  "coordinator",
  /** The checkpoint that the members started from cannot be used. */
  "checkpoint",
  /** etcd has lost its data. */
  "data-lost",
] as const;

export type GenerationCause = (typeof plannedCauses)[number] | (typeof faultCauses)[number];

/** `forming` is what was decided on the view. */
export function causeOf(view: ClusterView, { forming, replay }: FormDecision): GenerationCause {
  const { generation, origin, members, suspicions, stopRequested } = view;
  if (!generation) return origin.after > 0 ? "data-lost" : "start";
  if (replay?.generation === forming.generation) return "diverged";
  const [before, now] = [memberIds(generation), memberIds(forming)];
  if (!before.some((id) => now.includes(id)) && startOf(generation) < view.start) return "start";
  const lost = before.filter((id) => !now.includes(id));
  const announced = new Map(members.map((member) => [member.workerId, member]));
  // While a run stops, whoever has stopped goes, the one before the other.
  if (lost.some((id) => !announced.has(id))) return stopRequested ? "left" : "gone";
  if (lost.some((id) => suspicions.some(({ suspect }) => suspect === id))) return "unreachable";
  if (lost.some((id) => !announced.get(id)?.leaving)) return "silent";
  if (lost.length > 0) return "left";
  if (now.length > before.length) return "joined";
  return generation.kind === "forming" && generation.coordinator !== view.coordinator ? "coordinator" : "checkpoint";
}

interface FormDecision {
  readonly forming: Forming;
  readonly replay: { readonly generation: number } | null;
}

function startOf(generation: Generation): number {
  return generation.kind === "running" ? generation.start : generation.ranIn;
}
