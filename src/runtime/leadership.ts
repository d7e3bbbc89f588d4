/**
 * The leader's duties, done by whichever member of the running generation holds the leadership key: it commits epochs
 * when all members have arrived with one digest, and publishes checkpoints. Every transaction compares the key's create
 * revision, so whoever has lost the key changes nothing, whatever it still believes.
 *
 * Every worker keeps the points it has arrived at until a published checkpoint covers them: so whoever becomes leader
 * next can finish what the one before began.
 */
import { checkpointId } from "../core/checkpoint-id.ts";
import { movesBest } from "../core/checkpoint-policy.ts";
import type { Divergence } from "../core/divergence.ts";
import { LockstepError, messageOf } from "../core/errors.ts";
import type { Running } from "../core/membership.ts";
import { isSince } from "../core/origin.ts";
import { compareStates, type StatePlace } from "../core/state-order.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import {
  type Arrival,
  agreement,
  type CheckpointRecord,
  type Done,
  type EpochRecord,
  type Equivalences,
  type JobRecord,
  type LeaderRecord,
  type SaveRecord,
} from "../core/records.ts";
import type { CheckpointStorage, StoredCheckpoint } from "../ports/checkpoint-storage.ts";
import type { Clock } from "../ports/clock.ts";
import type { Condition, Coordination, Lease, Operation, Watch } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import type { EpochRecording } from "./epoch-recording.ts";
import { namingLostBest } from "./lost-best.ts";
import { type CheckpointIdentity, covers, isStale, nextToPublish, type Point } from "./point.ts";
import { pointerOf } from "./pointers.ts";
import { pruneCheckpoints, removeOwnUnpublished, removeUnpublished } from "./prune.ts";
import { type RunState, type RunView, asLeader, inEra, readEpoch, unchanged, type Versioned } from "./run-view.ts";
import { sweep, sweepSaves, sweptAtOnce } from "./sweep.ts";

export interface LeadershipOptions {
  readonly workerId: string;
  readonly record: JobRecord;
  readonly keys: Keys;
  readonly coordination: Coordination;
  readonly storage: CheckpointStorage;
  readonly view: RunView;
  /** How often arrivals are looked at though no hint came. */
  readonly pollMs: number;
  /** The lease on the membership as it is now; a lost one is replaced. */
  readonly lease: () => Lease;
  /** The highest generation that this worker has read of. A lower one is of an etcd that has lost data. */
  readonly seen: () => number;
  readonly clock: Clock;
  readonly log: Log;
  /** Makes an id that was never used. */
  readonly newId: () => string;
  /** Shows committed epochs to whoever watches; left out, nobody does. */
  readonly recording?: Pick<EpochRecording, "record"> | null | undefined;
  /** Storage failed for good: nobody can publish from here. */
  readonly onFailure: (error: unknown) => void;
}

/** So many failures of storage in a row are no passing trouble. */
const failuresBeforeAlarm = 5;

export class Leadership {
  readonly #options: LeadershipOptions;
  readonly #forget: () => void;
  /** Oldest first; covered ones are dropped. */
  #points: Point[] = [];
  /** Whose content is being written. */
  #writing: Point | null = null;
  /** What is written when the run ends where this worker stands; null while it goes on. */
  ends: Done | null = null;
  /** The token under which storage was searched for what earlier leaders have left; 0 before. */
  #tidiedUnder = 0;
  /** What this worker has written and could not publish, by id, until it is condemned. */
  readonly #unpublished = new Map<string, StatePlace>();
  #tending: Promise<void> | null = null;
  #again = false;
  #resigned = false;
  #failures = 0;
  /** On the arrivals, which only the leader waits for. */
  #arrivals: Watch | null = null;

  constructor(options: LeadershipOptions) {
    this.#options = options;
    this.#forget = options.view.onReading(() => void this.tend());
  }

  /** Points that no published checkpoint covers yet. */
  get uncovered(): number {
    return this.#points.length;
  }

