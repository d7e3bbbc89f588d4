/** The timeline of a run's memberships in etcd: written with the decisions that it tells of, in their transactions. */
import type { Decision } from "../core/decision.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { formedEntry, ranEntry, type TimelineEntry, timelineLength } from "../core/timeline.ts";
import type { Coordination, Operation } from "../ports/coordination.ts";
import type { RunReading } from "./run-reading.ts";

export class Timeline {
  readonly #keys: Keys;
  /** How the generation that is forming was formed: whoever lets it run has formed it (R4). */
  #formed: TimelineEntry | null = null;

  constructor(keys: Keys) {
    this.#keys = keys;
  }

  /** What goes into the transaction of a decision. */
  operationsOf(decision: Decision, reading: RunReading, nowMs: number): readonly Operation[] {
    if (decision.kind === "form") {
      const { forming, evicted } = decision;
      const { generation: before, members } = reading;
      this.#formed = formedEntry(forming, { before, evicted, members, nowMs });
      const old = forming.generation - timelineLength;
      return [
        this.#put(this.#formed),
        ...(old > 0 ? [{ kind: "delete" as const, key: this.#keys.timelineEntry(old) }] : []),
      ];
    }
    if (decision.kind !== "run") return [];
    const { running } = decision;
    const formed = this.#formed?.generation === running.generation ? this.#formed : null;
    return [this.#put(ranEntry(formed, running, nowMs))];
  }

  #put(entry: TimelineEntry): Operation {
    return { kind: "put", key: this.#keys.timelineEntry(entry.generation), value: encodeJson(entry) };
  }
}

/** Oldest first; the newest 500. */
export async function readTimeline(coordination: Coordination, keys: Keys): Promise<readonly TimelineEntry[]> {
  const { entries } = await coordination.list(keys.timeline);
  return entries.map(({ value }) => decodeJson<TimelineEntry>(value)).slice(-timelineLength);
}
