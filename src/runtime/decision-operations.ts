/** What the coordinator writes when it carries a decision out: the operations of one transaction. */
import type { Decision, Eviction } from "../core/generation.ts";
import { encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { memberIds, type Running } from "../core/membership.ts";
import type { Ending, Equivalences, LeaderRecord, Refusal } from "../core/records.ts";
import type { Operation } from "../ports/coordination.ts";
import { litterOf, type RunReading, readValue } from "./run-reading.ts";
import { sweptAtOnce } from "./sweep.ts";

/**
 * A transaction takes 128 operations. When more are left out at once, the others read that in the generation, and only a
 * late announcement of theirs would not be turned away.
 */
const refusedAtOnce = 50;

/** `start` is the run's start that the decision is about, see `JobRecord`. */
export function operationsOf(
  decision: Exclude<Decision, { kind: "wait" }>,
  reading: RunReading,
  keys: Keys,
  start: number,
): Operation[] {
  const refusal = (workerId: string, value: Refusal): Operation => ({
    kind: "put",
    key: keys.refusal(workerId),
    value: encodeJson(value),
  });
  const ending = (key: string, reason: string): Operation => {
    const value: Ending = { start, reason };
    return { kind: "put", key, value: encodeJson(value) };
  };
  switch (decision.kind) {
    case "refuse":
      return [refusal(decision.workerId, { kind: "incompatible", reason: decision.reason })];
    case "form": {
      const leader = readValue<LeaderRecord>(reading.entries, keys.leader);
      const staying = leader && memberIds(decision.forming).includes(leader.workerId);
      const equivalences: Equivalences = { reasons: decision.equivalences };
      return [
        { kind: "put", key: keys.generation, value: encodeJson(decision.forming) },
        { kind: "put", key: keys.fingerprint, value: encodeJson(decision.fingerprint) },
        { kind: "put", key: keys.equivalences, value: encodeJson(equivalences) },
        ...(decision.replay ? [{ kind: "put" as const, key: keys.replay, value: encodeJson(decision.replay) }] : []),
        ...firstOf(decision.evicted).map(({ workerId, reason, kind }) => refusal(workerId, { kind, reason })),
        // Whoever is left out loses the leadership with the same stroke.
        ...(leader && !staying ? [{ kind: "delete" as const, key: keys.leader }] : []),
        ...litterOf(reading, keys)
          .slice(0, sweptAtOnce)
          .map((key): Operation => ({ kind: "delete", key })),
      ];
    }
    case "run":
      return [
        { kind: "put", key: keys.generation, value: encodeJson(decision.running) },
        ...beyondReach(decision.running, reading, keys).map((key): Operation => ({ kind: "delete", key })),
      ];
    case "stop":
      return [ending(keys.stop, decision.reason)];
    case "fail":
      return [ending(keys.failed, decision.reason)];
  }
}

/** Those first who have to forget their state. */
function firstOf(evicted: readonly Eviction[]): readonly Eviction[] {
  const isDiverged = ({ kind }: Eviction) => kind === "diverged";
  return [...evicted.filter(isDiverged), ...evicted.filter((one) => !isDiverged(one))].slice(0, refusedAtOnce);
}

export function equivalencesOf({ entries }: RunReading, keys: Keys): readonly string[] {
  return readValue<Equivalences>(entries, keys.equivalences)?.reasons ?? [];
}

/**
 * Records of epochs that come after the state which the generation starts from. What is computed again is the same state
 * while the run is bit-exact; once it is only equivalent it is another one, and such a record stands for nothing.
 */
function beyondReach({ source }: Running, reading: RunReading, keys: Keys): string[] {
  if (source.kind === "seed" || equivalencesOf(reading, keys).length === 0) return [];
  const { lineage, epoch } = source.state;
  return reading.epochs.filter((record) => record.epoch > epoch).map((record) => keys.epoch(lineage, record.epoch));
}
