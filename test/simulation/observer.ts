/**
 * Sees everything that a simulated cluster does, and holds it against the promises and rules of PROTOCOL.md at once. It
 * keeps its own picture of the store, so that it knows what a write has changed, and asks nobody.
 */
import { type Generation, memberIds } from "../../src/core/membership.ts";
import { decodeJson } from "../../src/core/json.ts";
import type { Progress } from "../../src/core/progress.ts";
import type { CheckpointRecord } from "../../src/core/records.ts";
import { compareStates } from "../../src/core/state-order.ts";
import type { CheckpointPointer, EpochHistory } from "../../src/core/status.ts";
import type { Operation } from "../../src/ports/coordination.ts";
import type { StateSnapshot } from "../../src/ports/transport.ts";
import type { WorkerEnd } from "../../src/runtime/worker.ts";
import type { Disk } from "./disk.ts";
import { type Loss, originIn } from "./era-invariants.ts";
import type { StoreWrite } from "./etcd.ts";
import { checkWrite, pinsOf, type Seen, short } from "./invariants.ts";
import { checkStep, checkStop, checkTaken } from "./process-invariants.ts";
import type { JobShape } from "./program.ts";
import type { Reference } from "./reference.ts";
import type { Trace } from "./trace.ts";
import { keys } from "./worker-process.ts";

export interface Violation {
  /** The promise or rule, as "P4". */
  readonly invariant: string;
  readonly why: string;
  readonly atMs: number;
}

/** As in `--workers MIN:MAX`. */
export interface Bounds {
  readonly min: number;
  readonly max: number;
}

/** One process as the observer knows it. */
export interface SeenProcess {
  /** Null before it has a state. */
  step: number | null;
  /** That state's. */
  lineage: number;
  /** The highest generation that it sent a report to. */
  reported: number;
  /** The generation that its trainer runs for; null while it stands still. */
  trainsIn: number | null;
  /** The last generation in which it was told of a peer out of reach. */
  missesPeerIn: number;
  isGone: boolean;
}

/** Points in the protocol at which a fault can be aimed. */
export type Moment =
  | "forming"
  | "reported"
  | "running"
  | "stepped"
  | "arrived"
  | "committed"
  | "writing"
  | "written"
  | "published";

export class Observer {
  readonly faults: Record<string, number> = {};
  /** How often a generation ran as something else than whole. */
  readonly standings: Record<string, number> = {};
  violation: Violation | null = null;
  /** Told of every moment, with the process it belongs to. */
  onMoment: (moment: Moment, process: string) => void = () => {};
  #stopWasAsked = false;
  readonly #trace: Trace;
  readonly #seen: Seen;

