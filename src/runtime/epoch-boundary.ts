/**
 * Where the members of a generation decide together: at an epoch's end, and at a stop in the middle of one. Everyone
 * writes down that it has arrived, with its step and its state's digest; the leader commits or publishes when all agree;
 * everyone goes on when it reads that.
 */
import { LockstepError } from "../core/errors.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import { compareStates, type Running } from "../core/generation.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { maxUncoveredBoundaries } from "../core/limits.ts";
import type { Progress } from "../core/progress.ts";
import type { Arrival, JobRecord } from "../core/records.ts";
import type { Clock } from "../ports/clock.ts";
import type { ComputeInfo } from "../ports/compute.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import type { StateSnapshot } from "../ports/transport.ts";
import type { Leadership, Point } from "./leadership.ts";
import { patiently } from "./patience.ts";
import { type RunView, readEpoch, type Versioned } from "./run-view.ts";
import { snapshotToContent, stateName, weightsDigestOf } from "./state.ts";

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
  async pass(snapshot: StateSnapshot): Promise<"go on" | "finished" | "stopped"> {
    const { coordination, keys, record, view, leadership, over } = this.#options;
    const progress = decodeJson<Progress>(snapshot.progress);
    const point = this.#pointAt("boundary", `epoch-${progress.epoch}`, snapshot, progress);
    const key = keys.epoch(progress.lineage, progress.epoch);
    const known = await this.#patiently(() => readEpoch(coordination, key));
    if (!known) await this.#arrive(point);
    const covered = view.state?.latest?.value;
    if (!covered || compareStates({ ...covered, era: progress.era }, progress) < 0) leadership.add(point);
    const committed = known ?? (await this.#whenRead(() => readEpoch(coordination, key)));
    if (committed.state.digest !== point.state.digest) {
      throw new LockstepError(
        "diverged",
        `This worker's state at the end of epoch ${progress.epoch} (${point.state.digest.slice(0, 19)}…) is not the one that was agreed on (${committed.state.digest.slice(0, 19)}…).`,
        { hint: "Start it again: it will copy the state of the others." },
      );
    }
    const last = progress.epoch >= record.epochs;
    if (last || committed.stopping) {
      await view.until(({ latest, done }) => latest && latest.value.step >= progress.step && (!last || done), over);
      return last ? "finished" : "stopped";
    }
    // Step 0 is published before step 1; later, training runs ahead of its checkpoints by a bounded number.
    const limit = progress.step === 0 ? 0 : maxUncoveredBoundaries;
    await view.until(({ latest }) => leadership.uncovered <= limit && latest, over);
    return "go on";
  }

  /** A stop in the middle of an epoch: everyone waits until the state is published. */
  async passStop(snapshot: StateSnapshot): Promise<void> {
    const { view, leadership, over } = this.#options;
    const progress = decodeJson<Progress>(snapshot.progress);
    const point = this.#pointAt("stop", `step-${progress.step}`, snapshot, progress);
    await this.#arrive(point);
    leadership.add(point);
    await view.until(({ latest }) => latest && latest.value.step >= progress.step, over);
  }

  #pointAt(kind: Point["kind"], name: string, snapshot: StateSnapshot, progress: Progress): Point {
    const { info, record } = this.#options;
    const state = stateName(snapshot);
    const weightsDigest = weightsDigestOf(snapshot, info);
    return {
      ...{ kind, name, progress, state, weightsDigest },
      generation: this.#options.running.value.generation,
      agreed: false,
      content: (identity) => snapshotToContent(snapshot, info, record, { ...identity, state, weightsDigest }),
    };
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
