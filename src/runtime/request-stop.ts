/** The wish that a run stops, in etcd: it is for those of one start, and of the starts before it. */
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { type Ending, isFor } from "../core/records.ts";
import type { Coordination, Operation } from "../ports/coordination.ts";
import { unchanged } from "./run-view.ts";

export async function requestStop(
  { coordination, keys }: { readonly coordination: Coordination; readonly keys: Keys },
  start: number,
  reason: string,
): Promise<void> {
  for (;;) {
    const known = await coordination.get(keys.stop);
    if (isFor(known && decodeJson<Ending>(known.value), start)) return;
    const ending: Ending = { start, reason };
    const put: Operation = { kind: "put", key: keys.stop, value: encodeJson(ending) };
    if ((await coordination.transact([unchanged(keys.stop, known)], [put])).succeeded) return;
  }
}
