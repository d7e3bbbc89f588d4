/**
 * A worker that stands by while a generation runs without it: a newcomer, or a spare. It follows: it opens streams to all
 * members, who take it only if they reach it too, takes a state from one of them, and then every step's totals, so that
 * its own state is the current one and it can step in at once. Nobody waits for it, and it decides nothing; when it misses
 * something it takes a newer state. So whoever is made a member has shown that it can be one.
 */
import { messageOf } from "../core/errors.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import type { Running } from "../core/membership.ts";
import type { Keys } from "../core/keys.ts";
import type { JobRecord } from "../core/records.ts";
import { compareStates } from "../core/state-order.ts";
import type { Clock } from "../ports/clock.ts";
import type { Exchange } from "../ports/compute.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { type HeldState, verified } from "./held-state.ts";
import { patiently, unlessAborted } from "./patience.ts";
import { readEpoch } from "./run-view.ts";

export interface GenerationObserverOptions {
  readonly record: JobRecord;
  readonly keys: Keys;
  readonly budget: FailureBudget;
  readonly coordination: Coordination;
  readonly exchange: Exchange;
  readonly clock: Clock;
  readonly log: Log;
  readonly held: HeldState;
  /** Where members reach this worker. */
  readonly address: string;
  /** All streams are open, and this worker has the state of the generation that runs. */
  readonly onState: () => void;
}

export class GenerationObserver {
  readonly #options: GenerationObserverOptions;
  readonly #running: Running;
  /** Following has come to an end; it begins anew. */
  #missed = new AbortController();
  /** Steps are being followed; settles when there is no more to follow, or something to decide. */
  #following: Promise<unknown> | null = null;

  constructor(options: GenerationObserverOptions, running: Running) {
    this.#options = options;
    this.#running = running;
  }

  /** Follows until the generation is over; then rejects with the signal's reason. */
  async follow(over: AbortSignal): Promise<never> {
    const { clock, budget, log, held } = this.#options;
    for (let pauseMs = budget.watchMs; ; pauseMs = Math.min(2 * pauseMs, budget.budgetMs)) {
      this.#missed = new AbortController();
      try {
        await this.#followOnce(AbortSignal.any([over, this.#missed.signal]), over);
      } catch (error) {
        if (over.aborted) await this.#runOut();
        over.throwIfAborted();
        log.debug("following begins anew", { reason: messageOf(error) });
      }
      // A computation that never ends is found out when this admission is over.
      await unlessAborted(held.freeze(), over);
      await clock.sleep(pauseMs, over);
    }
  }

  /** The exchange says that following has come to an end. */
  missed(reason: string): void {
    this.#missed.abort(new Error(reason));
  }

  /**
   * The generation is over, and what its members have said may still be on its way, or wait to be applied. Then this worker
   * stands where they stand, and need not copy their state when it is a member with them.
   */
  async #runOut(): Promise<void> {
    const { clock, budget, held, log } = this.#options;
    const timer = new AbortController();
    const late = clock.sleep(budget.watchMs, timer.signal).catch(() => undefined);
    const missed = unlessAborted(new Promise<never>(() => {}), this.#missed.signal).catch(() => undefined);
    await Promise.race([this.#following, missed, late]);
    timer.abort();
    // Whoever goes on waits until it has stopped.
    held.freeze().catch((error: unknown) => log.error("the trainer could not be stopped", { error: messageOf(error) }));
  }

  async #followOnce(ended: AbortSignal, over: AbortSignal): Promise<void> {
    const { exchange, held, log, record, address, onState } = this.#options;
    const { generation, members } = this.#running;
    const addresses = members.map((member) => member.address);
    const workerIds = members.map(({ workerId }) => workerId);
    // First the outboxes, then the state: so nothing is missed that comes after it.
    await unlessAborted(exchange.join({ generation, rank: null, address, addresses, workerIds }), ended);
    const copy = await exchange.copyState(addresses[0]!, { generation, step: null }, ended);
    const state = await verified(copy, copy.digest, held.layout);
    // What the generation before left may still compute, and for ever: nobody may wait for that longer than for this one.
    await unlessAborted(held.freeze(), ended);
    over.throwIfAborted();
    const own = (await held.frozen())?.name;
    // Whoever was left out with a step that the members do not have yet keeps it, and follows from there.
    if (
      !own ||
      compareStates(own, state.name) < 0 ||
      (compareStates(own, state.name) === 0 && own.digest !== state.name.digest)
    ) {
      await held.replace(state);
      held.trainedIn = generation;
      held.isCopy = true;
    }
    onState();
    const step = Math.max(own?.step ?? 0, state.name.step);
    log.info("standing by with the current state", { generation, step, from: workerIds[0]! });
    const shards = { begin: record.shards, end: record.shards };
    for (;;) {
      over.throwIfAborted();
      const run = held.run({ generation, shards });
      this.#following = run.catch(() => undefined);
      const outcome = await unlessAborted(run, ended);
      // What the members save is theirs.
      if (outcome.kind === "save") continue;
      if (outcome.kind !== "boundary") return;
      await this.#checkBoundary(ended);
    }
  }

  /** At an epoch's end its state must be the one that was agreed on. */
  async #checkBoundary(ended: AbortSignal): Promise<void> {
    const { coordination, keys, clock, log, budget, held } = this.#options;
    const { name } = (await held.frozen())!;
    const parts = { clock, log, pauseMs: budget.pollMs, signal: ended };
    for (;;) {
      const found = await patiently(parts, "following", () =>
        readEpoch(coordination, keys.epoch(name.lineage, name.epoch)),
      );
      // A later era has records of the same epochs, and what it is compared with there has another digest.
      const committed = found?.state.era === name.era ? found : null;
      if (committed?.state.digest === name.digest) {
        held.isCopy = false;
        return;
      }
      if (committed) {
        held.forget();
        throw new Error(`the state that was followed differs at the end of epoch ${name.epoch}`);
      }
      await clock.sleep(budget.watchMs, ended);
    }
  }
}
