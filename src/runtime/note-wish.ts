/** What an operator wishes of a run's processes, into etcd: each follows it when it reads of it. */
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import type { Member } from "../core/membership.ts";
import type { JobRecord } from "../core/records.ts";
import { type Wish, type Wishes, wishesOf, withWish } from "../core/wishes.ts";
import type { Log } from "../ports/log.ts";
import type { Coordination } from "../ports/coordination.ts";
import { unchanged } from "./run-view.ts";

interface Place {
  readonly coordination: Coordination;
  readonly keys: Keys;
}

/** "usage": what is wished cannot be. What changes something is logged. */
export async function noteWish(
  { coordination, keys, log }: Place & { readonly log: Log },
  record: JobRecord,
  wish: Wish,
): Promise<void> {
  for (;;) {
    const known = await coordination.get(keys.wishes);
    const entry = await coordination.get(keys.record);
    const { start, workers } = entry ? decodeJson<JobRecord>(entry.value) : record;
    const { entries } = await coordination.list(keys.members);
    const names = entries.map(({ value }) => decodeJson<Member>(value).name);
    const before = wishesOf(start, known && decodeJson<Wishes>(known.value));
    const after = withWish(before, wish, { names, mostWorkers: workers.max });
    const put = { kind: "put", key: keys.wishes, value: encodeJson(after) } as const;
    if (!(await coordination.transact([unchanged(keys.wishes, known)], [put])).succeeded) continue;
    if (after !== before) tellWish(log, wish);
    return;
  }
}

function tellWish(log: Log, wish: Wish): void {
  const asked = { scale: "asked to scale", drain: "asked to drain a worker", restart: "asked to restart a worker" };
  log.info(asked[wish.kind], wish.kind === "scale" ? { workers: wish.workers } : { worker: wish.worker });
}

/** What is wished of the processes of this start now. */
export async function readWishes({ coordination, keys }: Place, start: number): Promise<Wishes> {
  const entry = await coordination.get(keys.wishes);
  return wishesOf(start, entry && decodeJson<Wishes>(entry.value));
}
