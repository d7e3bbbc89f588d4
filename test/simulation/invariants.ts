/**
 * What must hold at every write to the store and at every applied step, each under the number that PROTOCOL.md gives it.
 * `store` is the picture before the write.
 */
import { type Forming, type Generation, type Member, memberIds, type Running } from "../../src/core/membership.ts";
import { decodeJson, encodeJson } from "../../src/core/json.ts";
import type { Origin } from "../../src/core/origin.ts";
import type {
  Arrival,
  CheckpointRecord,
  CoordinatorRecord,
  EpochRecord,
  JobRecord,
  LeaderRecord,
  Refusal,
} from "../../src/core/records.ts";
import { compareStates, type Report } from "../../src/core/state-order.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";
import type { Disk } from "./disk.ts";
import { checkEra, checkNumber, checkWaits, eraOpenedBy, originIn, type SeenEras } from "./era-invariants.ts";
import type { StoreChange, StoreWrite } from "./etcd.ts";
import type { SeenProcess } from "./observer.ts";
import { checkStandsAt } from "./process-invariants.ts";
import { booksOf, type JobShape } from "./program.ts";
import type { Reference } from "./reference.ts";
import { keys } from "./worker-process.ts";

export interface Seen {
  job: JobShape;
  reference: Reference;
  disk: Disk | null;
  readonly store: Map<string, string>;
  /** The process behind every worker id. */
  readonly owners: Map<string, string>;
  /** Who wrote the last Forming. */
  formedBy: string | null;
  /** Under which id a process was announced last. */
  readonly newestIds: Map<string, string>;
  /** Since when the lease on a worker id's key has been over. */
  readonly lapsedAtMs: Map<string, number>;
  readonly absenceMs: number;
  /** With fewer members a generation pauses; more it never has. */
  readonly least: number;
  most: number;
  /** The run goes on with another S than it began with. */
  hasOtherShards: boolean;
  readonly note: (standing: Standing) => void;
  readonly nowMs: () => number;
  readonly processes: Map<string, SeenProcess>;
  readonly runnings: Map<number, Running>;
  /** Processes with a bit turned over, and such whose computation hangs. */
  readonly flipped: Set<string>;
  /** In whose weights a bit was turned over, after which step of which generation. */
  readonly flips: { readonly process: string; readonly step: number; readonly generation: number }[];
  readonly hung: Set<string>;
  /** Ids that have reported a copy. */
  readonly copies: Set<string>;
  /** Which process wrote which checkpoint. */
  readonly writers: Map<string, string>;
  /** The epochs whose boundaries were published, in order. */
  readonly published: number[];
  readonly eras: SeenEras;
  readonly fail: (invariant: string, why: string) => void;
}

/**
 * "paused": below MIN. "back": enough came back. "spared": somebody stands by beyond MAX or S, and is not left out. "behind":
 * a new lineage began behind what was published. "saved": `latest` moved in the middle of an epoch. "era": etcd's data were
 * lost, and a new era began. "unheard": a step was applied by who had not heard of that yet. "other S": a run that was done
 * goes on with another S. "brought": the era began with a checkpoint that only its workers had. "named": `best` got its name back.
 */
export type Standing =
  | "paused"
  | "back"
  | "spared"
  | "behind"
  | "saved"
  | "era"
  | "unheard"
  | "other S"
  | "brought"
  | "named";

export function checkWrite(seen: Seen, write: StoreWrite): void {
  const era = eraOpenedBy(seen, write);
  if (era) {
    // What it writes down is what was there before.
    checkEra(seen, write, era);
    return;
  }
  checkWaits(seen, write);
  for (const change of write.changes) {
    if (!change.key.startsWith(keys.prefix)) continue;
    const name = short(change.key);
    const [kind = "", ...rest] = name.split("/");
    switch (kind) {
      case "record":
        checkRecord(seen, change, write);
        break;
      case "members":
        checkMember(seen, change, rest.join("/"), write.author);
        break;
      case "generation":
        checkGeneration(seen, write, change);
        break;
      case "leader":
        checkLeader(seen, change, write.author);
        break;
      case "reports":
        checkReport(seen, change, write.author);
        break;
      case "epochs":
        if (isCommittedAgain(seen, change, write)) break;
        checkFence(seen, write, name);
        checkEpoch(seen, change, write);
        break;
      case "latest":
        checkFence(seen, write, name);
        checkLatest(seen, change);
        break;
      case "origin":
        checkOrigin(seen, change, write);
        break;
      case "best":
        if (opensLineage(write)) break;
        checkFence(seen, write, name);
        checkBest(seen, change, write);
        break;
      case "saves":
        checkFence(seen, write, name);
        break;
      case "checkpoints":
        // Whoever pins writes the record as it is.
        if (change.value === seen.store.get(change.key)) break;
        if (isSetAside(change.value)) checkSetAside(seen, change, write.author);
        else if (!isOwnUnpublished(seen, change, write)) checkFence(seen, write, name);
        checkCheckpoint(seen, change, write);
        break;
      case "pins":
        checkPin(seen, change, write, rest[0] ?? "");
        break;
      case "done":
        if (change.value !== null) checkFence(seen, write, name);
        break;
      case "refusals":
        checkRefusal(seen, change, rest.join("/"));
        break;
      case "failed":
        if (change.value !== null) seen.fail("P6", `the run failed: ${change.value}`);
    }
  }
}

