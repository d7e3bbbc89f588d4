/** Everything that etcd holds of a run, sorted into what it means; read as a whole. */
import type { PublishedCheckpoint } from "../core/beginning.ts";
import type { Suspicion } from "../core/broken-links.ts";
import { type Generation, type Member, memberIds } from "../core/membership.ts";
import { decodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { firstOrigin, isOnTheWay, type Origin } from "../core/origin.ts";
import { type CheckpointRecord, type Ending, type EpochRecord, isFor, type PublishedRecord } from "../core/records.ts";
import type { Report } from "../core/state-order.ts";
import { type EpochHistory, stateOf } from "../core/status.ts";
import type { Entry } from "../ports/coordination.ts";
import { Decoder } from "./decoder.ts";

/** Everything under the run's prefix, by kind. */
export interface RunReading {
  readonly entries: ReadonlyMap<string, Entry>;
  readonly members: readonly Member[];
  readonly refused: ReadonlySet<string>;
  readonly origin: Origin;
  /** The beginnings of lineages before. */
  readonly earlier: readonly Origin[];
  /** Of every epoch the record on the way to what is trained now; oldest first. */
  readonly epochs: readonly EpochRecord[];
  /** The history of epochs whose records etcd has lost. */
  readonly remembered: readonly EpochHistory[];
  /** Published, and not condemned. */
  readonly checkpoints: readonly PublishedRecord[];
  readonly generation: Generation | null;
  readonly reports: readonly Report[];
  readonly suspicions: readonly Suspicion[];
}

/** Whoever reads again and again gives the same decoder each time. */
export function readRun(list: readonly Entry[], keys: Keys, decoder = new Decoder()): RunReading {
  const entries = new Map(list.map((entry) => [entry.key, entry]));
  decoder.keep(entries);
  const under = (prefix: string) => list.filter((entry) => entry.key.startsWith(prefix));
  const found = entries.get(keys.generation);
  const written = found ? decoder.decode<Generation>(found) : null;
  const beginning = entries.get(keys.origin);
  const origin = beginning ? decoder.decode<Origin>(beginning) : firstOrigin;
  // One that was formed before etcd's data were lost stands for nothing.
  const generation = written && written.generation > origin.after ? written : null;
  const number = generation?.generation ?? 0;
  const remembered = entries.get(keys.remembered);
  const earlier = under(keys.lineages).map((entry) => decoder.decode<Origin>(entry));
  return {
    entries,
    members: [...under(keys.members)]
      .sort((a, b) => a.createRevision - b.createRevision)
      .map((entry) => decoder.decode<Member>(entry)),
    refused: new Set(under(keys.refusals).map((entry) => entry.key.slice(keys.refusals.length))),
    origin,
    earlier,
    epochs: epochsOnTheWay(
      under(keys.epochs).map((entry) => decoder.decode<EpochRecord>(entry)),
      origin,
      earlier,
    ),
    remembered: remembered ? decoder.decode<readonly EpochHistory[]>(remembered) : [],
    checkpoints: under(keys.checkpoints)
      .map((entry) => decoder.decode<CheckpointRecord>(entry))
      .filter((one) => one.state !== "condemned"),
    generation,
    reports: under(keys.reports(number)).map((entry) => decoder.decode<Report>(entry)),
    suspicions: under(keys.suspicions(number)).map((entry) => {
      const [suspect = "", by = ""] = entry.key.slice(keys.suspicions(number).length).split("/");
      return { suspect, by };
    }),
  };
}

/** Of every epoch the last lineage's record, as a lineage commits the boundary that it begins at again. */
export function epochsOnTheWay(
  records: readonly EpochRecord[],
  origin: Origin,
  earlier: readonly Origin[],
): EpochRecord[] {
  const byEpoch = new Map<number, EpochRecord>();
  for (const record of records) {
    if (!isOnTheWay(record.state, origin, earlier)) continue;
    if (record.state.lineage >= (byEpoch.get(record.epoch)?.state.lineage ?? 0)) byEpoch.set(record.epoch, record);
  }
  return [...byEpoch.values()].sort((a, b) => a.epoch - b.epoch);
}

/** A checkpoint's record as it is decided by. */
export function published({ pointer, reason }: Pick<PublishedRecord, "pointer" | "reason">): PublishedCheckpoint {
  const { id, generation } = pointer;
  return { id, generation, state: stateOf(pointer), setAside: reason ?? null };
}

/** What the current generation leaves behind when the next one forms. */
export function litterOf({ entries, generation }: RunReading, keys: Keys): string[] {
  const old = generation?.generation ?? 0;
  const prefixes = [keys.reports(old), keys.suspicions(old), `${keys.arrived}${old}/`];
  return [...entries.keys()].filter(
    (key) => key === keys.divergence(old) || prefixes.some((prefix) => key.startsWith(prefix)),
  );
}

/** Whether a stop was asked for, of this start or of those who are still there from an earlier one. */
export function isStopping({ entries, generation, members }: RunReading, keys: Keys, start: number): boolean {
  const stop = readValue<Ending>(entries, keys.stop);
  const current = memberIds(generation);
  const starts = members.filter(({ workerId }) => current.includes(workerId)).map((member) => member.start);
  return [start, ...starts].some((one) => isFor(stop, one));
}

export function readValue<T>(entries: ReadonlyMap<string, Entry>, key: string): T | null {
  const entry = entries.get(key);
  return entry ? decodeJson<T>(entry.value) : null;
}
