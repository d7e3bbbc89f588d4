/**
 * A worker's three threads: agent, compute, exchange. Calls between them are messages that take a moment and keep their
 * order; while a thread computes, what is said to it waits. The same split as in src/cli/threads.
 */
import type { Compute, Exchange } from "../../src/ports/compute.ts";
import type { StateProvider } from "../../src/ports/transport.ts";
import type { FreezableCompute, GenerationOpening, Reduce, Rounds } from "../../src/runtime/freezable-compute.ts";
import type { PeerExchange } from "../../src/runtime/peer-exchange.ts";
import type { Chance } from "./random.ts";
import type { Actor, World } from "./world.ts";

/** From one thread to another. */
export class Channel {
  readonly #world: World;
  readonly #to: Actor;
  readonly #from: Actor;
  readonly #chance: Chance;
  readonly #busyUntilMs: () => number;
  #lastMs = 0;
  #backMs = 0;

  constructor(world: World, from: Actor, to: Actor, busyUntilMs: () => number = () => 0) {
    this.#world = world;
    this.#from = from;
    this.#to = to;
    this.#busyUntilMs = busyUntilMs;
    this.#chance = world.chance(`${from.name}>${to.name}`);
  }

  call<T>(run: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.tell(() => {
        run().then(
          (value) => this.#back(() => resolve(value)),
          (error: unknown) => this.#back(() => reject(error)),
        );
      });
    });
  }

  tell(run: () => void): void {
    const delayMs = this.#chance.between(0.02, 0.3);
    this.#lastMs = Math.max(this.#lastMs, this.#world.nowMs + delayMs, this.#busyUntilMs());
    this.#world.at(this.#lastMs, this.#to, () => this.#deliver(run));
  }

  /** It may have begun to compute since the message was sent. */
  #deliver(run: () => void): void {
    const busyUntilMs = this.#busyUntilMs();
    if (busyUntilMs <= this.#world.nowMs) {
      run();
      return;
    }
    this.#lastMs = Math.max(this.#lastMs, busyUntilMs);
    this.#world.at(busyUntilMs, this.#to, () => this.#deliver(run));
  }

  #back(answer: () => void): void {
    this.#backMs = Math.max(this.#backMs, this.#world.nowMs + this.#chance.between(0.02, 0.3));
    this.#world.at(this.#backMs, this.#from, answer);
  }
}

export function computeOver(channel: Channel, inner: FreezableCompute): Compute {
  return {
    initialize: (place) => channel.call(() => inner.initialize(place)),
    restore: (state) => channel.call(() => inner.restore(state)),
    snapshot: (into) => channel.call(() => inner.snapshot(into)),
    run: (assignment) => channel.call(() => inner.run(assignment)),
    freeze: () => channel.call(() => inner.freeze()),
    voteToStop: () => channel.call(() => inner.voteToStop()),
    voteToSave: () => channel.call(() => inner.voteToSave()),
    gradient: (step) => channel.call(() => inner.gradient(step)),
  };
}

export function exchangeOver(channel: Channel, toAgent: Channel, inner: PeerExchange): Exchange {
  return {
    join: (membership) => channel.call(() => inner.join(membership)),
    leave: () => channel.call(() => inner.leave()),
    serveState(provide: StateProvider) {
      channel.tell(() => inner.serveState((request) => toAgent.call(() => provide(request))));
    },
    async copyState(from, request, signal) {
      const copying = new AbortController();
      const cancel = () => channel.tell(() => copying.abort());
      signal.addEventListener("abort", cancel);
      try {
        return await channel.call(() => inner.copyState(from, request, copying.signal));
      } finally {
        signal.removeEventListener("abort", cancel);
      }
    },
    close: () => channel.call(() => inner.close()),
  };
}

/** What a step's computation costs: the compute thread is busy, then its sums are on their way. */
export interface ComputeTime {
  busyUntilMs: number;
  /** The next computation never ends. */
  hangs: boolean;
  readonly stepMs: () => number;
  /** The round that was opened last, and how long its computation takes; null once that is over. */
  opened: { readonly opening: GenerationOpening; readonly stepMs: number } | null;
}

/** A round that is opened takes its time from then on, and its parts are there one after the other, the last one first. */
export function openOver(
  world: World,
  compute: Actor,
  channel: Channel,
  time: ComputeTime,
  inner: (opening: GenerationOpening) => void,
): NonNullable<Rounds["open"]> {
  return (opening) => {
    const stepMs = time.stepMs();
    time.opened = { opening, stepMs };
    const { written } = opening;
    for (const part of written.keys()) {
      const afterMs = (stepMs * (written.length - part)) / (written.length + 1);
      world.at(world.nowMs + afterMs, compute, () => {
        if (time.opened?.opening === opening) written[part] = 1;
      });
    }
    channel.tell(() => inner(opening));
  };
}

export function reduceOver(world: World, compute: Actor, channel: Channel, time: ComputeTime, inner: Reduce): Reduce {
  return (work) =>
    new Promise<void>((resolve, reject) => {
      if (time.hangs) return compute.stop();
      time.busyUntilMs = world.nowMs + (time.opened?.stepMs ?? time.stepMs());
      world.at(time.busyUntilMs, compute, () => {
        time.opened = null;
        channel.call(() => inner(work)).then(resolve, reject);
      });
    });
}