function opensLineage({ changes }: StoreWrite): boolean {
  return changes.some(({ key }) => key === keys.origin);
}

function isSetAside(value: string | null): boolean {
  return value !== null && decodeJson<CheckpointRecord>(value).state === "set-aside";
}

/** R11, P3: a lineage follows the one before, from a state that is whole, and says why; `best` names what is whole. */
function checkOrigin(seen: Seen, { value }: StoreChange, write: StoreWrite): void {
  const { store, fail, disk } = seen;
  if (value === null) {
    fail("R11", "the beginning of the lineage was deleted");
    return;
  }
  const { lineage, from, reason } = decodeJson<Origin>(value);
  const before = store.get(keys.origin);
  const last = before ? decodeJson<Origin>(before).lineage : 1;
  seen.note("behind");
  if (lineage !== last + 1 || reason === "") fail("R11", `lineage ${lineage} follows ${last}, because of "${reason}"`);
  if (valueAfter(seen, write, keys.lineage(lineage)) !== value) fail("R11", `lineage ${lineage} is not written down`);
  const named = from?.checkpoint;
  if (named && (disk?.corrupt.has(named) || !disk?.wholeOf(named)))
    fail("R15", `lineage ${lineage} begins at ${named}`);
  const best = valueAfter(seen, write, keys.best);
  const isBad = best !== null && isSetAside(store.get(keys.checkpoint(decodeJson<CheckpointPointer>(best).id)) ?? null);
  if (isBad) fail("P3", `best names ${best}, which is set aside`);
}

/** R20: once something is published, another S comes with a lineage that begins there. */
function checkRecord({ store, fail }: Seen, { key, value }: StoreChange, write: StoreWrite): void {
  const before = store.get(key);
  if (value === null || before === undefined || !store.has(keys.latest)) return;
  const [was, is] = [before, value].map((text) => decodeJson<JobRecord>(text).shards);
  if (was !== is && !opensLineage(write)) fail("R20", `S was ${was} and is ${is}, and no lineage begins`);
}

/** R15: only what was read and is corrupt, and only by a member of the generation that goes on from it. */
function checkSetAside({ store, disk, newestIds, fail }: Seen, { key }: StoreChange, author: string | null): void {
  const id = key.slice(keys.checkpoints.length);
  if (!disk?.corrupt.has(id)) fail("R15", `${author} sets ${id} aside, which is whole`);
  const text = store.get(keys.generation);
  const now = text ? decodeJson<Generation>(text) : null;
  if (now?.kind !== "running" || !memberIds(now).includes(newestIds.get(author ?? "") ?? "")) {
    fail("R15", `${author} sets ${id} aside, and is no member of ${text}`);
  }
}

/** R1: of more than two, only who is wrong is sent away for it, and who has copied from it. */
function checkRefusal(seen: Seen, { value }: StoreChange, id: string): void {
  if (value === null || decodeJson<Refusal>(value).kind !== "diverged") return;
  const owner = seen.owners.get(id) ?? "";
  if (seen.copies.has(id) && seen.flipped.size > 0) return;
  if (!seen.flipped.has(owner)) seen.fail("R1", `${owner} was sent away for a divergence, and had no bit turned over`);
}

