/**
 * The network between workers: who can reach whom, and what becomes of a connection when one cannot. A process that
 * dies is noticed at once (its connections are reset), unless its whole machine went; a link that is cut, or an end that
 * was stopped, is noticed when keepalive has had no answer. What was sent into a cut arrives when it heals in time.
 */
import type { Chance } from "./random.ts";
import type { SimulatedTransport } from "./transport.ts";
import { type Actor, slotOf, type World } from "./world.ts";

/** One connection between two exchange threads; what is sent in one direction arrives in its order. */
export interface Connection {
  readonly ends: readonly [Actor, Actor];
  /** Called on a living end, once, when the connection is no more. */
  readonly onBroken: (end: Actor, reason: string) => void;
  /** When the last message in each direction arrives. */
  readonly lastMs: [number, number];
  /** What waits for a cut to heal. */
  readonly waiting: [(() => void)[], (() => void)[]];
  isBroken: boolean;
}

export class Network {
  readonly chance: Chance;
  readonly counts = { messages: 0, bytes: 0 };
  /** Called with the numbers of a state that is copied for a generation, on their way. */
  onCopy: (values: Float32Array) => void = () => {};
  readonly #world: World;
  readonly #keepaliveMs: number;
  readonly #transports = new Map<string, SimulatedTransport>();
  readonly #connections = new Set<Connection>();
  /** Directed links "from>to", by slot. */
  readonly #cuts = new Set<string>();
  /** Whose machine is gone: nothing answers, not even with a reset. */
  readonly #silent = new Set<Actor>();
  /** Mean delay of a link, so that the messages of different peers overtake one another. */
  readonly #delays = new Map<string, number>();

  constructor(world: World, keepaliveMs: number) {
    this.#world = world;
    this.#keepaliveMs = keepaliveMs;
    this.chance = world.chance("network");
  }

  register(address: string, transport: SimulatedTransport): void {
    this.#transports.set(address, transport);
  }

  /** The living process at an address; "silent" when nobody answers at all. */
  at(address: string): SimulatedTransport | "silent" | null {
    const transport = this.#transports.get(address);
    if (!transport?.actor.isDead) return transport ?? null;
    return this.#silent.has(transport.actor) ? "silent" : null;
  }

  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
    this.#impaired((connection) => this.#isImpaired(connection));
  }

  heal(from: string, to: string): void {
    this.#cuts.delete(`${from}>${to}`);
    for (const connection of this.#connections) {
      for (const way of [0, 1] as const) {
        if (!this.isCut(connection.ends[way], connection.ends[1 - way]!)) this.#flush(connection, way);
      }
    }
  }

  isCut(from: Actor, to: Actor): boolean {
    return this.#cuts.has(`${slotOf(from)}>${slotOf(to)}`);
  }

  /** The process was stopped: its peers will notice when keepalive goes unanswered. */
  stopped(process: Actor): void {
    this.#impaired(({ ends }) => ends.some((end) => end.parent === process));
  }

  /** The process is dead. Its connections are reset, unless the machine went with it. */
  died(process: Actor, withMachine: boolean): void {
    for (const connection of [...this.#connections]) {
      const [a, b] = connection.ends;
      if (a.parent !== process && b.parent !== process) continue;
      const dead = a.parent === process ? a : b;
      const other = dead === a ? b : a;
      if (withMachine) {
        this.#silent.add(dead);
        this.#breakUnlessHealed(connection);
      } else if (this.isCut(dead, other)) this.#breakUnlessHealed(connection);
      else
        this.#world.after(this.#delayMs(dead, other), null, () => this.#break(connection, "the connection was reset"));
    }
  }

  connect(a: Actor, b: Actor, onBroken: Connection["onBroken"]): Connection {
    const connection: Connection = { ends: [a, b], onBroken, lastMs: [0, 0], waiting: [[], []], isBroken: false };
    this.#connections.add(connection);
    if (this.#isImpaired(connection)) this.#breakUnlessHealed(connection);
    return connection;
  }

  disconnect(connection: Connection): void {
    connection.isBroken = true;
    this.#connections.delete(connection);
  }

  /** Sends something from one end to the other; it happens there after everything that was sent before. */
  send(connection: Connection, from: Actor, sizeBytes: number, arrive: () => void): void {
    if (connection.isBroken) return;
    const way = connection.ends[0] === from ? 0 : 1;
    const to = connection.ends[1 - way]!;
    this.counts.messages++;
    this.counts.bytes += sizeBytes;
    const happen = () => {
      const delayMs = this.#delayMs(from, to) + sizeBytes / 100_000;
      connection.lastMs[way] = Math.max(connection.lastMs[way], this.#world.nowMs + delayMs);
      this.#world.at(connection.lastMs[way], to, () => {
        if (!connection.isBroken) arrive();
      });
    };
    if (this.isCut(from, to) || connection.waiting[way].length > 0) connection.waiting[way].push(happen);
    else happen();
  }

  delayOf(from: Actor, to: Actor): number {
    return this.#delayMs(from, to);
  }

  #flush(connection: Connection, way: 0 | 1): void {
    for (const happen of connection.waiting[way].splice(0)) happen();
  }

  #isImpaired({ ends: [a, b] }: Connection): boolean {
    return this.isCut(a, b) || this.isCut(b, a) || a.stopper !== null || b.stopper !== null;
  }

  #impaired(which: (connection: Connection) => boolean): void {
    for (const connection of this.#connections) if (which(connection)) this.#breakUnlessHealed(connection);
  }

  /** Keepalive asks every so often and waits as long for an answer. */
  #breakUnlessHealed(connection: Connection): void {
    const silenceMs = this.chance.between(this.#keepaliveMs, 2 * this.#keepaliveMs);
    this.#world.after(silenceMs, null, () => {
      const [a, b] = connection.ends;
      const isGone = this.#silent.has(a) || this.#silent.has(b) || a.isDead || b.isDead;
      if (isGone || this.#isImpaired(connection)) this.#break(connection, "keepalive timed out");
    });
  }

  #break(connection: Connection, reason: string): void {
    if (connection.isBroken) return;
    this.disconnect(connection);
    for (const end of connection.ends) this.#world.after(0, end, () => connection.onBroken(end, reason));
  }

  #delayMs(from: Actor, to: Actor): number {
    const link = `${slotOf(from)}>${slotOf(to)}`;
    let mean = this.#delays.get(link);
    if (mean === undefined) {
      mean = this.chance.between(0.1, 1.5);
      this.#delays.set(link, mean);
    }
    return mean * this.chance.between(0.5, 1.5) + (this.chance.is(0.01) ? this.chance.between(1, 20) : 0);
  }
}
