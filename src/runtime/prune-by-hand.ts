/**
 * Pruning while nobody trains. Only a leader condemns: so whoever prunes by hand is one for the moment, under a lease of its
 * own and with a token of its own. A start that comes in between takes the leadership away with its first generation, and with
 * it the right to condemn; what was condemned before may be deleted by anyone.
 */
import { placeInId } from "../core/checkpoint-id.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { LeaderRecord } from "../core/records.ts";
import type { CheckpointPointer } from "../core/status.ts";
import { LockstepError } from "../core/errors.ts";
import {
  hasLatest,
  inStorage,
  keptAndLive,
  leftBehind,
  type Pointers,
  pruneCheckpoints,
  type PruneOptions,
  readRecords,
  removableSetAside,
  removeSetAside,
  removeUnpublished,
} from "./prune.ts";
import type { Versioned } from "./run-view.ts";

/** What goes only when somebody asks for it. */
export interface PruneWish {
  /** What was found corrupt. */
  readonly setAside: boolean;
  /** As in `LeftBehind.ofEarlierEras`. */
  readonly earlierEras: boolean;
}

/** What becomes of a checkpoint, and why. */
export interface PruneVerdict {
  readonly id: string;
  readonly step: number;
  readonly fate: "kept" | "deleted";
  readonly reason: string;
}

/**
 * What would be kept and deleted now, in the order of steps. Empty before anything is published.
 */
export async function planPrune(
  options: PruneOptions,
  { setAside, earlierEras }: PruneWish,
): Promise<readonly PruneVerdict[]> {
  const pointers = await readPointers(options);
  if (!hasLatest(pointers)) return [];
  // What a leader is at now is its own.
  const token = (await options.coordination.get(options.keys.leader))?.createRevision ?? Number.POSITIVE_INFINITY;
  const there = await inStorage(options.storage);
  const read = await readRecords(options);
  const { live, kept } = keptAndLive(options.record, read, pointers);
  const known = new Set([...read.published, ...read.condemned].map(({ id }) => id));
  const { unpublished, ofEarlierEras, unfinished } = leftBehind(options.record, there, known, pointers, token);
  const removable = new Set(removableSetAside(read, pointers).map(({ id }) => id));
  const deleted = (id: string, step: number, reason: string): PruneVerdict => ({ id, step, fate: "deleted", reason });
  const verdicts: PruneVerdict[] = [
    ...live.map(({ id, pointer: { step } }): PruneVerdict => {
      const why = kept.get(id);
      return { id, step, fate: why ? "kept" : "deleted", reason: why ?? "nothing keeps it" };
    }),
    ...read.published
      .filter(({ state }) => state === "set-aside")
      .map(({ id, pointer: { step }, reason }): PruneVerdict => {
        const isKept = !setAside || !removable.has(id);
        const why = setAside && isKept ? "a pointer names it, or a pin keeps it; set aside" : "set aside";
        return { id, step, fate: isKept ? "kept" : "deleted", reason: `${why}: ${reason}` };
      }),
    ...read.condemned.map(({ id }) => deleted(id, placeInId(options.record, id)?.step ?? 0, "condemned before")),
    ...unpublished.map(({ id, manifest: { step } }) => deleted(id, step, "etcd has no record of it")),
    ...ofEarlierEras.map(({ id, manifest: { step, era } }): PruneVerdict => {
      const reason = `of era ${era}: etcd's data were lost since, and its record with them`;
      return { id, step, fate: earlierEras ? "deleted" : "kept", reason };
    }),
    ...unfinished.map(({ id, step }) => deleted(id, step, "it was never finished")),
  ];
  return verdicts.sort((a, b) => a.step - b.step || (a.id < b.id ? -1 : 1));
}

/** Does what `planPrune` tells. Refused with "job-running" while there is a leader, a coordinator or a member. */
export async function pruneByHand(
  options: PruneOptions,
  { setAside, earlierEras }: PruneWish,
  budget: FailureBudget,
  name: string,
): Promise<void> {
  const { coordination, keys, record } = options;
  const { entries: members } = await coordination.list(keys.members);
  const lease = await coordination.grantLease(budget.leaseTtlMs);
  try {
    const leader: LeaderRecord = { workerId: name, generation: 0 };
    const { succeeded, revision } =
      members.length > 0
        ? { succeeded: false, revision: 0 }
        : await coordination.transact(
            [
              { kind: "absent", key: keys.leader },
              { kind: "absent", key: keys.coordinator },
            ],
            [{ kind: "put", key: keys.leader, value: encodeJson(leader), lease }],
          );
    if (!succeeded) {
      const asked = [...(setAside ? ["set aside"] : []), ...(earlierEras ? ["of earlier eras"] : [])];
      throw new LockstepError(
        "job-running",
        `Run ${record.run} of "${record.job}" is active: its leader prunes by itself${asked.length > 0 ? `, but for what is ${asked.join(" or ")}` : ""}.`,
        {
          hint: `It does so with every checkpoint. ${asked.length > 0 ? "That goes once it has stopped. " : ""}If its processes were killed just now, try again in ${Math.ceil(budget.budgetMs / 1000)} s.`,
        },
      );
    }
    const pointers = await readPointers(options);
    await pruneCheckpoints(options, pointers, revision);
    await removeUnpublished(options, pointers, revision, earlierEras);
    if (setAside) await removeSetAside(options, pointers, revision);
  } finally {
    await lease.revoke();
  }
}

async function readPointers({ coordination, keys }: PruneOptions): Promise<Pointers> {
  const entries = await coordination.read([keys.latest, keys.best, keys.origin]);
  const versioned = (key: string): Versioned<CheckpointPointer> | null => {
    const entry = entries.get(key);
    if (!entry) return null;
    const { value, createRevision, modRevision } = entry;
    return { value: decodeJson<CheckpointPointer>(value), createRevision, modRevision };
  };
  return {
    latest: versioned(keys.latest),
    best: versioned(keys.best),
    origin: entries.get(keys.origin)?.value ?? null,
  };
}
