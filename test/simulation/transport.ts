/** The transport port in virtual time, with the rules of the gRPC adapter: see src/adapters/grpc/transport.ts. */
import { assert, LockstepError } from "../../src/core/errors.ts";
import type {
  Membership,
  ServedState,
  StateProvider,
  StateRequest,
  StreamEvents,
  Streams,
  Transport,
} from "../../src/ports/transport.ts";
import type { Connection, Network } from "./network.ts";
import type { Actor, Event, World } from "./world.ts";

interface Subscription {
  readonly connection: Connection;
  readonly generation: number;
  /** Null for an observer. */
  readonly rank: number | null;
  /** Where the subscriber is reached. */
  readonly address: string;
  readonly expectedWorkerId: string;
  readonly subscriber: GenerationStreams;
}

export interface TransportOptions {
  readonly world: World;
  readonly network: Network;
  /** The exchange thread. */
  readonly actor: Actor;
  readonly address: string;
  readonly connectMs: number;
}

export class SimulatedTransport implements Transport {
  readonly address: string;
  readonly actor: Actor;
  readonly #options: TransportOptions;
  #generation = 0;
  #streams: GenerationStreams | null = null;
  #provide: StateProvider = async () => "this worker has no state yet";
  #early: Subscription[] = [];

  constructor(options: TransportOptions) {
    this.#options = options;
    this.address = options.address;
    this.actor = options.actor;
    options.network.register(options.address, this);
  }

  join(membership: Membership, events: StreamEvents): Streams {
    this.#streams?.close();
    this.#generation = membership.generation;
    this.#streams = new GenerationStreams(this.#options, membership, events);
    for (const call of this.#early.splice(0)) this.subscribed(call);
    return this.#streams;
  }

  serveState(provide: StateProvider): void {
    this.#provide = provide;
  }

  copyState(from: string, request: StateRequest, signal: AbortSignal): Promise<ServedState> {
    const { world, network, actor } = this.#options;
    return new Promise((resolve, reject) => {
      const fail = (why: string) =>
        reject(
          new LockstepError("process-failed", `Copying the state of step ${request.step} from ${from} failed: ${why}.`),
        );
      const peer = network.at(from);
      let connection: Connection | null = null;
      const cancel = () => {
        if (connection) network.disconnect(connection);
        fail("it was cancelled");
      };
      signal.addEventListener("abort", cancel);
      if (peer === null) {
        world.after(1, actor, () => fail("the connection was refused"));
        return;
      }
      if (peer === "silent") return;
      const opened = network.connect(actor, peer.actor, (end, reason) => {
        if (end === actor) fail(reason);
      });
      connection = opened;
      network.send(opened, actor, 20, () => {
        peer.#provide(request).then(
          (state) => {
            const sizeBytes = typeof state === "string" ? 50 : 4 * state.values.length + state.progress.length;
            network.send(opened, peer.actor, sizeBytes, () => {
              network.disconnect(opened);
              if (typeof state === "string") return fail(state);
              const values = state.values.slice();
              network.onCopy(values);
              resolve({ ...state, values });
            });
          },
          (error: unknown) => network.send(opened, peer.actor, 50, () => fail(String(error))),
        );
      });
    });
  }

  async close(): Promise<void> {
    this.#streams?.close();
    this.#early.length = 0;
  }

  /** A peer asks for this worker's outbox. */
  subscribed(call: Subscription): void {
    const { generation } = call;
    if (call.connection.isBroken) return;
    if (generation > this.#generation) {
      this.#early.push(call);
      return;
    }
    const refusal =
      generation < this.#generation || !this.#streams
        ? `generation ${generation} is over, this worker is in ${this.#generation}`
        : this.#streams.accept(call);
    if (refusal === null) return;
    this.#options.network.send(call.connection, this.actor, 50, () => {
      this.#options.network.disconnect(call.connection);
      call.subscriber.refused(call, refusal);
    });
  }

  /** The outbox's end of a subscription broke. */
  outboxBroken(connection: Connection, reason: string): void {
    this.#early = this.#early.filter((call) => call.connection !== connection);
    this.#streams?.outboxBroken(connection, reason);
  }
}

