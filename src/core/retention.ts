/**
 * Which published checkpoints are kept. What the pointers name and what is pinned always is; what else, a job says. The
 * rules only add to each other, and whatever one of them keeps it goes on keeping until something newer or better comes, so
 * it does not matter how often, or by whom, they are asked.
 */
import { isSameBest } from "./checkpoint-policy.ts";
import { compareStates } from "./state-order.ts";
import type { CheckpointPointer } from "./status.ts";

export interface KeepRule {
  /** The newest so many, `latest` among them. */
  readonly last: number;
  /** The best so many, `best` among them. */
  readonly best: number;
  /** And one in so many hours, by the wall clock of whoever wrote them; null: no more. */
  readonly everyHours: number | null;
}

/** A live checkpoint. */
export interface Keepable {
  readonly pointer: CheckpointPointer;
  /** Wall-clock time of writing. */
  readonly writtenAtMs: number;
}

/** What stands in the way of deleting. */
export interface Holds {
  readonly latest: CheckpointPointer | null;
  readonly best: CheckpointPointer | null;
  readonly pinned: ReadonlySet<string>;
}

const hourMs = 3_600_000;

/** Why each checkpoint that is kept is kept, by id; whatever is not there may go. */
export function keptCheckpoints(
  rule: KeepRule,
  live: readonly Keepable[],
  { latest, best, pinned }: Holds,
): ReadonlyMap<string, string> {
  const oldestFirst = [...live].sort((a, b) => compareStates(a.pointer, b.pointer));
  const kept = new Map<string, string>();
  const keep = (id: string | undefined, why: string) => {
    if (id !== undefined && !kept.has(id)) kept.set(id, why);
  };
  keep(latest?.id, "latest");
  keep(best?.id, "best");
  for (const { pointer } of oldestFirst) if (pinned.has(pointer.id)) keep(pointer.id, "pinned");
  for (const { pointer } of oldestFirst.slice(-rule.last)) keep(pointer.id, `of the newest ${rule.last}`);
  for (const { id } of bestOnes(rule.best, oldestFirst, best)) keep(id, `of the best ${rule.best}`);
  if (rule.everyHours !== null) {
    let lastMs = Number.NEGATIVE_INFINITY;
    for (const { pointer, writtenAtMs } of oldestFirst) {
      if (writtenAtMs - lastMs < rule.everyHours * hourMs) continue;
      lastMs = writtenAtMs;
      keep(pointer.id, `one in ${rule.everyHours} h`);
    }
  }
  return kept;
}

/** Of the line of bests that is going on; of equal values the earlier one is the better. */
function bestOnes(
  count: number,
  oldestFirst: readonly Keepable[],
  best: CheckpointPointer | null,
): CheckpointPointer[] {
  if (!best) return [];
  const sign = best.of.mode === "min" ? 1 : -1;
  return oldestFirst
    .map(({ pointer }) => pointer)
    .filter(({ of, value }) => value !== null && Number.isFinite(value) && isSameBest(of, best.of))
    .sort((a, b) => sign * (a.value! - b.value!))
    .slice(0, count);
}