  add(point: Point): void {
    const at = this.#points.findIndex((known) => known.name === point.name);
    if (at < 0) this.#points.push(point);
    // Arriving again after a replay, it may have another state than the one that nobody agreed with.
    else if (!this.#points[at]!.agreed) this.#keep(this.#points.with(at, point));
    else point.release?.();
    void this.tend();
  }

  /** Points that are not among these are dropped. */
  #keep(points: Point[]): void {
    const dropped = this.#points.filter((point) => !points.includes(point));
    this.#points = points;
    for (const point of dropped) if (point !== this.#writing) point.release?.();
  }

  /**
   * This worker stands here: what it had arrived at afterwards, or in another lineage or era, was taken back, and nobody will agree
   * on it.
   */
  forgetAfter(place: StatePlace): void {
    this.#keep(this.#points.filter(({ state }) => isSince(state, place) && compareStates(state, place) <= 0));
  }

  /** Stops acting as leader, once the duty under way is done. The lease, and with it the key, is the caller's to revoke. */
  async resign(): Promise<void> {
    this.#resigned = true;
    this.#forget();
    this.#watchArrivals(false);
    await this.#tending;
  }

  /** Does what there is to do now; called after every reading of the run's keys. */
  tend(): Promise<void> {
    this.#again = true;
    this.#tending ??= this.#tendWhileNeeded().finally(() => {
      this.#tending = null;
    });
    return this.#tending;
  }

  async #tendWhileNeeded(): Promise<void> {
    try {
      while (this.#again && !this.#resigned) {
        this.#again = false;
        await this.#tendOnce();
      }
    } catch (error) {
      // Doubt is settled by reading again, never by assuming: the next reading decides anew.
      this.#options.log.warn("a leader's duty failed and is tried again", { error: messageOf(error) });
    }
  }

  async #tendOnce(): Promise<void> {
    const { state } = this.#options.view;
    this.#watchArrivals(!this.#resigned && state?.leader?.value.workerId === this.#options.workerId);
    const generation = state?.generation;
    if (!state || this.#resigned || generation?.value.kind !== "running" || !this.#options.lease().isHeld()) return;
    const running = generation as Versioned<Running>;
    if (running.value.generation < this.#options.seen()) return;
    if (!running.value.members.some((member) => member.workerId === this.#options.workerId)) return;
    const published = state.latest?.value;
    this.#keep(
      this.#points.filter(
        (point) => !(published && covers(published, point.state)) && !isStale(point, running.value.generation),
      ),
    );
    if (!state.leader) {
      await this.#campaign(running, state);
      return;
    }
    if (state.leader.value.workerId !== this.#options.workerId) return;
    if (this.#points.length === 0) return this.#finish(state, state.leader.createRevision);
    for (const point of this.#points) {
      if (!point.agreed && !(await this.#agree(point, running, state, state.leader.createRevision))) break;
      await this.#options.recording?.record(point, state.leader.createRevision);
    }
    const next = nextToPublish(this.#points);
    if (next) await this.#publish(next, running, state, state.leader.createRevision);
  }

  #watchArrivals(leads: boolean): void {
    if (leads === (this.#arrivals !== null)) return;
    const { coordination, keys, pollMs } = this.#options;
    this.#arrivals?.close();
    this.#arrivals = leads ? coordination.watch(keys.arrived, pollMs, () => void this.tend()) : null;
  }

  /** Takes the free leadership key, if this is still the generation that makes us a member. */
  async #campaign(running: Versioned<Running>, state: RunState): Promise<void> {
    const { keys, coordination, workerId, log } = this.#options;
    const lease = this.#options.lease();
    const leader: LeaderRecord = { workerId, generation: running.value.generation };
    const { succeeded, revision } = await coordination.transact(
      [{ kind: "absent", key: keys.leader }, inEra(keys, state), this.#stillRunning(running)],
      [{ kind: "put", key: keys.leader, value: encodeJson(leader), lease }],
    );
    if (succeeded) log.info("elected leader", { generation: running.value.generation, token: revision });
    await this.#options.view.refresh();
    this.#again = true;
  }

  /** Whether the whole generation stands at the point with one digest; commits the epoch's record when it does. */
  async #agree(point: Point, running: Versioned<Running>, state: RunState, token: number): Promise<boolean> {
    const { keys, coordination } = this.#options;
    const { generation, members } = running.value;
    if (point.kind === "boundary") {
      const known = await readEpoch(coordination, keys.epoch(point.state.lineage, point.progress.epoch));
      if (known) {
        point.agreed = known.state.digest === point.state.digest;
        return point.agreed;
      }
    }
    const { entries } = await coordination.list(keys.arrivals(generation, point.name));
    const arrivals = entries.map((entry) => decodeJson<Arrival>(entry.value));
    const verdict = agreement(arrivals, members.length);
    if (verdict === "waiting") return false;
    if (verdict === "diverged") {
      await this.#diverged(point, arrivals, running, token);
      return false;
    }
    // A state that is replayed now is not the one that was kept here.
    if (arrivals[0]?.digest !== point.state.digest) return false;
    if (point.kind === "boundary")
      point.agreed = await this.#commit(
        point,
        running,
        state,
        token,
        entries.map((entry) => entry.key),
      );
    else point.agreed = true;
    return point.agreed;
  }

  async #commit(
    point: Point,
    running: Versioned<Running>,
    state: RunState,
    token: number,
    arrivals: string[],
  ): Promise<boolean> {
    const { keys, coordination, log } = this.#options;
    const { progress } = point;
    const history = progress.history[progress.history.length - 1] ?? null;
    const record: EpochRecord = {
      epoch: progress.epoch,
      generation: running.value.generation,
      members: running.value.members.map((member) => member.workerId),
      state: point.state,
      weightsDigest: point.weightsDigest,
      metrics: history?.metrics ?? null,
      improved: history?.improved ?? false,
      setAside: history?.setAside ?? null,
      stopping: state.stop,
    };
    const { succeeded } = await coordination.transact(
      [
        ...asLeader(keys, token, state),
        this.#stillRunning(running),
        { kind: "absent", key: keys.epoch(point.state.lineage, progress.epoch) },
      ],
      [
        { kind: "put", key: keys.epoch(point.state.lineage, progress.epoch), value: encodeJson(record) },
        { kind: "put", key: keys.committed, value: String(progress.epoch) },
        ...arrivals.slice(0, sweptAtOnce).map((key): Operation => ({ kind: "delete", key })),
      ],
    );
    if (succeeded) {
      log.info("committed", { epoch: progress.epoch, step: progress.step, digest: point.state.digest });
      await sweep(coordination, { kind: "created-at", key: keys.leader, revision: token }, arrivals.slice(sweptAtOnce));
    }
    await this.#options.view.refresh();
    return succeeded;
  }

  /** Writes the point's checkpoint and moves the pointers, in one transaction that only the leader can win. */
  async #publish(point: Point, running: Versioned<Running>, state: RunState, token: number): Promise<void> {
    const { keys, coordination, record, log, newId, clock } = this.#options;
    const place = { step: point.progress.step, generation: running.value.generation, fencingToken: token };
    const id = checkpointId(record, place, newId());
    const members = running.value.members.map((member) => member.workerId);
    const writtenAtMs = clock.wallMs();
    const writtenAt = new Date(writtenAtMs).toISOString();
    // Written before this generation ran, so whatever made the run equivalent is in what is read now.
    const entry = await coordination.get(keys.equivalences);
    const equivalences = entry ? decodeJson<Equivalences>(entry.value).reasons : [];
    const { generation } = running.value;
    const identity = { id, generation, fencingToken: token, members, equivalences, writtenAt };
    const stored = await this.#write(point, identity);
    const pointer = pointerOf(stored, record.checkpoint, point.progress.samplings.at(-1) ?? null);
    const { step, epoch, lineage, era, best } = point.progress;
    const lost = best?.step === step ? null : await namingLostBest(this.#options, best, state.best?.value ?? null);
    // Where an era begins, a boundary is published again that may be the best one.
    const mayBe = lost === null && (point.kind === "boundary" || best?.step === step);
    const isBest = mayBe && movesBest(record.checkpoint, state.best?.value ?? null, pointer);
    // Who trained on while etcd lost its data, or was put back, remembers epochs whose records are gone.
    const isForgotten =
      era > (state.latest?.value.era ?? 1) ||
      (epoch > 0 && (await readEpoch(coordination, keys.epoch(lineage, epoch - 1))) === null);
    const live: CheckpointRecord = { state: "live", pointer, writtenAtMs };
    const save: SaveRecord = { lineage, era, step, epoch, weightsDigest: point.weightsDigest, checkpoint: id };
    const { succeeded } = await coordination.transact(
      [
        ...asLeader(keys, token, state),
        unchanged(keys.latest, state.latest),
        unchanged(keys.best, state.best),
        // Whoever leads next may have condemned it, not knowing of a transaction that was still on its way.
        { kind: "absent", key: keys.checkpoint(id) },
        ...(lost ? [{ kind: "absent" as const, key: keys.checkpoint(lost.id) }] : []),
      ],
      [
        { kind: "put", key: keys.latest, value: encodeJson(pointer) },
        ...(point.periodic ? [] : [{ kind: "put" as const, key: keys.save(lineage, step), value: encodeJson(save) }]),
        ...(isBest ? [{ kind: "put" as const, key: keys.best, value: encodeJson(pointer) }] : []),
        ...(lost?.operations ?? []),
        ...(isForgotten
          ? [{ kind: "put" as const, key: keys.remembered, value: encodeJson(point.progress.history) }]
          : []),
        { kind: "put", key: keys.checkpoint(id), value: encodeJson(live) },
        ...(point.end ? [{ kind: "put" as const, key: keys.done, value: encodeJson(point.end) }] : []),
      ],
    );
    if (!succeeded) {
      log.warn("a checkpoint was written but not published: somebody else leads or has published", { id });
      this.#unpublished.set(id, point.state);
    } else log.info("published", { id, step, epoch, best: isBest });
    await this.#options.view.refresh();
    if (succeeded) {
      await sweepSaves(this.#options, this.#points, pointer, token);
      const now = this.#options.view.state;
      await pruneCheckpoints(this.#options, now, token);
      if (this.#tidiedUnder !== token) await removeUnpublished(this.#options, now, token);
      this.#tidiedUnder = token;
    }
    await removeOwnUnpublished(this.#options, this.#options.view.state, this.#unpublished);
    this.#again = true;
  }

  async #write(point: Point, identity: CheckpointIdentity): Promise<StoredCheckpoint> {
    this.#writing = point;
    try {
      const stored = await this.#options.storage.write(point.content(identity));
      this.#failures = 0;
      return stored;
    } catch (error) {
      // Where others keep copies, etcd is asked who they are.
      if (!isEtcdAway(error) && ++this.#failures >= failuresBeforeAlarm) this.#options.onFailure(error);
      throw error;
    } finally {
      this.#writing = null;
      if (!this.#points.includes(point)) point.release?.();
    }
  }

  /** A run that is over as it stands, as its target was reached before, or lowered, has nothing more to publish. */
  async #finish(state: RunState, token: number): Promise<void> {
    const { keys, coordination } = this.#options;
    const latest = state.latest?.value;
    if (state.done || !latest || latest.stepInEpoch > 0 || latest.epoch !== this.ends?.epoch) return;
    await coordination.transact(
      [...asLeader(keys, token, state), unchanged(keys.latest, state.latest)],
      [{ kind: "put", key: keys.done, value: encodeJson(this.ends) }],
    );
    await this.#options.view.refresh();
  }

  /** Tells the coordinator, which has everyone go back. */
  async #diverged(
    point: Point,
    arrivals: readonly Arrival[],
    running: Versioned<Running>,
    token: number,
  ): Promise<void> {
    const { keys, coordination, log } = this.#options;
    const states = arrivals.map(({ workerId, digest }) => ({ workerId, digest }));
    const divergence: Divergence = { place: point.name, agreed: null, states };
    log.error("the workers' states differ", { at: point.name });
    const key = keys.divergence(running.value.generation);
    await coordination.transact(
      [{ kind: "created-at", key: keys.leader, revision: token }, this.#stillRunning(running), { kind: "absent", key }],
      [{ kind: "put", key, value: encodeJson(divergence) }],
    );
  }

  #stillRunning(running: Versioned<Running>): Condition {
    return { kind: "modified-at", key: this.#options.keys.generation, revision: running.modRevision };
  }
}

function isEtcdAway(error: unknown): boolean {
  return error instanceof LockstepError && error.code === "coordination-unavailable";
}
