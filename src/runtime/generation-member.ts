/**
 * A worker as a member of one generation. While it forms: streams to all the others, the trainer frozen, and a report of
 * the state it stands at. When it runs: that state, or the one that the generation names, and training with the others.
 * Everything ends the moment the generation key says something else.
 */
import { LockstepError, messageOf } from "../core/errors.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import type { Forming, Generation, Running } from "../core/membership.ts";
import { encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { isSince } from "../core/origin.ts";
import type { JobRecord } from "../core/records.ts";
import type { Range } from "../core/sampler.ts";
import type { Report, StateName } from "../core/state-order.ts";
import type { CheckpointStorage } from "../ports/checkpoint-storage.ts";
import type { Clock } from "../ports/clock.ts";
import type { ComputeInfo, Exchange, RunOutcome } from "../ports/compute.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import type { StateSnapshot } from "../ports/transport.ts";
import { EpochBoundary } from "./epoch-boundary.ts";
import { type HeldState, type NamedSnapshot, verified } from "./held-state.ts";
import type { Leadership } from "./leadership.ts";
import { loadState } from "./load-state.ts";
import { patiently, unlessAborted } from "./patience.ts";
import type { RunState, RunView, Versioned } from "./run-view.ts";
import { progressIn } from "./state.ts";

export interface GenerationMemberOptions {
  readonly record: JobRecord;
  readonly info: ComputeInfo;
  readonly keys: Keys;
  readonly budget: FailureBudget;
  readonly coordination: Coordination;
  readonly storage: CheckpointStorage;
  readonly exchange: Exchange;
  readonly clock: Clock;
  readonly log: Log;
  readonly view: RunView;
  readonly leadership: Leadership;
  readonly held: HeldState;
  readonly workerId: string;
  /** This worker has the state of the generation that runs. */
  readonly onState: () => void;
}

/** What ends a generation, as the reason of an abort. */
export const generationOver = new LockstepError("fenced-off", "The generation is over.");

export class GenerationMember {
  readonly #options: GenerationMemberOptions;
  readonly #number: number;
  readonly #members: Generation["members"];
  /** It has taken the state that the generation starts from. */
  #hasState = false;

  constructor(options: GenerationMemberOptions, generation: Generation) {
    this.#options = options;
    this.#number = generation.generation;
    this.#members = generation.members;
  }

  /** Stops, opens the streams, and says in etcd with which state. Nothing of an older generation is applied afterwards. */
  async report(forming: Versioned<Forming>, over: AbortSignal): Promise<void> {
    const { coordination, keys, log, clock, budget, exchange, held, workerId } = this.#options;
    this.#serveState();
    const open = exchange.join({
      generation: this.#number,
      rank: this.rank,
      address: this.#members[this.rank]!.address,
      addresses: this.#members.map(({ address }) => address),
      workerIds: this.#members.map((member) => member.workerId),
    });
    const [, state] = await unlessAborted(Promise.all([open, this.#stop()]), over);
    held.reported();
    const report: Report = { workerId, state: state?.name ?? null, trainedIn: held.trainedIn, isCopy: held.isCopy };
    const write = () =>
      coordination.transact(
        [{ kind: "modified-at", key: keys.generation, revision: forming.modRevision }],
        [{ kind: "put", key: keys.report(this.#number, workerId), value: encodeJson(report) }],
      );
    await patiently({ clock, log, pauseMs: budget.pollMs / 4, signal: over }, "the report", write);
    log.info("stopped and reported", { generation: this.#number, step: state?.name.step ?? null });
  }

  /** Trains until this worker's time is over; resolves with the reason, or never while only the generation ends. */
  async train(running: Versioned<Running>, over: AbortSignal): Promise<"finished" | "stopped"> {
    const { held, log, leadership, view, workerId } = this.#options;
    if (!(await this.#takeState(running, over))) return "stopped";
    this.#hasState = true;
    held.trainedIn = this.#number;
    held.isCopy = false;
    this.#options.onState();
    const { shards } = running.value.members[this.rank]!;
    log.info(running.value.paused ? "paused" : "training", {
      generation: this.#number,
      rank: this.rank,
      world: this.#members.length,
      shards: `${shards.begin}..${shards.end - 1}`,
    });
    const boundary = new EpochBoundary({
      ...this.#options,
      ...{ view, leadership, workerId, rank: this.rank, running, over },
    });
    leadership.forgetAfter((await held.frozen())!.name);
    for (;;) {
      const state = (await held.frozen())!;
      over.throwIfAborted();
      if (isBoundary(state)) {
        const next = await boundary.pass(state);
        if (next !== "go on") return next;
      }
      // What a lineage begins with is published in it before its first step.
      else if (!isSinceBeginning(view.state, running.value)) await boundary.publishNow(state);
      if (running.value.paused) return boundary.passPause(state);
      // Whoever ended the generation froze the trainer; a run now would thaw it.
      over.throwIfAborted();
      const outcome = await this.#run(shards, boundary, over);
      if (outcome.kind === "stopped") {
        await boundary.passStop((await held.frozen())!);
        return "stopped";
      }
      if (outcome.kind === "differs") await boundary.passDifference((await held.frozen())!);
      // Either the key says so already, or a peer broke and the coordinator will.
      if (outcome.kind === "aborted") await untilAborted(over);
    }
  }

  /** Trains until there is something to decide. What is to be saved on the way is copied, and dealt with beside training. */
  async #run(shards: Range, boundary: EpochBoundary, over: AbortSignal): Promise<RunOutcome> {
    const { held } = this.#options;
    held.prepareCopies();
    let copy: StateSnapshot | null = null;
    for (;;) {
      const run = held.run({ generation: this.#number, shards });
      const saving = copy && this.#save(copy, boundary);
      // A trainer that computes forever never answers; that must not keep this worker from hearing that it is left out.
      const outcome = await unlessAborted(run, over);
      if (outcome.kind !== "save") {
        await saving;
        return outcome;
      }
      copy = await held.resting();
      try {
        // What comes next is kept after it.
        await saving;
        await boundary.roomForSave();
        over.throwIfAborted();
      } catch (error) {
        held.giveBack(copy);
        throw error;
      }
    }
  }

  #save(copy: StateSnapshot, boundary: EpochBoundary): Promise<void> {
    return boundary.save(copy, () => this.#options.held.giveBack(copy));
  }

  /**
   * The streams report a peer that is out of reach, or late. The coordinator is told, through etcd, until that counts.
   * This generation takes no step any more, so the report to the next one is made ready meanwhile.
   */
  async suspect(rank: number, reason: string): Promise<void> {
    this.#stop().catch((error: unknown) => this.#options.log.debug("not frozen", { error: messageOf(error) }));
    const { coordination, keys, log, clock, budget, view, workerId } = this.#options;
    const suspect = this.#members[rank]!.workerId;
    const key = keys.suspicion(this.#number, suspect, workerId);
    for (;;) {
      const generation = view.state?.generation;
      if (generation?.value.generation !== this.#number) return;
      try {
        const { succeeded } = await coordination.transact(
          [{ kind: "modified-at", key: keys.generation, revision: generation.modRevision }],
          [{ kind: "put", key, value: reason }],
        );
        if (succeeded) {
          log.info("a peer is out of reach", { peer: suspect, reason });
          return;
        }
        await view.refresh();
      } catch (error) {
        log.warn("a suspicion could not be written and is repeated", { suspect, error: messageOf(error) });
        await clock.sleep(budget.pollMs / 4);
      }
    }
  }

  get rank(): number {
    return this.#members.findIndex((member) => member.workerId === this.#options.workerId);
  }

  async #stop(): Promise<NamedSnapshot | null> {
    await this.#options.held.freeze();
    return this.#options.held.frozen();
  }

  /** Until the next generation's member does. */
  #serveState(): void {
    const { exchange, held } = this.#options;
    exchange.serveState(async (request) => {
      if (request.generation !== this.#number) return `this worker is in generation ${this.#number}`;
      // Before, it has what it was left with, which may be void.
      if (request.step === null && !this.#hasState) return "this worker has no state of this generation yet";
      const state = await (request.step === null ? held.copy() : held.source());
      if (!state) return "this worker has no state yet";
      const { step, digest } = state.name;
      return step === (request.step ?? step)
        ? { ...state.snapshot, digest }
        : `the state here is of step ${step}, not ${request.step}`;
    });
  }

  /** Brings this worker to the state that the generation starts from; false if a stop was asked for before it could be read. */
  async #takeState(
    { value: { source, origin }, modRevision }: Versioned<Running>,
    over: AbortSignal,
  ): Promise<boolean> {
    const { held, log, view } = this.#options;
    if (source.kind === "seed") {
      await held.initialize(origin);
      return true;
    }
    if (!(await held.is(source.state))) {
      const state =
        source.kind === "checkpoint"
          ? await loadState(
              this.#options,
              { id: source.id, digest: source.state.digest, generation: modRevision },
              over,
              () => view.state?.stop === true,
            )
          : await this.#copyFrom(source.workerId, source.state, over);
      over.throwIfAborted();
      if (state === null) return false;
      await held.replace(state);
      const from = source.kind === "member" ? source.workerId : source.id;
      log.info("took the state", { step: state.name.step, from });
    }
    await held.begin(origin);
    return true;
  }

  /** What does not arrive, or arrives as something else, leaves the generation with a broken link. */
  async #copyFrom(workerId: string, expected: StateName, over: AbortSignal): Promise<NamedSnapshot> {
    const rank = this.#members.findIndex((member) => member.workerId === workerId);
    const { address } = this.#members[rank]!;
    try {
      const request = { generation: this.#number, step: expected.step };
      const { exchange, info } = this.#options;
      return await verified(await exchange.copyState(address, request, over), expected.digest, info);
    } catch (error) {
      over.throwIfAborted();
      await this.suspect(rank, messageOf(error));
      return untilAborted(over);
    }
  }
}

function isSinceBeginning(state: RunState | null, { origin }: Running): boolean {
  const latest = state?.latest;
  return latest ? isSince(latest.value, origin) : false;
}

function isBoundary({ snapshot }: NamedSnapshot): boolean {
  return progressIn(snapshot).stepInEpoch === 0;
}

/** Rejects with the signal's reason once it is aborted. */
function untilAborted(signal: AbortSignal): Promise<never> {
  return unlessAborted(new Promise<never>(() => {}), signal);
}
