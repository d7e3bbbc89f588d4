/**
 * Where the members of a generation decide together: at an epoch's end, and at a stop in the middle of one. Everyone
 * writes down that it has arrived, with its step and its state's digest; the leader commits or publishes when all agree;
 * everyone goes on when it reads that.
 */
import type { Divergence } from "../core/divergence.ts";
import { messageOf } from "../core/errors.ts";
import { stoppedEarly } from "../core/early-stopping.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import type { Running } from "../core/membership.ts";
import { compareStates, type StatePlace } from "../core/state-order.ts";
import { encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { maxUncoveredBoundaries } from "../core/limits.ts";
import { isSince } from "../core/origin.ts";
import type { Progress } from "../core/progress.ts";
import type { Arrival, Done, JobRecord } from "../core/records.ts";
import type { Clock } from "../ports/clock.ts";
import type { ComputeInfo } from "../ports/compute.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import type { StateSnapshot } from "../ports/transport.ts";
import { named, type NamedSnapshot } from "./held-state.ts";
import type { Leadership } from "./leadership.ts";
import { covers, type Point } from "./point.ts";
import { patiently } from "./patience.ts";
import { type RunState, type RunView, readEpoch, type Versioned } from "./run-view.ts";
import { progressIn, snapshotToContent } from "./state.ts";

export interface BoundaryOptions {
  readonly record: JobRecord;
  readonly info: ComputeInfo;
  readonly keys: Keys;
  readonly coordination: Coordination;
  readonly clock: Clock;
  readonly log: Log;
  readonly budget: FailureBudget;
  readonly view: RunView;
  readonly leadership: Leadership;
  readonly workerId: string;
  readonly rank: number;
  readonly running: Versioned<Running>;
  /** Aborted when the generation is over. */
  readonly over: AbortSignal;
}

export class EpochBoundary {
  readonly #options: BoundaryOptions;

  constructor(options: BoundaryOptions) {
    this.#options = options;
  }

  /** Everyone waits until the epoch's record is there; "go on", or why this worker leaves. */
  async pass(state: NamedSnapshot): Promise<"go on" | "finished" | "stopped"> {
    const { coordination, keys, view, leadership, over } = this.#options;
    const { progress, point } = this.#pointAt("boundary", state);
    leadership.ends = point.end;
    const key = keys.epoch(progress.lineage, progress.epoch);
    const known = await this.#patiently(() => readEpoch(coordination, key));
    if (!known) await this.#arrive(point);
    if (!isPublished(view.state, progress)) leadership.add(point);
    const committed = known ?? (await this.#whenRead(() => readEpoch(coordination, key)));
    if (committed.state.digest !== point.state.digest) return this.#diverged(point, committed.state.digest);
    const last = point.end !== null;
    // The record of an earlier stop stays; whoever resumes from that very boundary goes on.
    if (last || (committed.stopping && view.state?.stop !== false)) {
      await view.until((now) => isPublished(now, progress) && (!last || now.done), over);
      return last ? "finished" : "stopped";
    }
    // What a lineage begins with is published in it before its first step, as step 0 is; later, training runs ahead of its
    // checkpoints by a bounded number.
    const limit = progress.step === 0 ? 0 : maxUncoveredBoundaries;
    await view.until(({ latest }) => leadership.uncovered <= limit && latest && isSince(latest.value, progress), over);
    return "go on";
  }

  /** A stop in the middle of an epoch: everyone waits until the state is published. */
  passStop(state: NamedSnapshot): Promise<void> {
    return this.publishNow(state);
  }

  /** Too few workers are left: their state is published, and they wait for the next generation, or for the wish to stop. */
  async passPause(state: NamedSnapshot): Promise<"stopped"> {
    const { view, over } = this.#options;
    await this.publishNow(state);
    return view.until(({ stop }) => stop && "stopped", over);
  }

  /**
   * All members stand at this state, which is published before any of them takes another step. At an epoch's end it is
   * called after `pass`, which has its own point for that state.
   */
  async publishNow(state: NamedSnapshot): Promise<void> {
    const { view, leadership, over } = this.#options;
    if (isPublished(view.state, state.name)) return;
    const { point } = this.#pointAt("save", state);
    await this.#arrive(point);
    leadership.add(point);
    await view.until((now) => isPublished(now, state.name), over);
  }

  /**
   * The members' states differ before a step, which nobody has applied. Whose is the wrong one is found by digests: with the
   * epoch's record, with what is published of this very state, or else by arriving at it together. Ends with the generation,
   * as no round is taken twice in one.
   */
  async passDifference(state: NamedSnapshot): Promise<never> {
    const { clock, budget, over, log } = this.#options;
    log.error("the members' states differ before a step; it is not applied", { step: state.name.step });
    const { point } = this.#pointAt("save", state);
    const agreed = await this.#agreedOn(point);
    if (agreed !== null && agreed !== state.name.digest) return this.#diverged(point, agreed);
    // Whoever is wrong says so meanwhile; or the leader, when all have arrived.
    if (agreed === null) await this.publishNow(state);
    else await clock.sleep(budget.budgetMs, over);
    // All states are equal: it was a checksum that was wrong. Nobody is to blame, and all go back.
    return this.#diverged(point, null);
  }

  /** The digest that was agreed on for the state at this point, if it is an epoch's end or published. */
  async #agreedOn({ progress, state }: Point): Promise<string | null> {
    const { coordination, keys, view } = this.#options;
    if (progress.stepInEpoch === 0) {
      const record = await this.#patiently(() => readEpoch(coordination, keys.epoch(progress.lineage, progress.epoch)));
      if (record) return record.state.digest;
    }
    const latest = view.state?.latest?.value;
    return latest && compareStates(latest, state) === 0 ? latest.stateDigest : null;
  }

  /** Resolves when there is room for one more snapshot that waits for its checkpoint. */
  async roomForSave(): Promise<void> {
    const { view, leadership, over } = this.#options;
    await view.until(() => leadership.uncovered <= maxUncoveredBoundaries, over);
  }

  /**
   * All members save this state, while they train on: nobody waits until it is agreed on and published. Resolves when it is kept
   * until then; `release` is called once it is not read any more.
   */
  async save(snapshot: StateSnapshot, release: () => void): Promise<void> {
    const { info, leadership, over, log } = this.#options;
    const state = await named(snapshot, info);
    if (over.aborted) return release();
    const { point } = this.#pointAt("save", state, release);
    leadership.add(point);
    this.#arrive(point).catch((error: unknown) => {
      if (!over.aborted) log.warn("a save was not announced", { at: point.name, error: messageOf(error) });
    });
  }

  #pointAt(
    kind: Point["kind"],
    { name: state, weightsDigest, snapshot }: NamedSnapshot,
    release: (() => void) | null = null,
  ): { progress: Progress; point: Point } {
    const { info, record, running } = this.#options;
    const progress = progressIn(snapshot);
    const point: Point = {
      ...{ kind, periodic: release !== null, progress, state, weightsDigest, release },
      name: kind === "boundary" ? `epoch-${progress.epoch}` : `step-${progress.step}`,
      generation: running.value.generation,
      end: kind === "boundary" ? endOf(progress, record) : null,
      agreed: false,
      content: (identity) => snapshotToContent(snapshot, info, record, { ...identity, state, weightsDigest }),
    };
    return { progress, point };
  }

  /** Says that this worker's state is not the one that was agreed on, and waits for the generation that goes back. */
  async #diverged({ name, state }: Point, agreed: string | null): Promise<never> {
    const { coordination, keys, workerId, running, view, over, log } = this.#options;
    const what =
      agreed === null
        ? "nobody can tell whose state is wrong"
        : "this worker's state is not the one that was agreed on";
    log.error(what, { at: name, agreed: agreed ?? "nothing", own: state.digest });
    const divergence: Divergence = { place: name, agreed, states: [{ workerId, digest: state.digest }] };
    const key = keys.divergence(running.value.generation);
    await this.#patiently(() =>
      coordination.transact(
        [
          { kind: "modified-at", key: keys.generation, revision: running.modRevision },
          { kind: "absent", key },
        ],
        [{ kind: "put", key, value: encodeJson(divergence) }],
      ),
    );
    return view.until<never>(() => null, over);
  }

  async #arrive(point: Point): Promise<void> {
    const { coordination, keys, workerId, rank, running } = this.#options;
    const arrival: Arrival = { workerId, step: point.progress.step, digest: point.state.digest };
    const key = keys.arrival(running.value.generation, point.name, rank);
    await this.#patiently(() =>
      coordination.transact(
        [{ kind: "modified-at", key: keys.generation, revision: running.modRevision }],
        [{ kind: "put", key, value: encodeJson(arrival) }],
      ),
    );
  }

  #patiently<T>(run: () => Promise<T>): Promise<T> {
    const { clock, log, budget, over } = this.#options;
    return patiently({ clock, log, pauseMs: budget.pollMs, signal: over }, "the boundary", run);
  }

  /** Reads after every reading of the run's keys until there is something. */
  async #whenRead<T>(read: () => Promise<T | null>): Promise<T> {
    const { view, over } = this.#options;
    for (;;) {
      const before = view.state;
      const changed = view.until((state) => state !== before, over);
      // When it is found without waiting, nobody looks at this promise any more.
      changed.catch(() => undefined);
      const found = await this.#patiently(read);
      if (found) return found;
      await changed;
    }
  }
}

/** What is written when the run ends with the epoch that was closed last; null if it goes on. */
function endOf(progress: Progress, { epochs, checkpoint }: JobRecord): Done | null {
  const { epoch } = progress;
  if (epoch >= epochs) return { epoch, early: null };
  const early = stoppedEarly(checkpoint, progress);
  return early === null ? null : { epoch, early };
}

function isPublished(state: RunState | null, place: StatePlace): boolean {
  const latest = state?.latest;
  return latest ? covers(latest.value, place) : false;
}
