/**
 * A worker's life. It asks to be let in under a fresh id, stops and reports its state whenever a generation forms, takes
 * the state that a running generation names, trains with its peers, and decides with them at every epoch's end. It acts
 * on what the generation key says and on nothing else; a generation that is not the key's any more ends at once.
 */
import { assert, LockstepError, messageOf } from "../core/errors.ts";
import { type FailureBudget, slowStepFactor } from "../core/failure-budget.ts";
import { type Forming, type Member, memberIds, type Running, type Store } from "../core/membership.ts";
import type { Keys } from "../core/keys.ts";
import type { JobRecord, Refusal } from "../core/records.ts";
import type { Wishes } from "../core/wishes.ts";
import type { CheckpointStorage } from "../ports/checkpoint-storage.ts";
import type { Clock } from "../ports/clock.ts";
import type { Compute, ComputeInfo, Exchange, StepReport } from "../ports/compute.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { Announcement } from "./announcement.ts";
import { broughtBy, newestGeneration } from "./brought-checkpoints.ts";
import { GenerationMember, generationOver } from "./generation-member.ts";
import { GenerationObserver } from "./generation-observer.ts";
import { HeldState } from "./held-state.ts";
import { Leadership, type LeadershipOptions } from "./leadership.ts";
import { type Next, nextOf } from "./next.ts";
import { pauseBeforeReturnMs, unlessAborted } from "./patience.ts";
import { SaveClock } from "./save-clock.ts";
import { type Standing, standingOf } from "./standing.ts";
import { isSame, originOf, type RunState, RunView, type Versioned } from "./run-view.ts";
import { SeenGenerations } from "./seen-generations.ts";

export interface WorkerOptions {
  readonly name: string;
  /** Where peers reach this worker. */
  readonly address: string;
  readonly pid: number;
  /** Where it has its own checkpoints; null where all workers share one place. */
  readonly store: Store | null;
  readonly record: JobRecord;
  readonly info: ComputeInfo;
  readonly keys: Keys;
  readonly budget: FailureBudget;
  readonly coordination: Coordination;
  readonly storage: CheckpointStorage;
  readonly compute: Compute;
  readonly exchange: Exchange;
  readonly clock: Clock;
  readonly log: Log;
  /** Letters and digits that were never drawn before. */
  readonly newId: () => string;
  readonly recording?: LeadershipOptions["recording"];
  /** Told on every change of what this worker is. */
  readonly onStanding: (standing: Standing) => void;
  /** Told what an operator wishes, whenever it was read. */
  readonly onWishes: (wishes: Wishes) => void;
}

/** Why a worker left: the job is finished, a stop was asked for, it alone was asked to leave, or it was opened for an earlier start. */
export type WorkerEnd = "finished" | "stopped" | "drained" | "started anew";

/** Why one admission ended. */
type AdmissionEnd = WorkerEnd | "evicted";

export class Worker {
  readonly #options: WorkerOptions;
  readonly #view: RunView;
  readonly #held: HeldState;
  readonly #draining = new AbortController();
  #announcement: Announcement | null = null;
  /** The generation that this worker is a member of, once it has reported to it. */
  #current: { generation: number; member: GenerationMember } | null = null;
  /** The generation that it follows while standing by. */
  #observed: { generation: number; observer: GenerationObserver } | null = null;
  /** The last generation that it followed; 0 before the first. It is never a member of the same one. */
  #followed = 0;
  /** What it has read of; an etcd that knows less has lost data. */
  readonly #seen = new SeenGenerations();
  #onStuck: (error: Error) => void = () => {};
  /** How long the last step took; null before the first, which may take as long as it likes. */
  #stepMs: number | null = null;
  /** How often it was left out, one after the other, without completing an epoch in between. */
  #evictions = 0;

