/** What must hold of every process's state and trainer: at each step, each state that is taken, and each stop. */
import type { Generation } from "../../src/core/membership.ts";
import { memberIds } from "../../src/core/membership.ts";
import { decodeJson, encodeJson } from "../../src/core/json.ts";
import type { Progress } from "../../src/core/progress.ts";
import { isSince } from "../../src/core/origin.ts";
import type { Report } from "../../src/core/state-order.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";
import type { StateSnapshot } from "../../src/ports/transport.ts";
import { digestOf } from "../../src/runtime/state.ts";
import { batchRange, shardRange } from "../../src/core/sampler.ts";
import { originIn } from "./era-invariants.ts";
import { checksumEvery } from "./program.ts";
import type { Seen } from "./invariants.ts";
import type { SeenProcess } from "./observer.ts";
import { keys } from "./worker-process.ts";

/** P1, P2, P6, R3, R14, R16: a step was applied. */
export function checkStep(
  seen: Seen,
  name: string,
  process: SeenProcess,
  { generation, step, state }: { generation: number; step: number; state: StateSnapshot },
): void {
  const { reference, runnings, fail } = seen;
  const { values, progress } = state;
  if (generation < process.reported) {
    fail("R3", `${name} applied step ${step} of generation ${generation} after its report to ${process.reported}`);
  }
  if (runnings.get(generation)?.paused) fail("P6", `${name} applied step ${step} in ${generation}, which is paused`);
  const latest = seen.store.get(keys.latest);
  const { lineage, era } = decodeJson<Progress>(progress);
  // Who has not heard of it trains on where etcd's data were lost, and publishes nothing.
  if (seen.eras.loss || era < originIn(seen.store).era) seen.note("unheard");
  else if (!latest) fail("R15", `${name} applied step ${step}, and step 0 is not published`);
  else if (!isSince(decodeJson<CheckpointPointer>(latest), { lineage, era })) {
    fail("R11", `${name} applied step ${step} of lineage ${lineage}, era ${era}, and nothing is published in it`);
  }
  // A flip while a step is computed may come after its checksum; the next one that is taken tells.
  const isCompared = (step - 1) % checksumEvery === 0;
  const wrong = seen.flips.filter((flip) => flip.generation === generation && flip.step < step - 1);
  const theirs = contributors(seen, generation, step).map((who) => wrong.some((flip) => flip.process === who));
  if (isCompared && theirs.includes(true) && theirs.includes(false)) {
    fail("R1", `${name} applied step ${step} of generation ${generation}, whose members' states were not equal before`);
  }
  if (seen.flipped.size > 0) return;
  if (process.step !== null && step !== process.step + 1) {
    fail("P2", `${name} applied step ${step} after step ${process.step}`);
  }
  const expected = reference.states[step];
  const at = expected ? expected.values.findIndex((value, i) => value !== values[i]) : 0;
  if (at >= 0) {
    fail(
      "P1",
      `${name} has ${values[at]} as number ${at} after step ${step}, the undisturbed run ${expected?.values[at]}`,
    );
  }
  if (!isSameProgress(progress, expected?.progress)) {
    fail("R14", `${name} has ${progress} after step ${step}, the undisturbed run ${expected?.progress}`);
  }
  for (const { workerId } of runnings.get(generation)?.members ?? []) {
    const other = seen.owners.get(workerId);
    const behind = other === undefined ? null : seen.processes.get(other)?.step;
    if (typeof behind === "number" && behind < step - 1) {
      fail("R16", `${name} applied step ${step} in generation ${generation}, of which ${other} is at step ${behind}`);
    }
  }
}