function checkMember(
  { store, owners, newestIds, lapsedAtMs, nowMs, fail }: Seen,
  { key, value }: StoreChange,
  id: string,
  author: string | null,
): void {
  // Who wants to leave is left out for that, whatever becomes of its key meanwhile.
  const before = store.get(key);
  const isLeaving = before !== undefined && decodeJson<Member>(before).leaving;
  if (author === null && !isLeaving) lapsedAtMs.set(id, nowMs());
  else lapsedAtMs.delete(id);
  if (value === null || author === null) return;
  const owner = owners.get(id);
  if (owner === undefined) newestIds.set(author, id);
  if (owner !== undefined && owner !== author) fail("P4", `${author} uses the id ${id} of ${owner}`);
  owners.set(id, author);
}

function checkGeneration(seen: Seen, write: StoreWrite, { value }: StoreChange): void {
  const { store, job, fail } = seen;
  if (value === null) {
    fail("R4", "the generation was deleted");
    return;
  }
  const holder = store.get(keys.coordinator);
  if (!holder || decodeJson<CoordinatorRecord>(holder).name !== write.author) {
    fail("P4", `${write.author} wrote the generation, and the active coordinator is ${holder ?? "nobody"}`);
  }
  const next = decodeJson<Generation>(value);
  const text = store.get(keys.generation);
  const before = text ? decodeJson<Generation>(text) : null;
  if (next.members.length > Math.min(job.shards, seen.most) || next.members.length === 0) {
    fail("R16", `generation ${next.generation} has ${next.members.length} members of at most ${seen.most}`);
  }
  if (next.kind === "forming") {
    checkNumber(seen, next.generation, write.author);
    if (next.generation !== Math.max(before?.generation ?? 0, originIn(store).after) + 1) {
      fail("R4", `Forming(${next.generation}) after ${before?.kind}(${before?.generation})`);
    }
    const leader = valueAfter(seen, write, keys.leader);
    seen.formedBy = write.author;
    const ids = memberIds(next);
    if (leader && !ids.includes(decodeJson<LeaderRecord>(leader).workerId)) {
      fail("R5", `Forming(${next.generation}) leaves the leader out and lets it lead: ${leader}`);
    }
    for (const id of ids) {
      if (store.has(keys.refusal(id))) fail("R13", `Forming(${next.generation}) has ${id}, which was refused`);
    }
    if (before && before.generation > originIn(store).after) checkLeftOut(seen, before, ids);
    return;
  }
  if (before?.kind !== "forming" || before.generation !== next.generation) {
    fail("R4", `Running(${next.generation}) after ${before?.kind}(${before?.generation})`);
    return;
  }
  if (seen.formedBy !== write.author) {
    fail("R4", `${write.author} continued Forming(${next.generation}) of ${seen.formedBy}`);
  }
  if (next.paused !== next.members.length < seen.least) {
    fail("P6", `Running(${next.generation}) has ${next.members.length} members, and paused is ${next.paused}`);
  }
  seen.eras.formed.set(write.author ?? "", next.generation);
  noteStanding(seen, next);
  seen.runnings.set(next.generation, next);
  checkRunning(seen, before, next);
}

function noteStanding({ store, runnings, note }: Seen, running: Running): void {
  const before = runnings.get(running.generation - 1);
  if (running.paused) note("paused");
  else if (before?.paused) note("back");
  const there = [...store.keys()].filter((key) => key.startsWith(keys.members)).length;
  if (there > running.members.length) note("spared");
}

/** R10: an expired lease alone is no reason to leave a living member out, before it has had the time to come back. */
function checkLeftOut(seen: Seen, before: Generation, ids: readonly string[]): void {
  const { store, owners, processes, lapsedAtMs, absenceMs, nowMs, fail } = seen;
  for (const id of memberIds(before)) {
    const lapsedAt = lapsedAtMs.get(id);
    if (ids.includes(id) || lapsedAt === undefined || nowMs() - lapsedAt >= absenceMs) continue;
    // Who computes for ever is left out for that.
    const owner = owners.get(id) ?? "";
    if (processes.get(owner)?.isGone || seen.hung.has(owner)) continue;
    const isSuspected = [...store.keys()].some((key) => key.startsWith(keys.suspicion(before.generation, id, "")));
    if (isSuspected || store.has(keys.refusal(id))) continue;
    fail(
      "R10",
      `${id} lives, nobody suspects it, and it is left out ${Math.round(nowMs() - lapsedAt)} ms after its lease`,
    );
  }
}