  constructor(options: WorkerOptions) {
    this.#options = options;
    const { coordination, keys, record, budget, log } = options;
    this.#view = new RunView(coordination, keys, record.start, budget.pollMs, log);
    this.#held = new HeldState(options.compute, options.info);
    this.#view.onReading((state) => {
      this.#noteSeen(state);
      this.#voteIfStopped();
      options.onWishes(state.wishes);
    });
    const { saveFreq } = record.checkpoint;
    if (typeof saveFreq === "object" && "minutes" in saveFreq) this.#saveEvery(saveFreq.minutes * 60_000);
  }

  /** Joins, trains and leaves. Rejects when the run fails, or when this worker does not fit it or cannot be stopped. */
  async run(): Promise<WorkerEnd> {
    const stuck = new Promise<never>((_, reject) => {
      this.#onStuck = reject;
    });
    try {
      return await Promise.race([this.#admissions(), stuck]);
    } finally {
      this.#view.close();
    }
  }

  async #admissions(): Promise<WorkerEnd> {
    if (this.#options.store) this.#seen.atLeast(await newestGeneration(this.#options));
    for (;;) {
      const end = await this.#admission();
      if (end !== "evicted") return end;
      await this.#pauseBeforeReturn();
    }
  }

  /** Leaves in order, as soon as a generation runs without this worker. Resolves when that is announced. */
  async drain(): Promise<void> {
    this.#draining.abort();
    await this.#announcement?.change({ leaving: true });
  }

  /** The exchange reports a peer that is out of reach, or late; or this worker itself, which computes forever. */
  peerBroken({ generation, rank, reason }: { generation: number; rank: number; reason: string }): void {
    if (this.#current?.generation === generation) {
      const { member } = this.#current;
      if (rank !== member.rank) void member.suspect(rank, reason);
      else this.#onStuck(new LockstepError("process-failed", `This worker is stuck: ${reason}.`));
    } else if (this.#observed?.generation === generation) this.#observed.observer.missed(reason);
  }

  /** What is left of the lease on its membership; null while it has none. */
  get leaseRemainingMs(): number | null {
    return this.#announcement?.lease.remainingMs() ?? null;
  }

  /** Whether its steps in this generation are the members', which it only follows. */
  follows(generation: number): boolean {
    return generation === this.#followed;
  }

  /** How long steps take; announced when it matters to how long others wait for a report. */
  stepped({ stepMs }: Pick<StepReport, "stepMs">): void {
    this.#held.stepped();
    this.#stepMs = stepMs;
    const { budget } = this.#options;
    const known = this.#announcement?.member.stepMs ?? 0;
    if (stepMs * slowStepFactor * 2 < budget.formingMs || stepMs < known * 2) return;
    this.#announcement?.note({ stepMs });
  }

  /** Where etcd was put back, its key may be an older one, or gone though its lease is there; and the coordinator is told. */
  #noteSeen(state: RunState): void {
    const { coordination, log } = this.#options;
    if (!this.#seen.note(state.generation?.value.generation ?? 0, originOf(state), coordination.rollbacks)) return;
    log.warn("etcd's data were lost, or older ones were put back", { seen: this.#seen.highest });
    // Who hands over stays under its old id, and may be the only one who can go on; who stays comes back under a new one.
    const handsOver = this.#current !== null && this.#draining.signal.aborted;
    this.#announcement?.repeat(handsOver ? { trainedIn: this.#held.trainedIn } : {});
  }

  /** Once a stop was asked for, this worker votes for one with its next step. */
  #voteIfStopped(): void {
    if (!this.#view.state?.stop) return;
    this.#options.compute.voteToStop().catch((error: unknown) => {
      this.#options.log.debug("not voted", { error: messageOf(error) }); // what has happened to it is told elsewhere
    });
  }

  /** By this worker's clock, while it leads. */
  #saveEvery(everyMs: number): void {
    const { clock, compute, log } = this.#options;
    const saves = new SaveClock(clock, everyMs, () => {
      compute.voteToSave().catch((error: unknown) => log.debug("not voted", { error: messageOf(error) }));
    });
    this.#view.onReading((state) => {
      saves.look(state, state.leader !== null && state.leader.value.workerId === this.#announcement?.member.workerId);
    });
  }

  /** One admission: from a fresh id to its end. */
  async #admission(): Promise<AdmissionEnd> {
    const { name, newId, log, address, pid, info, record, store } = this.#options;
    const workerId = `${name}.${newId()}`;
    const { fingerprint, stepsPerEpoch } = info;
    const leaving = this.#draining.signal.aborted;
    const member: Member = {
      workerId,
      name,
      address,
      pid,
      fingerprint,
      start: record.start,
      leaving,
      hasState: false,
      seen: this.#seen.highest,
      trainedIn: this.#held.trainedIn,
      stepsPerEpoch,
      stepMs: 0,
      store,
      brings: [],
    };
    const announcement = new Announcement(
      {
        ...this.#options,
        seen: () => this.#seen.highest,
        brings: async () => (store ? broughtBy(this.#options) : []),
        mayReturn: () => this.#belongs(workerId),
      },
      member,
    );
    if (!(await announcement.begin())) return "started anew";
    this.#announcement = announcement;
    if (this.#draining.signal.aborted) await announcement.change({ leaving: true });
    this.#view.follow(workerId);
    await this.#view.refresh();
    const leadership = new Leadership({
      ...this.#options,
      workerId,
      view: this.#view,
      pollMs: this.#options.budget.pollMs,
      lease: () => announcement.lease,
      seen: () => this.#seen.highest,
      onFailure: (error) => log.error("this worker cannot publish checkpoints", { error: messageOf(error) }),
    });
    try {
      return await this.#generations(workerId, leadership);
    } finally {
      this.#announcement = null;
      this.#current = null;
      await leadership.resign();
      await announcement.withdraw();
      await this.#options.exchange.leave();
      await this.#freezeInTime();
    }
  }

  /** Follows the generation key until this admission is over. */
  async #generations(workerId: string, leadership: Leadership): Promise<AdmissionEnd> {
    const { log, onStanding } = this.#options;
    for (;;) {
      const next = await this.#view.until((state) => this.#next(state, workerId));
      switch (next.kind) {
        case "refused":
          return this.#refused(workerId, next.refusal);
        case "failed":
          throw new LockstepError(next.ending.code ?? "diverged", next.ending.reason);
        case "left out":
          if (this.#draining.signal.aborted) return "drained";
          log.warn("left out of the generation; joining again as a new incarnation");
          return "evicted";
        case "drained":
          // It may have become a member meanwhile: then it is needed until a generation runs without it.
          if (await this.#announcement?.withdrawUnlessDecided(next.generation)) return "drained";
          await this.#view.refresh();
          continue;
        case "finished":
        case "stopped":
          return next.kind;
        case "observer":
        case "member": {
          const leaseHeld = this.#announcement?.lease.isHeld() ?? false;
          onStanding(standingOf(workerId, next.generation.value, leaseHeld));
          const end = await this.#generation(workerId, next, leadership);
          if (end) return end;
        }
      }
    }
  }

  #next(state: RunState, workerId: string): Next | null {
    return nextOf(state, {
      workerId,
      seen: this.#seen.highest,
      wasMember: this.#current !== null,
      isLeaving: this.#draining.signal.aborted,
      hasState: this.#announcement?.member.hasState === true,
      hasTrained: this.#held.trainedIn > 0,
    });
  }

  #refused(workerId: string, { kind, reason }: Refusal): "evicted" {
    if (kind === "incompatible") {
      throw new LockstepError("incompatible", `This worker does not fit the cluster: ${reason}.`, {
        hint: "Start it with the run's own job file, data, engine and settings; or all of the cluster with --allow-change (the result is then equivalent, not bit-exact), or anew with --resume never.",
      });
    }
    const found = `the coordinator found that ${workerId} ${reason}`;
    this.#options.log.warn("evicted; joining again as a new incarnation", { reason: found });
    if (kind === "diverged") this.#held.forget();
    return "evicted";
  }

  /** Does what a generation key says, until it says something else (null) or this worker's time is over. */
  async #generation(
    workerId: string,
    next: Extract<Next, { kind: "member" | "observer" }>,
    leadership: Leadership,
  ): Promise<"finished" | "stopped" | null> {
    const { clock, budget } = this.#options;
    const { generation } = next;
    const { value } = generation;
    const onState = () => this.#announcement?.note({ hasState: true });
    const over = new AbortController();
    const forget = this.#view.onReading(() => {
      const now = this.#view.state && this.#next(this.#view.state, workerId);
      const { generation: other } = now && "generation" in now ? now : { generation: null };
      if (over.signal.aborted || (now?.kind === next.kind && isSame(other, generation))) return;
      over.abort(generationOver);
      // From forming to running nothing has to stop; an observer comes to rest by itself.
      if (next.kind === "member" && other?.value.generation !== value.generation) this.#stopAtOnce();
    });
    const sinceMs = clock.monotonicMs();
    try {
      if (next.kind === "observer") {
        assert(value.kind === "running", "only what runs can be followed");
        const observer = new GenerationObserver({ ...this.#options, held: this.#held, onState }, value);
        this.#observed = { generation: value.generation, observer };
        this.#followed = value.generation;
        return await observer.follow(over.signal);
      }
      if (value.kind === "running") {
        assert(
          this.#current?.generation === value.generation,
          "a generation runs when all of its members have reported",
        );
        return await this.#current.member.train(generation as Versioned<Running>, over.signal);
      }
      const parts = { view: this.#view, held: this.#held, leadership, workerId, onState };
      this.#current = {
        generation: value.generation,
        member: new GenerationMember({ ...this.#options, ...parts }, value),
      };
      await this.#current.member.report(generation as Versioned<Forming>, over.signal);
      await unlessAborted(new Promise<never>(() => {}), over.signal);
      return null;
    } catch (error) {
      if (error === generationOver) return null;
      throw error;
    } finally {
      forget();
      this.#observed = null;
      if (clock.monotonicMs() - sinceMs > slowStepFactor * budget.budgetMs) this.#evictions = 0;
    }
  }

  #stopAtOnce(): void {
    this.#held.freeze().catch((error: unknown) => {
      this.#options.log.error("the trainer could not be stopped", { error: messageOf(error) });
    });
  }

  /** At an admission's end the trainer must stand still: one that computes forever can only be ended with its process. */
  async #freezeInTime(): Promise<void> {
    const { clock, budget } = this.#options;
    const limitMs = Math.max(budget.formingMs, slowStepFactor * (this.#stepMs ?? budget.budgetMs));
    const timer = new AbortController();
    // In pieces: a process that was stopped itself has heard nothing of its computation meanwhile.
    const stuck = async () => {
      for (let waitedMs = 0; waitedMs < limitMs; waitedMs += budget.watchMs) {
        await clock.sleep(budget.watchMs, timer.signal);
      }
      throw new LockstepError(
        "process-failed",
        `This worker's computation has not ended for ${Math.round(limitMs)} ms; it is stuck.`,
      );
    };
    try {
      await Promise.race([this.#held.freeze(), stuck()]);
    } finally {
      timer.abort();
    }
  }

  /** Others went on without a worker that was away, or etcd lost what made it a member: it comes back under a new id. */
  async #belongs(workerId: string): Promise<boolean> {
    await this.#view.refresh();
    const generation = this.#view.state?.generation?.value ?? null;
    if (!this.#current) return true;
    if (!generation || generation.generation < this.#seen.highest) return this.#draining.signal.aborted;
    if (memberIds(generation).includes(workerId)) return true;
    // Who hands over may be needed until others run.
    return this.#draining.signal.aborted && generation.kind === "forming";
  }

  /** Whoever is left out again and again comes back after growing pauses, so that the others get on. */
  async #pauseBeforeReturn(): Promise<void> {
    const pauseMs = pauseBeforeReturnMs(++this.#evictions);
    if (pauseMs === 0) return;
    this.#options.log.info("left out again; pausing before joining", { pauseMs });
    await this.#options.clock.sleep(pauseMs, this.#draining.signal).catch(() => undefined);
  }
}