  constructor(trace: Trace, job: JobShape, reference: Reference, absenceMs: number, bounds: Bounds | null) {
    this.#trace = trace;
    this.#seen = {
      job,
      reference,
      disk: null,
      store: new Map(),
      owners: new Map(),
      processes: new Map(),
      formedBy: null,
      newestIds: new Map(),
      lapsedAtMs: new Map(),
      absenceMs,
      least: bounds?.min ?? 1,
      most: bounds?.max ?? job.shards,
      note: (standing) => {
        this.standings[standing] = (this.standings[standing] ?? 0) + 1;
      },
      nowMs: () => trace.clock(),
      runnings: new Map(),
      flipped: new Set(),
      flips: [],
      hung: new Set(),
      copies: new Set(),
      writers: new Map(),
      published: [],
      hasOtherShards: false,
      eras: {
        loss: null,
        wasLost: false,
        era: 1,
        highest: 0,
        formed: new Map(),
        members: new Set(),
        slept: new Set(),
        condemned: new Set(),
        committed: new Set(),
      },
      fail: (invariant, why) => this.#fail(invariant, why),
    };
  }

  /** From here on states may differ and steps be taken back; what is committed and published may not. */
  flipped(process: string): void {
    this.#seen.flipped.add(process);
    const { step, trainsIn } = this.#process(process);
    if (step !== null && trainsIn !== null) this.#seen.flips.push({ process, step, generation: trainsIn });
  }

  hung(process: string): void {
    this.#seen.hung.add(process);
  }

  slept(process: string): void {
    this.#seen.eras.slept.add(process);
  }

  watchDisk(disk: Disk): void {
    this.#seen.disk = disk;
  }

  /** etcd has other data now: an older copy of them, or none. */
  replaced(entries: ReadonlyMap<string, string>, hasArchive: boolean): void {
    const { store, eras, lapsedAtMs, published, disk } = this.#seen;
    const latest = store.get(keys.latest);
    eras.wasLost = true;
    const generation = store.get(keys.generation);
    for (const id of generation === undefined ? [] : memberIds(decodeJson<Generation>(generation)))
      eras.members.add(this.#seen.owners.get(id) ?? "");
    // Before the first generation nothing was known that could be lost.
    const loss: Loss = {
      hasArchive,
      latest: latest === undefined ? null : decodeJson<CheckpointPointer>(latest),
      newestGeneration: disk?.newestGeneration ?? 0,
      isEmpty: entries.size === 0,
    };
    eras.loss = store.has(keys.generation) ? loss : null;
    store.clear();
    for (const [key, value] of entries) store.set(key, value);
    lapsedAtMs.clear();
    // Nobody remembers then what was best.
    if (hasArchive) return;
    published.length = 0;
    const best = entries.get(keys.best);
    if (best !== undefined) published.push(decodeJson<CheckpointPointer>(best).epoch);
  }

  /** The job is done, and somebody goes on with it, with more epochs and another S. */
  goesOn(job: JobShape, reference: Reference): void {
    Object.assign(this.#seen, { job, reference, most: job.shards, hasOtherShards: true });
    this.#seen.note("other S");
  }

  get store(): ReadonlyMap<string, string> {
    return this.#seen.store;
  }

  injected(kind: string): void {
    this.faults[kind] = (this.faults[kind] ?? 0) + 1;
  }

  wrote(write: StoreWrite): void {
    const { store } = this.#seen;
    for (const { key, value } of write.changes) {
      this.#trace.note(write.author ?? "etcd", value === null ? `- ${short(key)}` : `+ ${short(key)}`);
    }
    if (!this.violation) checkWrite(this.#seen, write);
    for (const { key, value } of write.changes) {
      this.#stopWasAsked ||= key === keys.stop;
      if (value === null) store.delete(key);
      else store.set(key, value);
    }
    for (const { key, value } of write.changes) if (value !== null) this.#momentOf(key, value, write.author);
  }

  /** A process sends a transaction; it may take effect much later. */
  sent(process: string, then: readonly Operation[]): void {
    for (const { key } of then) {
      const generation = numberAfter(key, `${keys.prefix}reports/`);
      if (generation !== null) this.#process(process).reported = Math.max(this.#process(process).reported, generation);
    }
  }

  stepped(process: string, generation: number, step: number, state: StateSnapshot): void {
    this.#trace.note(process, `step ${step}`, { generation });
    const seen = this.#process(process);
    if (!this.violation) checkStep(this.#seen, process, seen, { generation, step, state });
    seen.step = step;
    this.onMoment("stepped", process);
  }

  tookState(process: string, progress: Progress | null, values: Float32Array): void {
    const step = progress?.step ?? 0;
    const seen = this.#process(process);
    this.#trace.note(process, `has the state of step ${step}`);
    if (!this.violation) checkTaken(this.#seen, process, seen, progress, values);
    seen.step = step;
    seen.lineage = progress?.lineage ?? 1;
  }

  /** Its trainer runs for a generation, or has come to an end. */
  trains(process: string, generation: number | null): void {
    this.#process(process).trainsIn = generation;
  }

  /** Its trainer is told to stop. */
  stops(process: string): void {
    if (!this.violation) checkStop(this.#seen, process, this.#process(process));
  }

  /** Its streams tell it of a peer that is out of reach, or late. */
  missesPeer(process: string, generation: number): void {
    this.#process(process).missesPeerIn = generation;
  }

  writing(process: string, id: string): void {
    this.#trace.note(process, `writes ${id}`);
    this.#seen.writers.set(id, process);
    this.onMoment("writing", process);
  }

  whole(process: string, id: string): void {
    this.#trace.note(process, `has written ${id}`);
    this.onMoment("written", process);
  }

  deleting(process: string, id: string): void {
    this.#trace.note(process, `deletes ${id}`);
    if (this.#wasCondemned(id)) return;
    const { store } = this.#seen;
    for (const pointer of [keys.latest, keys.best]) {
      const value = store.get(pointer);
      if (value && (JSON.parse(value) as { id: string }).id === id) {
        this.#fail("R8", `${process} deletes ${id}, which ${short(pointer)} names`);
      }
    }
    const pins = pinsOf(this.#seen, id);
    if (pins.length > 0) this.#fail("R8", `${process} deletes ${id}, which has the pin ${short(pins[0]!)}`);
    const state = store.get(keys.checkpoint(id));
    if (!state && this.#seen.disk?.wholeOf(id)) {
      this.#fail("R8", `${process} deletes ${id}, which nobody condemned`);
    }
    if (state && (JSON.parse(state) as { state: string }).state !== "condemned") {
      this.#fail("R8", `${process} deletes ${id}, which is ${state}`);
    }
  }

  /** Each worker deletes its own copies of what was condemned, or can never be published any more. */
  deletingCopy(process: string, id: string): void {
    this.#trace.note(process, `deletes its copy of ${id}`);
    if (this.#wasCondemned(id)) return;
    const { store, disk } = this.#seen;
    const latest = store.get(keys.latest);
    const pointers = [latest, store.get(keys.best)].map((value) => value && decodeJson<CheckpointPointer>(value));
    if (pointers.some((pointer) => pointer && pointer.id === id)) {
      this.#fail("R8", `${process} deletes its copy of ${id}, which latest or best names`);
    }
    const pins = pinsOf(this.#seen, id);
    if (pins.length > 0) this.#fail("R8", `${process} deletes its copy of ${id}, which has the pin ${short(pins[0]!)}`);
    const record = store.get(keys.checkpoint(id));
    const state = record === undefined ? null : decodeJson<CheckpointRecord>(record).state;
    const manifest = disk?.manifestOf(id);
    const isBehind =
      latest !== undefined && manifest && compareStates(manifest, decodeJson<CheckpointPointer>(latest)) <= 0;
    if (state === "condemned" || (state === null && (isBehind || this.#seen.writers.get(id) === process))) return;
    this.#fail("R8", `${process} deletes its copy of ${id}, which is ${state ?? "ahead of latest"}`);
  }

  /** Before etcd's data were lost: it counts as live again, but whoever was about to delete it may do so. */
  #wasCondemned(id: string): boolean {
    const { wasLost, condemned } = this.#seen.eras;
    return wasLost && condemned.has(id);
  }

  left(process: string, end: WorkerEnd): void {
    const { store } = this.#seen;
    if (end === "finished" && !store.has(keys.done)) this.#fail("R19", `${process} finished a job that is not done`);
    if (end === "stopped" && !this.#stopWasAsked) this.#fail("R19", `${process} stopped, and nobody had asked for it`);
    if (end !== "drained") return;
    const { step } = this.#process(process);
    if (step === null) return;
    // Those who have died since had it all the same.
    const others = [...this.#seen.processes].filter(([name]) => name !== process);
    const latest = store.get(keys.latest);
    const kept = Math.max(
      latest ? decodeJson<CheckpointPointer>(latest).step : 0,
      ...others.map(([, other]) => other.step ?? 0),
    );
    const value = store.get(keys.generation);
    const generation = value ? decodeJson<Generation>(value) : null;
    // One more, which the others compute again, was on its way to them. Once others run without it, it is not needed.
    if (step > kept + 1 && generation?.kind !== "running") {
      this.#fail("R19", `${process} left with step ${step}, and nobody else has more than ${kept}`);
    }
    // It may have read that it is left out of a generation that is forming, and be a member of the next by now.
    if (generation?.kind !== "running") return;
    for (const id of memberIds(generation)) {
      if (this.#seen.owners.get(id) === process && this.#seen.newestIds.get(process) === id)
        this.#fail("R19", `${process} left while ${id} is a member`);
    }
  }

  /** A worker ended with an error. Before it joined, an etcd that is away is reason enough. */
  failed(process: string, error: unknown, hasJoined: boolean): void {
    // Who computes for ever can only be ended with its process.
    if (hasJoined && !this.#seen.hung.has(process)) this.#fail("P6", `${process} ended by itself: ${String(error)}`);
  }

  gone(process: string): void {
    this.#process(process).isGone = true;
  }

  /** When the job is finished: everything is there that the undisturbed run would have left. */
  checkEnd(): void {
    const { store, reference, disk } = this.#seen;
    const lineages = Array.from({ length: originIn(store).lineage }, (_, i) => i + 1);
    const text = store.get(keys.remembered);
    const remembered = text === undefined ? null : decodeJson<readonly EpochHistory[]>(text);
    const isRemembered = (epoch: number) =>
      remembered !== null && (epoch === 0 || remembered.some((line) => line.epoch === epoch));
    for (let epoch = 0; epoch < reference.boundaries.length; epoch++) {
      if (isRemembered(epoch)) continue;
      if (!lineages.some((lineage) => store.has(keys.epoch(lineage, epoch))))
        this.#fail("R6", `the job is finished without a record of epoch ${epoch}`);
    }
    const latest = store.get(keys.latest);
    const step = latest ? (JSON.parse(latest) as { step: number }).step : null;
    if (step !== reference.final.step) this.#fail("P3", `the job is finished, and latest is ${latest}`);
    this.#checkBestOfPublished();
    if (disk && disk.reused.length > 0) this.#fail("R8", `checkpoint ids were used twice: ${disk.reused.join(", ")}`);
  }

  /** R9: best is the best of all boundaries that were published, also if a better one never was. */
  #checkBestOfPublished(): void {
    const { store, reference, job, published } = this.#seen;
    const values = published
      .filter((epoch) => epoch > 0)
      .map((epoch) => reference.final.history[epoch - 1]!.metrics[job.monitor]!)
      .filter((value) => Number.isFinite(value));
    if (values.length === 0) return;
    const best = job.mode === "min" ? Math.min(...values) : Math.max(...values);
    const text = store.get(keys.best);
    const value = text ? decodeJson<CheckpointPointer>(text).value : null;
    if (value !== best) this.#fail("R9", `best has ${value}, and ${best} was published`);
  }

  fail(invariant: string, why: string): void {
    this.#fail(invariant, why);
  }

  #process(name: string): SeenProcess {
    let process = this.#seen.processes.get(name);
    if (!process) {
      process = { step: null, lineage: 1, reported: 0, trainsIn: null, missesPeerIn: 0, isGone: false };
      this.#seen.processes.set(name, process);
    }
    return process;
  }

  #fail(invariant: string, why: string): void {
    this.violation ??= { invariant, why, atMs: this.#trace.clock() };
  }

  #momentOf(key: string, value: string, author: string | null): void {
    const moment = (moment: Moment) => this.onMoment(moment, author ?? "");
    const name = short(key);
    if (name === "generation") moment(value.includes('"kind":"forming"') ? "forming" : "running");
    else if (name === "latest") moment("published");
    else if (name.startsWith("reports/")) moment("reported");
    else if (name.startsWith("arrive/")) moment("arrived");
    else if (name.startsWith("epochs/")) moment("committed");
  }
}

function numberAfter(key: string, prefix: string): number | null {
  return key.startsWith(prefix) ? Number.parseInt(key.slice(prefix.length), 10) : null;
}
