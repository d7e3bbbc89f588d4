/** Everything that etcd holds of a run, sorted into what it means; read as a whole, and never remembered piece by piece. */
import type { Generation, Member, Report, Suspicion } from "../core/generation.ts";
import { decodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import type { EpochRecord } from "../core/records.ts";
import type { Entry } from "../ports/coordination.ts";

/** Everything under the run's prefix, by kind. */
export interface RunReading {
  readonly entries: ReadonlyMap<string, Entry>;
  readonly members: readonly Member[];
  readonly refused: ReadonlySet<string>;
  readonly epochs: readonly EpochRecord[];
  readonly generation: Generation | null;
  readonly reports: readonly Report[];
  readonly suspicions: readonly Suspicion[];
}

export function readRun(list: readonly Entry[], keys: Keys, lineage: number): RunReading {
  const entries = new Map(list.map((entry) => [entry.key, entry]));
  const under = (prefix: string) => list.filter((entry) => entry.key.startsWith(prefix));
  const generation = readValue<Generation>(entries, keys.generation);
  const number = generation?.generation ?? 0;
  return {
    entries,
    members: [...under(keys.members)]
      .sort((a, b) => a.createRevision - b.createRevision)
      .map((entry) => decodeJson<Member>(entry.value)),
    refused: new Set(under(keys.refusals).map((entry) => entry.key.slice(keys.refusals.length))),
    epochs: under(keys.epochs(lineage)).map((entry) => decodeJson<EpochRecord>(entry.value)),
    generation,
    reports: under(keys.reports(number)).map((entry) => decodeJson<Report>(entry.value)),
    suspicions: under(keys.suspicions(number)).map((entry) => {
      const [suspect = "", by = ""] = entry.key.slice(keys.suspicions(number).length).split("/");
      return { suspect, by };
    }),
  };
}

export function readValue<T>(entries: ReadonlyMap<string, Entry>, key: string): T | null {
  const entry = entries.get(key);
  return entry ? decodeJson<T>(entry.value) : null;
}
