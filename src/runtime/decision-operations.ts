/** What the coordinator writes when it carries a decision out: the operations of one transaction. */
import { type BestSoFar, isSameBest, movesBest } from "../core/checkpoint-policy.ts";
import type { Decision, Eviction } from "../core/decision.ts";
import { encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { memberIds, type Running } from "../core/membership.ts";
import type { Origin } from "../core/origin.ts";
import type { Ending, Equivalences, JobRecord, LeaderRecord, Refusal } from "../core/records.ts";
import { compareStates } from "../core/state-order.ts";
import type { CheckpointPointer } from "../core/status.ts";
import type { Condition, Operation } from "../ports/coordination.ts";
import { litterOf, type RunReading, readValue } from "./run-reading.ts";
import { unchanged } from "./run-view.ts";
import { sweptAtOnce } from "./sweep.ts";

/**
 * A transaction takes 128 operations. When more are left out at once, the others read that in the generation, and only a
 * late announcement of theirs would not be turned away.
 */
const refusedAtOnce = 50;

/** `start` is the run's start that the decision is about, see `JobRecord`. */
export function operationsOf(
  decision: Exclude<Decision, { kind: "wait" | "rebuild" }>,
  reading: RunReading,
  keys: Keys,
  start: number,
): Operation[] {
  const refusal = (workerId: string, value: Refusal): Operation => ({
    kind: "put",
    key: keys.refusal(workerId),
    value: encodeJson(value),
  });
  const ending = (key: string, value: Ending): Operation => ({ kind: "put", key, value: encodeJson(value) });
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
        ...ofEarlierEras(decision.running, reading, keys).map((key): Operation => ({ kind: "delete", key })),
        ...(opensLineage(decision.running, reading)
          ? openingOf(decision.running.origin, reading, keys)
          : beyondReach(decision.running, reading, keys).map((key): Operation => ({ kind: "delete", key }))),
      ];
    case "stop":
      return [ending(keys.stop, { start: decision.start, reason: decision.reason })];
    case "fail":
      return [ending(keys.failed, { start, reason: decision.reason, code: decision.code })];
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
  return reading.epochs
    .filter((record) => record.state.lineage === lineage && record.epoch > epoch)
    .map((record) => keys.epoch(lineage, record.epoch));
}

/**
 * Records of epochs that are committed again when an era begins: the state there is the same, under another name. What the
 * era itself has committed goes too, if nobody has it any more, and the era begins once more.
 */
function ofEarlierEras({ source, origin }: Running, { epochs }: RunReading, keys: Keys): string[] {
  const from = source.kind === "seed" ? { era: 1, epoch: 0 } : source.state;
  if (from.era >= origin.era) return [];
  return epochs
    .filter(({ state, epoch }) => state.lineage === origin.lineage && epoch >= from.epoch)
    .map(({ state, epoch }) => keys.epoch(state.lineage, epoch));
}

/** What must be as it was read, or else everything is to be looked at again. */
export function conditionsOf(decision: Decision, { entries, ...reading }: RunReading, keys: Keys): Condition[] {
  const asRead = (key: string) => unchanged(key, entries.get(key));
  const conditions = [asRead(keys.generation), asRead(keys.origin)];
  // Who became leader since the reading may be one of those that are left out.
  if (decision.kind === "form") conditions.push(asRead(keys.leader));
  // A wish of a later start than theirs stays.
  if (decision.kind === "stop") conditions.push(asRead(keys.stop));
  if (decision.kind === "run" && opensLineage(decision.running, reading)) {
    const { checkpoint } = decision.running.origin.from ?? { checkpoint: null };
    // The leader of the generation before may publish until the next one runs, and condemn what was live.
    conditions.push(asRead(keys.latest), asRead(keys.best));
    if (checkpoint !== null) conditions.push(asRead(keys.checkpoint(checkpoint)));
  }
  return conditions;
}

function opensLineage(running: Running, { origin }: Pick<RunReading, "origin">): boolean {
  return running.origin.lineage !== origin.lineage;
}

/** `best` stays what it is, unless it was set aside. */
function openingOf(origin: Origin, reading: RunReading, keys: Keys): Operation[] {
  const value = encodeJson(origin);
  const known = readValue<CheckpointPointer>(reading.entries, keys.best);
  const best = bestLeft(reading, keys);
  return [
    { kind: "put", key: keys.origin, value },
    { kind: "put", key: keys.lineage(origin.lineage), value },
    ...(best && best.id !== known?.id ? [{ kind: "put" as const, key: keys.best, value: encodeJson(best) }] : []),
    ...(known && !best ? [{ kind: "delete" as const, key: keys.best }] : []),
  ];
}

/** What `best` names; where that is set aside, the best of those that are left. */
export function bestLeft({ entries, checkpoints }: RunReading, keys: Keys): CheckpointPointer | null {
  const best = readValue<CheckpointPointer>(entries, keys.best);
  const record = readValue<JobRecord>(entries, keys.record);
  if (!best || !record) return null;
  const isWhole = checkpoints.some(({ state, pointer }) => state === "live" && pointer.id === best.id);
  if (isWhole) return best;
  return checkpoints
    .filter(({ state }) => state === "live")
    .map(({ pointer }) => pointer)
    .filter(({ of }) => isSameBest(of, best.of))
    .sort((a, b) => compareStates(a, b))
    .reduce<CheckpointPointer | null>((top, one) => (movesBest(record.checkpoint, top, one) ? one : top), null);
}

/** What the policy has to know of a published checkpoint. */
export function bestSoFar(pointer: CheckpointPointer | null): BestSoFar | null {
  if (!pointer || pointer.value === null) return null;
  const { epoch, step, value, of } = pointer;
  return { epoch, step, value, of };
}