function checkRunning(seen: Seen, forming: Forming, running: Running): void {
  const { store, job, fail } = seen;
  const ids = memberIds(running);
  if (ids.join() !== memberIds(forming).join()) {
    fail("R4", `Running(${running.generation}) has ${ids.join()}, Forming had ${memberIds(forming).join()}`);
  }
  let shard = 0;
  for (const { shards } of running.members) {
    if (shards.begin !== shard || shards.end <= shard)
      fail("R16", `shard ${shard} of ${running.generation} has no owner`);
    shard = shards.end;
  }
  if (shard !== job.shards) fail("R16", `generation ${running.generation} has ${shard} of ${job.shards} shards`);
  const { source } = running;
  const latest = store.get(keys.latest);
  const pointer = latest ? decodeJson<CheckpointPointer>(latest) : null;
  const origin = store.get(keys.origin);
  const lineage = origin ? decodeJson<Origin>(origin).lineage : 1;
  if (running.origin.lineage > lineage && !isSetAside(store.get(keys.checkpoint(pointer?.id ?? "")) ?? null)) {
    fail("R11", `generation ${running.generation} goes back behind ${pointer?.id}, which is not set aside`);
  }
  for (const id of ids) {
    const report = store.get(keys.report(running.generation, id));
    if (!report) {
      fail("R3", `Running(${running.generation}) without the report of ${id}`);
      return;
    }
    const { state } = decodeJson<Report>(report);
    if (seen.flipped.size > 0) continue;
    if (state?.lineage !== running.origin.lineage) continue;
    if (source.kind === "seed" || compareStates(source.state, state) < 0) {
      fail("R2", `generation ${running.generation} goes on from ${describe(source)}, and ${id} is at ${state.step}`);
    }
  }
  if (
    pointer?.lineage === running.origin.lineage &&
    (source.kind === "seed" || compareStates(source.state, pointer) < 0)
  ) {
    fail("R2", `generation ${running.generation} goes on from ${describe(source)}, and latest is ${pointer.step}`);
  }
}

function describe(source: Running["source"]): string {
  return source.kind === "seed" ? "the seed" : `step ${source.state.step}`;
}

function checkLeader(seen: Seen, { value }: StoreChange, author: string | null): void {
  if (value === null) return;
  const { store, owners, fail } = seen;
  const { workerId } = decodeJson<LeaderRecord>(value);
  if (store.has(keys.leader)) fail("P4", `${author} took the leadership from another`);
  if (owners.get(workerId) !== author) fail("P4", `${author} leads under the id ${workerId}`);
  const generation = store.get(keys.generation);
  if (!generation?.includes(`"${workerId}"`)) fail("R5", `${workerId} leads, and is no member of ${generation}`);
}

function checkReport(seen: Seen, { key, value }: StoreChange, author: string | null): void {
  if (value === null) return;
  const { workerId, state, isCopy } = decodeJson<Report>(value);
  if (isCopy) seen.copies.add(workerId);
  if (seen.owners.get(workerId) !== author) seen.fail("P4", `${author} reports as ${workerId}`);
  checkStandsAt(seen, author ?? "", decodeJson<Report>(value));
  if (
    state?.lineage === 1 &&
    state.era === 1 &&
    seen.flipped.size === 0 &&
    !seen.reference.states[state.step]?.digests.includes(state.digest)
  ) {
    seen.fail("P1", `${author} reports a state of step ${state.step} that is not the undisturbed run's (${key})`);
  }
}

/** P4: only the leader of this moment writes what leaders write. */
function checkFence({ store, owners, fail }: Seen, write: StoreWrite, name: string): void {
  // A condemned checkpoint's key may be cleared away by anyone.
  if (name.startsWith("checkpoints/") && write.changes.every(({ value }) => value === null)) return;
  const leader = store.get(keys.leader);
  const holder = leader ? owners.get(decodeJson<LeaderRecord>(leader).workerId) : undefined;
  if (holder !== write.author) fail("P4", `${write.author} wrote ${name}, and the leader is ${holder ?? "nobody"}`);
}

/** R8: without leading, a worker condemns what it has written itself and nobody has published. */
function isOwnUnpublished({ store, writers }: Seen, { key, value }: StoreChange, { author }: StoreWrite): boolean {
  if (value === null || store.has(key) || decodeJson<CheckpointRecord>(value).state !== "condemned") return false;
  return writers.get(key.slice(keys.checkpoints.length)) === author;
}

