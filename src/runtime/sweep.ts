/** A transaction takes 128 operations, and a large cluster leaves more keys behind than that. */
import type { Keys } from "../core/keys.ts";
import type { CheckpointPointer } from "../core/status.ts";
import type { Condition, Coordination } from "../ports/coordination.ts";
import { covers, type Point } from "./point.ts";

/** So many keys go with the transaction that makes them litter; the others after it. */
export const sweptAtOnce = 64;
const mostAtOnce = 120;

/** Deletes keys that nobody needs any more, as long as the condition holds. */
export async function sweep(coordination: Coordination, holds: Condition, keys: readonly string[]): Promise<void> {
  for (let at = 0; at < keys.length; at += mostAtOnce) {
    const deletes = keys.slice(at, at + mostAtOnce).map((key) => ({ kind: "delete" as const, key }));
    if (!(await coordination.transact([holds], deletes)).succeeded) return;
  }
}

/** The arrivals at what is covered now, which nobody asks for any more. Those of a boundary went with its record. */
export async function sweepSaves(
  { keys, coordination }: { readonly keys: Keys; readonly coordination: Coordination },
  points: readonly Point[],
  published: CheckpointPointer,
  token: number,
): Promise<void> {
  for (const { kind, generation, name, state } of points) {
    if (kind !== "save" || !covers(published, state)) continue;
    const { entries } = await coordination.list(keys.arrivals(generation, name));
    const holds: Condition = { kind: "created-at", key: keys.leader, revision: token };
    await sweep(
      coordination,
      holds,
      entries.map(({ key }) => key),
    );
  }
}
