/**
 * A worker's life. It asks to be let in under a fresh id, stops and reports its state whenever a generation forms, takes
 * the state that a running generation names, trains with its peers, and decides with them at every epoch's end. It acts
 * on what the generation key says and on nothing else; a generation that is not the key's any more ends at once.
 */
import { assert, LockstepError, messageOf } from "../core/errors.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import { compareStates, type Generation, type Member, memberIds, type Running } from "../core/generation.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import type { Progress } from "../core/progress.ts";
import type { JobRecord, Refusal } from "../core/records.ts";
import type { CheckpointStorage } from "../ports/checkpoint-storage.ts";
import type { Clock } from "../ports/clock.ts";
import type { Compute, ComputeInfo, Exchange } from "../ports/compute.ts";
import type { Coordination, Lease } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { EpochBoundary } from "./epoch-boundary.ts";
import { Leadership } from "./leadership.ts";
import { patiently } from "./patience.ts";
import { RunView, type Versioned } from "./run-view.ts";
import { contentToSnapshot, stateName } from "./state.ts";

export interface WorkerOptions {
  readonly name: string;
  /** Where peers reach this worker. */
  readonly address: string;
  readonly pid: number;
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
  /** Told on every change of what this worker is. */
  readonly onStanding: (standing: Standing) => void;
}

export interface Standing {
  readonly workerId: string;
  readonly generation: number;
  readonly leaseHeld: boolean;
}

/** Why a worker left: the job is finished, a stop was asked for, or it alone was asked to leave. */
export type WorkerEnd = "finished" | "stopped" | "drained";

/** Why one admission ended. */
type AdmissionEnd = WorkerEnd | "evicted";

