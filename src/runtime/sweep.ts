/** A transaction takes 128 operations, and a large cluster leaves more keys behind than that. */
import type { Condition, Coordination } from "../ports/coordination.ts";

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
