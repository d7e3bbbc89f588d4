/** The wish that a run stops, in etcd: it is for those of one start, and of the starts before it. */
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { type Ending, isFor } from "../core/records.ts";
import type { Coordination, Operation } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { unchanged } from "./run-view.ts";

interface Place {
  readonly coordination: Coordination;
  readonly keys: Keys;
  /** Told once, by whoever wishes it first. */
  readonly log: Log;
}

export async function requestStop({ coordination, keys, log }: Place, start: number, reason: string): Promise<void> {
  for (;;) {
    const known = await coordination.get(keys.stop);
    if (isFor(known && decodeJson<Ending>(known.value), start)) return;
    const ending: Ending = { start, reason };
    const put: Operation = { kind: "put", key: keys.stop, value: encodeJson(ending) };
    if (!(await coordination.transact([unchanged(keys.stop, known)], [put])).succeeded) continue;
    log.info("asked to stop", { reason });
    return;
  }
}
