/**
 * Where a lineage begins. What was acknowledged never goes back within a lineage; whoever goes back on purpose, or because
 * what was published cannot be read, opens the next one, with the reason. A lineage stands to its beginning as the first
 * one stands to the seed: it is what training goes on from until something is published in it.
 */
import type { Progress } from "./progress.ts";
import { compareStates, type StateName, type StatePlace } from "./state-order.ts";
import type { BestSoFar } from "./checkpoint-policy.ts";

export interface Origin {
  readonly lineage: number;
  readonly era: number;
  /** The state that it goes on from; null for the seed. */
  readonly from: OriginState | null;
  /** Why it was opened: a sentence's end. */
  readonly reason: string;
  /** What `best` named when it was opened, so that nothing worse takes its place. */
  readonly best: BestSoFar | null;
  /** Generations up to this number were formed before, in an era that etcd knows nothing of; 0 when there was none. */
  readonly after: number;
}

export interface OriginState {
  /** The checkpoint that holds the state; null if it was in a member's memory. */
  readonly checkpoint: string | null;
  /** As it is named there: in the lineage before. */
  readonly state: StateName;
}

/** What the state remembers of a lineage's beginning, in memory and in checkpoints. */
export interface Opening {
  readonly lineage: number;
  readonly era: number;
  /** Committed steps where it began, as far as they were published, and the checkpoint that it began from. */
  readonly step: number;
  readonly checkpoint: string | null;
  readonly reason: string;
}

export const firstOrigin: Origin = { lineage: 1, era: 1, from: null, reason: "the first start", best: null, after: 0 };

/** Whether a state was computed since this beginning, or is that beginning. */
export function isSince(state: Beginning, beginning: Beginning): boolean {
  return state.lineage === beginning.lineage && state.era === beginning.era;
}

type Beginning = Pick<StatePlace, "lineage" | "era">;

/**
 * Whether a state lies on the way to what is trained now, and was not left behind when a lineage went back. `earlier` are
 * the beginnings of lineages before.
 */
export function isOnTheWay(state: StatePlace, origin: Origin, earlier: readonly Origin[]): boolean {
  if (state.lineage === origin.lineage) return true;
  const { from } = origin;
  if (!from || compareStates(state, from.state) > 0) return false;
  const before = earlier.find(({ lineage }) => lineage === from.state.lineage) ?? firstOrigin;
  return isOnTheWay(state, before, earlier);
}

/** The state that stands at the beginning: the same tensors, in the new lineage. Unchanged if it is in it already. */
export function begun(progress: Progress, origin: Origin): Progress {
  if (isSince(progress, origin)) return progress;
  const { lineage, era, from, reason } = origin;
  // Of the beginning, not of this state: an era may be begun from another state once more, and its states must be the same.
  const step = Math.max(0, from?.state.step ?? 0);
  const opening: Opening = { lineage, era, step, checkpoint: from?.checkpoint ?? null, reason };
  // Only who goes back lacks what was best; a new era goes on.
  const best = lineage === progress.lineage ? progress.best : (origin.best ?? progress.best);
  return { ...progress, lineage, era, best, openings: [...progress.openings, opening] };
}