/** What lies ahead of where an era begins is committed again in it. */
function isCommittedAgain({ store }: Seen, { key, value }: StoreChange, { changes }: StoreWrite): boolean {
  const before = store.get(key);
  const text = changes.find((change) => change.key === keys.generation)?.value;
  if (value !== null || before === undefined || !text) return false;
  const { source, origin } = decodeJson<Running>(text);
  const from = source.kind === "seed" ? { era: 1, epoch: 0 } : source.state;
  return from.era < origin.era && decodeJson<EpochRecord>(before).epoch >= from.epoch;
}

function checkEpoch(seen: Seen, { key, value }: StoreChange, write: StoreWrite): void {
  const { store, reference, runnings, job, fail } = seen;
  if (value === null || store.has(key)) {
    fail("R6", `${write.author} changed ${key}`);
    return;
  }
  const record = decodeJson<EpochRecord>(value);
  const { epoch, state, generation } = record;
  seen.eras.committed.add(state.digest);
  const isSame = state.lineage > 1 || state.era > 1 || state.digest === reference.boundaries[epoch];
  if (!isSame || state.step !== epoch * reference.stepsPerEpoch) {
    fail("P1", `epoch ${epoch} was committed with a state that is not the undisturbed run's`);
  }
  const history = epoch > 0 ? reference.final.history[epoch - 1] : undefined;
  if (encodeJson(record.metrics) !== encodeJson(history?.metrics ?? null)) {
    fail("R14", `epoch ${epoch} was committed with other metrics: ${encodeJson(record.metrics)}`);
  }
  const now = store.get(keys.generation);
  const current = now ? decodeJson<Generation>(now) : null;
  if (current?.kind !== "running" || current.generation !== generation) {
    fail("R6", `epoch ${epoch} was committed in generation ${generation}, and ${now} was there`);
  }
  const members = runnings.get(generation)?.members ?? [];
  for (const { rank } of members) {
    const arrival = store.get(keys.arrival(generation, `epoch-${epoch}`, rank));
    if (!arrival || decodeJson<Arrival>(arrival).digest !== state.digest) {
      fail("R1", `epoch ${epoch} was committed without the agreement of rank ${rank} of ${generation}`);
    }
  }
  if (epoch >= reference.boundaries.length) fail("R6", `epoch ${epoch} of ${job.epochs} was committed`);
}

function checkLatest(seen: Seen, { value }: StoreChange): void {
  const { store, reference, fail, published } = seen;
  if (value === null) {
    fail("P3", "latest was deleted");
    return;
  }
  const pointer = decodeJson<CheckpointPointer>(value);
  const before = store.get(keys.latest);
  const old = before ? decodeJson<CheckpointPointer>(before) : null;
  if (old && compareStates(old, pointer) >= 0) {
    fail("R9", `latest went from step ${old.step} of epoch ${old.epoch} to ${pointer.step} of ${pointer.epoch}`);
  }
  checkWhole(seen, pointer);
  const isExact = seen.disk?.manifestOf(pointer.id)?.equivalences.length === 0;
  if (seen.hasOtherShards && isExact) fail("R20", `${pointer.id} is of another S, and counts as exact`);
  if (
    pointer.lineage === 1 &&
    pointer.era === 1 &&
    !reference.states[pointer.step]?.digests.includes(pointer.stateDigest)
  ) {
    fail("P1", `latest names a state of step ${pointer.step} that is not the undisturbed run's`);
  }
  if (pointer.stepInEpoch > 0) {
    seen.note("saved");
    return;
  }
  const record = store.get(keys.epoch(pointer.lineage, pointer.epoch));
  const isLost = !record && seen.eras.wasLost && seen.eras.committed.has(pointer.stateDigest);
  if (!isLost && (!record || decodeJson<EpochRecord>(record).state.digest !== pointer.stateDigest)) {
    fail("R1", `epoch ${pointer.epoch} was published, and not committed with that state`);
  }
  published.push(pointer.epoch);
}