/** P1, P2, R3, R12: a state was taken, from the seed (then there is no progress), a peer or a checkpoint. */
export function checkTaken(
  seen: Seen,
  name: string,
  process: SeenProcess,
  progress: Progress | null,
  values: Float32Array,
): void {
  const { reference, fail } = seen;
  const step = progress?.step ?? 0;
  const now = generationOf(seen);
  const isMember = memberIds(now).includes(seen.newestIds.get(name) ?? "");
  // Put back from Running to Forming, etcd has a report that somebody has gone on from, until an era is open.
  const isPutBack = seen.eras.loss !== null;
  if (now?.kind === "forming" && isMember && process.reported === now.generation && !isPutBack) {
    fail("R3", `${name} took the state of step ${step} after its report to ${now.generation}`);
  }
  if (now?.kind === "running" && isMember && progress && now.source.kind !== "seed") {
    const digest = digestOf({ progress: encodeJson(progress), values });
    // The state at a lineage's beginning is what the generation names, moved into the lineage.
    const isMoved = !isSince(now.source.state, now.origin) && isSince(progress, now.origin);
    if (!isMoved && digest !== now.source.state.digest) {
      fail("R12", `${name} took a state of step ${step} that is not the one which generation ${now.generation} names`);
    }
  }
  if (seen.flipped.size > 0) return;
  // Nobody waits for who followed, or slept while etcd's data were lost: no key says that it is there.
  const isWaitedFor = !seen.eras.wasLost || (seen.eras.members.has(name) && !seen.eras.slept.has(name));
  if (process.step !== null && step < process.step && (progress?.lineage ?? 1) <= process.lineage && isWaitedFor) {
    fail("P2", `${name} was at step ${process.step} and took the state of step ${step}`);
  }
  const expected = reference.states[step];
  if (!expected || expected.values.some((value, i) => value !== values[i])) {
    fail("P1", `${name} took a state of step ${step} that is not the undisturbed run's`);
  }
}

/** In a later lineage or era the same steps have the same numbers; where it began, and what was best then, is its own. */
function isSameProgress(text: string, expected = "{}"): boolean {
  const { lineage, era } = decodeJson<Progress>(text);
  if (lineage === 1 && era === 1) return text === expected;
  const comparable = (from: string) => {
    const { lineage, era, openings, best, ...rest } = decodeJson<Progress>(from);
    return encodeJson({ ...rest, history: rest.history.map(({ improved, ...line }) => line) });
  };
  return comparable(text) === comparable(expected);
}

/** R3: what a report names is what its process stands at. */
export function checkStandsAt(seen: Seen, name: string, { state }: Report): void {
  const step = seen.processes.get(name)?.step ?? null;
  if (seen.flipped.size > 0 || step === (state?.step ?? null)) return;
  seen.fail("R3", `${name} reports ${state ? `step ${state.step}` : "no state"}, and is at step ${step}`);
}

/**
 * R10: a trainer is stopped for the generation, for a peer, since the run is over, or since etcd was put back; never because etcd
 * is away.
 */
export function checkStop(seen: Seen, name: string, process: SeenProcess): void {
  const now = generationOf(seen);
  const id = seen.newestIds.get(name) ?? "";
  if (now?.kind !== "running" || process.trainsIn !== now.generation || !memberIds(now).includes(id)) return;
  if (process.missesPeerIn === now.generation) return;
  // Put back within it, it is over for whoever notices that; and for all once an era is open that comes after it.
  if (seen.eras.loss !== null || now.generation <= originIn(seen.store).after) return;
  if ([keys.done, keys.stop, keys.failed].some((key) => seen.store.has(key))) return;
  seen.fail("R10", `${name} stops training in generation ${now.generation}, which goes on`);
}

function generationOf({ store }: Seen): Generation | null {
  const text = store.get(keys.generation);
  return text === undefined ? null : decodeJson<Generation>(text);
}

/** The processes of which a shard has samples in that step: who adds nothing to a step spreads nothing, and is not compared in it. */
function contributors(
  { job, reference, runnings, owners }: Seen,
  generation: number,
  step: number,
): (string | undefined)[] {
  const used = ((step - 1) % reference.stepsPerEpoch) * job.batchSize;
  const batch = batchRange(job.trainingSamples, job.batchSize, used);
  const hasSamples = (shard: number) => {
    const { begin, end } = shardRange(batch, job.shards, shard);
    return begin < end;
  };
  return (runnings.get(generation)?.members ?? [])
    .filter(({ shards: { begin, end } }) => Array.from({ length: end - begin }, (_, i) => begin + i).some(hasSamples))
    .map(({ workerId }) => owners.get(workerId));
}
