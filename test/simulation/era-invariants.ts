/** Rule 7: what must hold when etcd's data were lost, or an older copy was put back, until the era is open that follows. */
import { decodeJson } from "../../src/core/json.ts";
import type { Member } from "../../src/core/membership.ts";
import { firstOrigin, type Origin } from "../../src/core/origin.ts";
import { compareStates } from "../../src/core/state-order.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";
import type { StoreWrite } from "./etcd.ts";
import { type Seen, valueAfter } from "./invariants.ts";
import { keys } from "./worker-process.ts";

/** What was there when etcd's data were lost. */
export interface Loss {
  readonly hasArchive: boolean;
  /** What `latest` named. */
  readonly latest: CheckpointPointer | null;
  /** Of the whole checkpoints that were there, the highest. */
  readonly newestGeneration: number;
  readonly isEmpty: boolean;
}

export interface SeenEras {
  /** Null while nothing is lost, and once the era is open that follows. */
  loss: Loss | null;
  /** Of this life; it happens once. */
  wasLost: boolean;
  era: number;
  /** The highest number that any generation had. */
  highest: number;
  /** The highest generation that ran by each coordinator: it has read that it was formed. */
  readonly formed: Map<string, number>;
  /** The processes that were members when it happened. */
  readonly members: Set<string>;
  /** Processes that have slept, and may have missed that something was lost. */
  readonly slept: Set<string>;
  /** Checkpoints that were condemned before: whoever was to delete them then may do so, though they count as live again. */
  readonly condemned: Set<string>;
  /** The digests of all states that were ever committed: what is published after a loss may have been committed before it. */
  readonly committed: Set<string>;
}

export function originIn(store: ReadonlyMap<string, string>): Origin {
  const text = store.get(keys.origin);
  return text === undefined ? firstOrigin : decodeJson<Origin>(text);
}

/** The era that this write opens, or null. */
export function eraOpenedBy(seen: Seen, write: StoreWrite): Origin | null {
  const written = write.changes.find(({ key }) => key === keys.origin)?.value;
  const origin = written ? decodeJson<Origin>(written) : null;
  return origin && origin.era !== originIn(seen.store).era ? origin : null;
}

/** R7: it is above all before it, its generations are above all before them, and `latest` is where it was. */
export function checkEra(seen: Seen, write: StoreWrite, origin: Origin): void {
  const { eras, fail, disk } = seen;
  if (!eras.wasLost) fail("R7", `era ${origin.era} begins, and nothing was lost`);
  if (origin.era <= eras.era) fail("R7", `era ${origin.era} follows era ${eras.era}`);
  if (origin.reason === "") fail("R7", `era ${origin.era} begins without a reason`);
  eras.era = Math.max(eras.era, origin.era);
  seen.note("era");
  const { loss } = eras;
  eras.loss = null;
  for (const key of [keys.latest, keys.best]) {
    const pointer = valueAfter(seen, write, key);
    const { epoch, stepInEpoch } =
      pointer === null ? { epoch: 0, stepInEpoch: 1 } : decodeJson<CheckpointPointer>(pointer);
    if (stepInEpoch === 0) seen.published.push(epoch);
  }
  if (disk?.isSeparate && write.changes.some(({ key }) => key === keys.latest)) seen.note("brought");
  if (!loss?.hasArchive) return;
  if (origin.after < loss.newestGeneration) {
    fail("R7", `era ${origin.era} is after ${origin.after}, and ${loss.newestGeneration} has a checkpoint`);
  }
  const text = valueAfter(seen, write, keys.latest);
  const latest = text === null ? null : decodeJson<CheckpointPointer>(text);
  const was = loss.latest;
  if (latest && (!disk?.wholeOf(latest.id) || disk.corrupt.has(latest.id))) {
    fail("P3", `era ${origin.era} begins with ${latest.id}, which is not whole`);
  }
  if (was && !disk?.corrupt.has(was.id) && (!latest || compareStates(latest, was) < 0)) {
    fail("P3", `era ${origin.era} begins with ${text}, and latest was at step ${was.step}`);
  }
}

/** R7: after a loss nobody publishes, commits or condemns before the era is open. */
export function checkWaits({ eras, fail }: Seen, { author, changes }: StoreWrite): void {
  // Without a checkpoint, and without those who were there, it is a new run.
  if (!eras.loss?.isEmpty || eras.loss.newestGeneration === 0 || author === null) return;
  const decided = [keys.latest, keys.best, keys.done, keys.epochs, keys.saves, keys.checkpoints];
  const found = changes.find(({ key }) => decided.some((one) => key.startsWith(one)));
  if (found) fail("R7", `${author} writes ${found.key}, and etcd's data are lost`);
}

/** R7, R4: no generation has a number that another had, as far as anybody can know. */
export function checkNumber({ store, eras, fail }: Seen, generation: number, author: string | null): void {
  const members = [...store].filter(([key]) => key.startsWith(keys.members));
  // Within a generation that etcd was put back in, members say one more than there was.
  const announced = members.map(([, value]) => Math.min(decodeJson<Member>(value).seen, eras.highest));
  const highest = Math.max(eras.formed.get(author ?? "") ?? 0, originIn(store).after, ...announced);
  if (generation <= highest) fail("R7", `${author} forms generation ${generation}, and there was ${highest}`);
  eras.highest = Math.max(eras.highest, generation);
}