/** P3, P5: what a pointer names lies there, whole, and is what it says. */
function checkWhole({ disk, reference, job, fail }: Seen, pointer: CheckpointPointer): void {
  const content = disk?.wholeOf(pointer.id);
  if (!content) {
    fail("P3", `${pointer.id} was published, and is not there`);
    return;
  }
  for (const name of pointer.holders ?? []) {
    // A disk may be lost, or damaged, while the pointer is on its way.
    if (!disk?.everHeld(name, pointer.id)) fail("P3", `${pointer.id} names ${name} as a holder, which never had it`);
  }
  const { manifest, weights, optimizer } = content;
  if (manifest.stateDigest !== pointer.stateDigest || manifest.step !== pointer.step) {
    fail("P3", `${pointer.id} holds step ${manifest.step}, and was published as step ${pointer.step}`);
  }
  const values = [...weights, ...optimizer].flatMap((tensor) => [...tensor.values]);
  const expected = reference.states[pointer.step]?.values;
  if (!expected || values.some((value, i) => value !== expected[i])) {
    fail("P1", `${pointer.id} holds other weights than the undisturbed run has at step ${pointer.step}`);
  }
  if (pointer.stepInEpoch > 0) return;
  booksOf(Float32Array.from(values), job).forEach((used, sample) => {
    const times = sample < job.trainingSamples ? pointer.epoch : 0;
    if (used !== times) fail("P5", `sample ${sample} was used ${used} times in ${pointer.epoch} epochs`);
  });
}

/**
 * P3: best moves with latest, to an epoch that is better than all that were published: the one that latest names, or one whose
 * name etcd has lost.
 */
function checkBest(seen: Seen, { value }: StoreChange, write: StoreWrite): void {
  const { store, fail } = seen;
  if (value === null) {
    fail("P3", "best was deleted");
    return;
  }
  const pointer = decodeJson<CheckpointPointer>(value);
  const latest = write.changes.find(({ key }) => key === keys.latest)?.value;
  if (!latest) fail("P3", "best moved without latest");
  else if (decodeJson<CheckpointPointer>(latest).id !== pointer.id) {
    const isThere = seen.disk?.isSeparate && seen.disk.wholeOf(pointer.id) !== null;
    if (!seen.eras.wasLost || !isThere) fail("P3", `best moved to ${pointer.id}, and latest to another`);
    seen.published.push(pointer.epoch);
    seen.note("named");
  }
  const before = store.get(keys.best);
  if (!before) return;
  const { value: old, epoch } = decodeJson<CheckpointPointer>(before);
  const isBetter = seen.job.mode === "min" ? pointer.value! < old! : pointer.value! > old!;
  if (!isBetter) fail("P3", `best went from epoch ${epoch} (${old}) to ${pointer.epoch} (${pointer.value})`);
}

function checkCheckpoint(seen: Seen, { key, value }: StoreChange, write: StoreWrite): void {
  const { store, fail } = seen;
  const before = store.get(key);
  const stateOf = (text: string) => (JSON.parse(text) as { state: string }).state;
  if (value === null) {
    if (before && stateOf(before) !== "condemned") fail("R8", `${write.author} forgot ${key}, which is live`);
    return;
  }
  if (stateOf(value) === "live" && before) fail("R8", `${write.author} published ${key} again`);
  if (stateOf(value) !== "condemned") return;
  const id = key.slice(keys.checkpoints.length);
  seen.eras.condemned.add(id);
  const pins = pinsOf(seen, id);
  if (pins.length > 0) fail("R8", `${write.author} condemned ${id}, which has the pin ${short(pins[0]!)}`);
  for (const pointer of [keys.latest, keys.best]) {
    const named = valueAfter(seen, write, pointer);
    if (named && decodeJson<CheckpointPointer>(named).id === id) fail("R8", `${write.author} condemned ${id}`);
  }
}

/** R8: only what is live can be pinned, and pinning moves its record's revision. */
function checkPin(seen: Seen, { key, value }: StoreChange, write: StoreWrite, id: string): void {
  if (value === null) return;
  const record = seen.store.get(keys.checkpoint(id));
  if (!record || (JSON.parse(record) as { state: string }).state !== "live") {
    seen.fail("R8", `${write.author} pinned ${id} (${short(key)}), which is ${record ?? "not published"}`);
  }
  if (!write.changes.some((change) => change.key === keys.checkpoint(id))) {
    seen.fail("R8", `${write.author} pinned ${id} and left its record's revision as it was`);
  }
}

export function pinsOf({ store }: Pick<Seen, "store">, id: string): string[] {
  return [...store.keys()].filter((key) => key.startsWith(keys.pin(id, "")));
}

export function valueAfter({ store }: Seen, { changes }: StoreWrite, key: string): string | null {
  const change = changes.find((candidate) => candidate.key === key);
  return change ? change.value : (store.get(key) ?? null);
}

/** A key as PROTOCOL.md names it. */
export function short(key: string): string {
  return key.startsWith(keys.prefix) ? key.slice(keys.prefix.length).replace(/^now\//, "") : key;
}