/** How long until a connection that nobody answers is tried again. */
const connectAgainMs = 1000;

class GenerationStreams implements Streams {
  readonly #options: TransportOptions;
  readonly #membership: Membership;
  readonly #events: StreamEvents;
  readonly #incoming = new Map<number, Connection>();
  readonly #outgoing = new Map<number, Subscription>();
  readonly #observers = new Set<Subscription>();
  readonly #waiting = new Map<number, (readonly [head: Uint8Array, payload: Uint8Array])[]>();
  /** Peers that took this worker's subscription. */
  readonly #open = new Set<number>();
  readonly #broken = new Set<number>();
  readonly #deadline: Event;
  #closed = false;

  constructor(options: TransportOptions, membership: Membership, events: StreamEvents) {
    this.#options = options;
    this.#membership = membership;
    this.#events = events;
    for (const rank of this.#peers()) this.#subscribe(rank);
    const { world, actor, connectMs } = options;
    if (this.#peers().length === 0) queueMicrotask(() => events.onOpen());
    this.#deadline = world.after(connectMs, actor, () => {
      for (const rank of this.#peers()) {
        if (!this.#hears(rank)) this.#break(rank, `it did not subscribe within ${connectMs} ms`);
        else if (!this.#open.has(rank)) this.#break(rank, `it took no subscription within ${connectMs} ms`);
      }
    });
  }

  send(rank: number, head: Uint8Array, payload: Uint8Array): void {
    const call = this.#outgoing.get(rank);
    if (call) this.#deliver(call, head, payload);
    else this.#waiting.set(rank, [...(this.#waiting.get(rank) ?? []), [head, payload]]);
  }

  sendAll(head: Uint8Array, payload: Uint8Array): void {
    for (const rank of this.#peers()) this.send(rank, head, payload);
    for (const call of this.#observers) this.#deliver(call, head, payload.slice());
  }

  accept(call: Subscription): string | null {
    const { workerIds, rank: own, generation } = this.#membership;
    if (this.#closed) return `generation ${generation} is over`;
    if (own === null) return "this worker only observes";
    if (call.expectedWorkerId !== workerIds[own]) return `this is ${workerIds[own]}, not ${call.expectedWorkerId}`;
    const { network, actor } = this.#options;
    const accepted = () => network.send(call.connection, actor, 30, () => call.subscriber.#accepted(own));
    if (call.rank === null) {
      this.#reach(call, () => {
        this.#observers.add(call);
        accepted();
      });
      return null;
    }
    if (!this.#peers().includes(call.rank)) return `rank ${call.rank} is no peer in this generation`;
    if (this.#outgoing.has(call.rank)) return `rank ${call.rank} has subscribed already`;
    this.#outgoing.set(call.rank, call);
    accepted();
    this.#noteOpen();
    for (const [head, payload] of this.#waiting.get(call.rank) ?? []) this.#deliver(call, head, payload);
    this.#waiting.delete(call.rank);
    return null;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { world, network, actor } = this.#options;
    world.cancel(this.#deadline);
    for (const { connection, subscriber } of [...this.#outgoing.values(), ...this.#observers]) {
      // Nobody subscribes to an observer, so whoever ends an outbox has a rank.
      network.send(connection, actor, 10, () => subscriber.ended(this.#membership.rank!, connection));
    }
    this.#outgoing.clear();
    this.#observers.clear();
    for (const connection of this.#incoming.values()) {
      const outbox = connection.ends[1];
      network.send(connection, actor, 10, () => {
        network.disconnect(connection);
        this.#transportOf(outbox)?.outboxBroken(connection, "it closed its subscription");
      });
    }
  }

  /** The peer ended its outbox in order. */
  ended(rank: number, connection: Connection): void {
    this.#options.network.disconnect(connection);
    this.#break(rank, "it closed its outbox");
  }

  refused(call: Subscription, reason: string): void {
    const rank = this.#membership.workerIds.indexOf(call.expectedWorkerId);
    this.#break(rank, reason);
  }

  outboxBroken(connection: Connection, reason: string): void {
    for (const call of this.#observers) if (call.connection === connection) this.#observers.delete(call);
    for (const [rank, call] of this.#outgoing) if (call.connection === connection) this.#break(rank, reason);
  }

  /** Goes on once the subscriber is reached at its address; refuses it when that says no. */
  #reach(call: Subscription, then: () => void): void {
    const { world, network, actor } = this.#options;
    world.after(1, actor, () => {
      if (this.#closed || call.connection.isBroken) return;
      const back = network.at(call.address);
      if (back === null) {
        const reason = `this observer is not reached at ${call.address}`;
        network.send(call.connection, actor, 50, () => call.subscriber.refused(call, reason));
      } else if (back === "silent" || network.isCut(actor, back.actor) || network.isCut(back.actor, actor)) {
        world.after(connectAgainMs, actor, () => this.#reach(call, then));
      } else then();
    });
  }

  #peers(): number[] {
    return this.#membership.addresses.map((_, rank) => rank).filter((rank) => rank !== this.#membership.rank);
  }

  #transportOf(actor: Actor): SimulatedTransport | null {
    for (const address of this.#membership.addresses) {
      const transport = this.#options.network.at(address);
      if (transport !== null && transport !== "silent" && transport.actor === actor) return transport;
    }
    return null;
  }

  #subscribe(rank: number): void {
    const { world, network, actor } = this.#options;
    if (this.#closed) return;
    const peer = network.at(this.#membership.addresses[rank]!);
    if (peer === null) {
      world.after(1, actor, () => this.#break(rank, "the connection was refused"));
      return;
    }
    // Nobody says no, and nobody says yes.
    if (peer === "silent" || network.isCut(actor, peer.actor) || network.isCut(peer.actor, actor)) {
      world.after(connectAgainMs, actor, () => this.#subscribe(rank));
      return;
    }
    const connection = network.connect(actor, peer.actor, (end, reason) => {
      if (end === actor) this.#break(rank, reason);
      else peer.outboxBroken(connection, reason);
    });
    this.#incoming.set(rank, connection);
    const call: Subscription = {
      ...{ connection, subscriber: this, rank: this.#membership.rank, generation: this.#membership.generation },
      address: this.#membership.address,
      expectedWorkerId: this.#membership.workerIds[rank]!,
    };
    network.send(connection, actor, 60, () => peer.subscribed(call));
  }

  #deliver({ connection, subscriber }: Subscription, head: Uint8Array, payload: Uint8Array): void {
    const { network, actor } = this.#options;
    const own = this.#membership.rank!; // an observer has nothing to say
    const sent = payload.slice();
    network.send(connection, actor, head.byteLength + payload.byteLength, () => {
      // The real transport sends from where a payload lies, and may get there this late.
      const isUnchanged = sent.every((byte, i) => byte === payload[i]);
      assert(this.#closed || isUnchanged, "a payload stays as it is until its peer has it");
      subscriber.#received(own, head, sent);
    });
  }

  #accepted(rank: number): void {
    this.#open.add(rank);
    this.#noteOpen();
  }

  #noteOpen(): void {
    const isOpen = this.#peers().every((rank) => this.#hears(rank) && this.#open.has(rank));
    if (!this.#closed && isOpen) this.#events.onOpen();
  }

  /** Nobody has to hear an observer. */
  #hears(rank: number): boolean {
    return this.#membership.rank === null || this.#outgoing.has(rank);
  }

  #received(rank: number, head: Uint8Array, payload: Uint8Array): void {
    if (this.#closed) return;
    const into = this.#events.place(rank, head, payload.byteLength);
    if (!into || this.#closed) return;
    into.set(payload);
    this.#events.onMessage(rank, head, into);
  }

  #break(rank: number, reason: string): void {
    if (this.#closed || this.#broken.has(rank)) return;
    this.#broken.add(rank);
    this.#events.onBroken(rank, reason);
  }
}