export class Worker {
  readonly #options: WorkerOptions;
  readonly #view: RunView;
  #draining = false;
  #member: { lease: Lease; member: Member } | null = null;
  /** Whether this admission has been a member of a generation. */
  #joined = false;
  #hasState = false;
  #broken: (rank: number, reason: string) => void = () => {};

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#view = new RunView(options.coordination, options.keys, options.budget.pollMs, options.log);
  }

  /** Joins, trains and leaves. Rejects when the run fails or this worker does not fit it. */
  async run(): Promise<WorkerEnd> {
    try {
      for (;;) {
        const end = await this.#admission();
        if (end !== "evicted") return end;
      }
    } finally {
      this.#view.close();
    }
  }

  /** Leaves in order, as soon as a generation runs without this worker. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (!this.#member) return;
    const { lease, member } = this.#member;
    this.#member = { lease, member: { ...member, leaving: true } };
    await this.#announce(lease, this.#member.member);
  }

  /** The streams of the running generation report a peer that is out of reach. */
  peerBroken(rank: number, reason: string): void {
    this.#broken(rank, reason);
  }

  /** One admission: from a fresh id to its end. */
  async #admission(): Promise<AdmissionEnd> {
    const { coordination, name, newId, keys, log, address, pid, info } = this.#options;
    const workerId = `${name}.${newId()}`;
    const { fingerprint, stepsPerEpoch } = info;
    const member: Member = { workerId, name, address, pid, fingerprint, leaving: this.#draining, stepsPerEpoch };
    const ended = new AbortController();
    await this.#announceUnderNewLease(member, ended.signal);
    const kept = this.#keepAnnounced(ended.signal);
    this.#view.follow(workerId);
    await this.#view.refresh();
    const leadership = new Leadership({
      ...this.#options,
      workerId,
      view: this.#view,
      lease: () => this.#held.lease,
      onFailure: (error) => log.error("this worker cannot publish checkpoints", { error: messageOf(error) }),
    });
    try {
      return await this.#generations(workerId, leadership);
    } finally {
      ended.abort();
      await leadership.resign();
      await this.#freeze();
      const { lease } = this.#held;
      this.#member = null;
      await coordination.transact([], [{ kind: "delete", key: keys.member(workerId) }]).catch(() => undefined);
      await lease.revoke();
      await kept;
    }
  }

  /** This worker's key and the lease it lives by, while it is admitted. */
  get #held(): { lease: Lease; member: Member } {
    assert(this.#member !== null, "an admitted worker has announced itself");
    return this.#member;
  }

  async #announceUnderNewLease(member: Member, signal: AbortSignal): Promise<void> {
    const { coordination, budget, clock, log } = this.#options;
    await patiently({ clock, log, pauseMs: budget.pollMs / 4, signal }, "announcing this worker", async () => {
      const lease = await coordination.grantLease(budget.leaseTtlMs);
      await this.#announce(lease, member);
      this.#member = { lease, member };
    });
  }

  /** A living member whose lease was lost, because etcd was away, takes a new one; its steps never stop for that. */
  async #keepAnnounced(signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    while (!signal.aborted) {
      const { lease, member } = this.#held;
      await new Promise<void>((resolve) => {
        if (lease.lost.aborted || signal.aborted) resolve();
        lease.lost.addEventListener("abort", () => resolve(), { once: true });
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
      if (signal.aborted) return;
      await this.#view.refresh();
      const generation = this.#view.state?.generation?.value ?? null;
      // Others went on without it while it was away: it comes back under a new id, see #generations.
      if (this.#joined && generation && !memberIds(generation).includes(member.workerId)) return;
      log.info("the lease on the membership was lost; announcing again", { worker: member.workerId });
      await this.#announceUnderNewLease(this.#held.member, signal).catch((error: unknown) => {
        if (!signal.aborted) log.error("announcing again failed", { error: messageOf(error) });
      });
    }
  }

  async #announce(lease: Lease, member: Member): Promise<void> {
    const key = this.#options.keys.member(member.workerId);
    await this.#options.coordination.transact([], [{ kind: "put", key, value: encodeJson(member), lease }]);
  }

  /** Follows the generation key until this admission is over. */
  async #generations(workerId: string, leadership: Leadership): Promise<AdmissionEnd> {
    const { log } = this.#options;
    this.#joined = false;
    let reported = 0;
    for (;;) {
      const next = await this.#view.until((state) => {
        if (state.failed !== null) throw new LockstepError("diverged", state.failed);
        if (state.refusal) return { kind: "refused" as const, refusal: state.refusal };
        const generation = state.generation;
        const member = generation !== null && memberIds(generation.value).includes(workerId);
        if (member && (generation.value.kind === "running" || generation.value.generation > reported)) {
          return { kind: "member" as const, generation };
        }
        if (this.#joined && !member && generation?.value.kind === "running") return { kind: "left out" as const };
        if (!this.#joined && this.#draining) return { kind: "drained" as const };
        if (!member && state.done) return { kind: "finished" as const };
        if (!member && state.stop) return { kind: "stopped" as const };
        return null;
      });
      switch (next.kind) {
        case "refused":
          if (next.refusal.kind === "incompatible") throw refusalError(next.refusal);
          log.warn("evicted; joining again as a new incarnation", { reason: next.refusal.reason });
          return "evicted";
        case "left out":
          if (this.#draining) return "drained";
          log.warn("left out of the generation; joining again as a new incarnation");
          return "evicted";
        case "drained":
        case "finished":
        case "stopped":
          return next.kind;
        case "member": {
          this.#joined = true;
          const { value } = next.generation;
          this.#options.onStanding({ workerId, generation: value.generation, leaseHeld: this.#held.lease.isHeld() });
          if (value.kind === "forming") {
            await this.#report(workerId, next.generation);
            reported = value.generation;
            continue;
          }
          const end = await this.#generation(workerId, next.generation as Versioned<Running>, leadership);
          if (end) return end;
        }
      }
    }
  }

  /** Stops, and says in etcd with which state. Nothing of an older generation is applied afterwards. */
  async #report(workerId: string, forming: Versioned<Generation>): Promise<void> {
    const { coordination, keys, log, clock, budget } = this.#options;
    await this.#freeze();
    const state = this.#hasState ? stateName(await this.#options.compute.snapshot()) : null;
    const { generation } = forming.value;
    const write = () =>
      coordination.transact(
        [{ kind: "modified-at", key: keys.generation, revision: forming.modRevision }],
        [{ kind: "put", key: keys.report(generation, workerId), value: encodeJson({ workerId, state }) }],
      );
    await patiently({ clock, log, pauseMs: budget.pollMs / 4 }, "the report", write);
    log.info("stopped and reported", { generation, step: state?.step ?? null });
  }

  async #freeze(): Promise<void> {
    // The streams first: when the compute thread is told, nothing can reach its memory any more.
    await this.#options.exchange.leave();
    await this.#options.compute.freeze();
  }

  /** Trains in a running generation until it is over (null) or this worker's time is. */
  async #generation(workerId: string, running: Versioned<Running>, leadership: Leadership): Promise<WorkerEnd | null> {
    const { log } = this.#options;
    const over = new AbortController();
    const forget = this.#view.onReading(() => {
      const { state } = this.#view;
      if (over.signal.aborted) return;
      if (state?.generation?.modRevision === running.modRevision && state.failed === null) return;
      over.abort(generationOver);
      this.#freeze().catch((error: unknown) => log.error("freezing failed", { error: messageOf(error) }));
    });
    try {
      const rank = running.value.members.findIndex((member) => member.workerId === workerId);
      // The streams first: a long copy must not look like a peer that does not answer.
      await this.#openStreams(workerId, rank, running, over.signal);
      await this.#takeState(workerId, running, over.signal);
      log.info("training", {
        generation: running.value.generation,
        rank,
        world: running.value.members.length,
        shards: `${running.value.members[rank]!.shards.begin}..${running.value.members[rank]!.shards.end - 1}`,
      });
      return await this.#train(workerId, rank, running, leadership, over.signal);
    } catch (error) {
      if (error === generationOver) return null;
      throw error;
    } finally {
      forget();
      this.#broken = () => {};
    }
  }

  async #train(
    workerId: string,
    rank: number,
    running: Versioned<Running>,
    leadership: Leadership,
    over: AbortSignal,
  ): Promise<WorkerEnd | null> {
    const { compute } = this.#options;
    const { shards } = running.value.members[rank]!;
    const { generation } = running.value;
    const boundary = new EpochBoundary({
      ...this.#options,
      ...{ view: this.#view, leadership, workerId, rank, running, over },
    });
    for (;;) {
      const snapshot = await compute.snapshot();
      if (decodeJson<Progress>(snapshot.progress).stepInEpoch === 0) {
        const next = await boundary.pass(snapshot);
        if (next !== "go on") return next;
      }
      // Whoever ended the generation froze the compute thread; a run now would thaw it.
      over.throwIfAborted();
      const outcome = await compute.run({ generation, shards });
      if (outcome.kind === "stopped") {
        await boundary.passStop(await compute.snapshot());
        return "stopped";
      }
      if (outcome.kind === "aborted") {
        // Either the key says so already, or a peer broke and the coordinator will.
        await this.#view.until(() => over.aborted);
        return null;
      }
    }
  }

  /** Brings this worker to the state that the generation starts from. */
  async #takeState(workerId: string, running: Versioned<Running>, over: AbortSignal): Promise<void> {
    const { compute, exchange, storage, info, record, log } = this.#options;
    const { source, members, generation } = running.value;
    if (source.kind === "seed") {
      if (!this.#hasState) await compute.initialize({ lineage: record.lineage, era: record.era });
      this.#hasState = true;
      return;
    }
    if (this.#hasState) {
      const own = stateName(await compute.snapshot());
      if (compareStates(own, source.state) === 0 && own.digest === source.state.digest) return;
    }
    const from = source.kind === "member" ? members.find((member) => member.workerId === source.workerId) : null;
    const snapshot =
      source.kind === "checkpoint"
        ? contentToSnapshot(await storage.load(source.id), info)
        : await exchange
            .copyState(from!.address, { generation, step: source.state.step }, over)
            .catch(async (error: unknown) => {
              over.throwIfAborted();
              await this.#suspect(workerId, generation, source.workerId, messageOf(error));
              return this.#view.until<never>(() => null, over);
            });
    const copied = stateName(snapshot);
    if (copied.digest !== source.state.digest) {
      throw new LockstepError(
        "corrupt-checkpoint",
        `The state of step ${source.state.step} arrived with the digest ${copied.digest}, not ${source.state.digest}.`,
      );
    }
    over.throwIfAborted();
    await compute.restore(snapshot);
    this.#hasState = true;
    log.info("took the state", { step: copied.step, from: source.kind === "member" ? source.workerId : source.id });
  }

  async #openStreams(workerId: string, rank: number, running: Versioned<Running>, over: AbortSignal): Promise<void> {
    const { exchange, compute } = this.#options;
    const { generation, members } = running.value;
    exchange.serveState(async (request) => {
      if (!this.#hasState) return "this worker has no state yet";
      const snapshot = await compute.snapshot();
      const { step } = stateName(snapshot);
      if (over.aborted || request.generation !== generation) return `generation ${request.generation} is over here`;
      return step === request.step ? snapshot : `the state here is of step ${step}, not ${request.step}`;
    });
    this.#broken = (peer, reason) => {
      const suspect = members[peer]!.workerId;
      this.#options.log.info("a peer is out of reach", { peer: suspect, reason });
      void this.#suspect(workerId, generation, suspect, reason);
    };
    await exchange.join({
      generation,
      rank,
      addresses: members.map((member) => member.address),
      workerIds: members.map((member) => member.workerId),
    });
  }

  /** Tells the coordinator, through etcd; repeated with every reading until the generation is over. */
  async #suspect(by: string, generation: number, suspect: string, reason: string): Promise<void> {
    const { coordination, keys, log, clock, budget } = this.#options;
    const key = keys.suspicion(generation, suspect, by);
    while (this.#view.state?.generation?.value.generation === generation && this.#member) {
      try {
        await coordination.transact([], [{ kind: "put", key, value: reason }]);
        return;
      } catch (error) {
        log.warn("a suspicion could not be written and is repeated", { suspect, error: messageOf(error) });
        await clock.sleep(budget.pollMs);
      }
    }
  }
}

const generationOver = new LockstepError("fenced-off", "The generation is over.");

function refusalError(refusal: Refusal): LockstepError {
  return new LockstepError("incompatible", `This worker does not fit the cluster: ${refusal.reason}.`, {
    hint: "Start it with the same job file, data, engine and settings as the others.",
  });
}
