/** What a worker does next: a function of the run's keys and of what the worker is; it remembers no events. */
import { type Generation, memberIds } from "../core/membership.ts";
import type { Ending, Refusal } from "../core/records.ts";
import type { RunState, Versioned } from "./run-view.ts";

export type Next =
  | { readonly kind: "member" | "observer"; readonly generation: Versioned<Generation> }
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "failed"; readonly ending: Ending }
  | { readonly kind: "drained"; readonly generation: Versioned<Generation> | null }
  | { readonly kind: "left out" | "finished" | "stopped" };

export interface WorkerNow {
  readonly workerId: string;
  /** The highest generation that it has read of. A lower one is of an etcd that has lost data, and stands for nothing. */
  readonly seen: number;
  /** Under this id it has been a member. */
  readonly wasMember: boolean;
  /** It was asked to leave. */
  readonly isLeaving: boolean;
  /** It has announced that it has the state of the generation that runs. */
  readonly hasState: boolean;
  /** It has a state that it has trained with others, whatever became of the generation. */
  readonly hasTrained: boolean;
}

/** Null while there is nothing to do but wait. */
export function nextOf(state: RunState, now: WorkerNow): Next | null {
  if (state.failed) return { kind: "failed", ending: state.failed };
  if (state.refusal) return { kind: "refused", refusal: state.refusal };
  if (state.done) return { kind: "finished" };
  const number = state.generation?.value.generation ?? 0;
  const generation = number < now.seen ? null : state.generation;
  if (generation && memberIds(generation.value).includes(now.workerId)) return { kind: "member", generation };
  const isRunning = generation?.value.kind === "running";
  if (now.wasMember) {
    if (!now.isLeaving || isRunning) return { kind: "left out" };
    // Others may die before they run without it. Where etcd has lost what it was a member of, no state is no loss.
    if (!generation && !now.hasState) return { kind: "drained", generation: state.generation };
    return state.stop ? { kind: "stopped" } : null;
  }
  // Where etcd has lost what it was a member of, whoever has trained may be the only one who can go on.
  if (now.isLeaving && (number >= now.seen || !now.hasTrained))
    return { kind: "drained", generation: state.generation };
  if (state.stop) return { kind: "stopped" };
  return generation && isRunning ? { kind: "observer", generation } : null;
}
