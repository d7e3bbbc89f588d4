/** The timeline of a run whose etcd is not there any more, from what its coordinators have logged. */
import type { LogLine } from "./log-reading.ts";
import { shardsOfRank } from "./reduce-tree.ts";
import type { Departure, TimelineEntry } from "./timeline.ts";

/**
 * @param lines of the coordinators, of one run, in the order of time
 * @param shards S of the run; null where nobody knows it
 */
export function timelineOfLog(lines: readonly LogLine[], shards: number | null): readonly TimelineEntry[] {
  const entries = new Map<number, TimelineEntry>();
  let before: readonly string[] = [];
  for (const line of lines) {
    const generation = Number(line.generation);
    if (!Number.isSafeInteger(generation)) continue;
    if (line.message === "forming") {
      const ids = String(line.members ?? "")
        .split(" ")
        .filter((id) => id !== "");
      const reason = String(line.reason ?? "");
      entries.set(generation, {
        ...{ generation, formedAtMs: line.atMs, ranAtMs: null, reason, source: null, step: null, epoch: null },
        members: ids.map((workerId) => ({ workerId, shards: null })),
        joined: ids.filter((id) => !before.includes(id)),
        left: departures(before, ids, reason),
        paused: false,
      });
      before = ids;
    } else if (line.message === "running") {
      const formed = entries.get(generation);
      if (!formed) continue;
      const world = formed.members.length;
      const held = (rank: number) => (shards === null || world > shards ? null : shardsOfRank(shards, world, rank));
      entries.set(generation, {
        ...formed,
        ranAtMs: line.atMs,
        members: formed.members.map(({ workerId }, rank) => ({ workerId, shards: held(rank) })),
        source: typeof line.source === "string" ? line.source : null,
        step: numberIn(line.step),
        epoch: numberIn(line.epoch),
      });
    }
  }
  return [...entries.values()].sort((a, b) => a.generation - b.generation);
}

/** A generation's reason names those who were lost, each with why: "worker-1.ab is gone, worker-2.cd is leaving". */
function departures(were: readonly string[], are: readonly string[], reason: string): Departure[] {
  const gone = were.filter((id) => !are.includes(id));
  const clauses = reason.split(/, (?=\S+ (?:is|was|did|has|cannot) )/);
  return gone.map((workerId) => {
    const clause = clauses.find((one) => one.startsWith(`${workerId} `));
    return { workerId, reason: clause ? clause.slice(workerId.length + 1) : "is not a member any more" };
  });
}

function numberIn(value: unknown): number | null {
  return typeof value === "number" ? value : null;
}
