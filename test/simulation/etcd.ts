/**
 * An etcd cluster in virtual time: the in-memory store that passes etcd's own contract tests, and between it and its
 * clients everything that goes wrong: lost and late requests, replies that are lost after the fact, hints that never
 * come, outages, elections, compactions. Its clock is its own: while nobody leads, no lease ends.
 */
import { MemoryCoordination, type StoreImage } from "../../src/adapters/memory/coordination.ts";
import type { Condition, Operation, TransactionResult } from "../../src/ports/coordination.ts";
import type { SimulatedStream } from "./etcd-watch.ts";
import type { Chance } from "./random.ts";
import type { Actor, World } from "./world.ts";

/** One write as the store saw it; the author is null where a lease ended by itself. */
export interface StoreWrite {
  readonly author: string | null;
  readonly changes: readonly StoreChange[];
  readonly revision: number;
}

export interface StoreChange {
  readonly key: string;
  /** Null when the key was deleted. */
  readonly value: string | null;
}

/** What goes wrong between clients and store; each a probability, or a length of time. */
export interface Weather {
  requestLost: number;
  replyLost: number;
  /** A request that arrives after its sender gave up. */
  requestLate: number;
  hintLost: number;
  hintDoubled: number;
  hintLateMs: number;
}

export const fairWeather: Readonly<Weather> = {
  requestLost: 0,
  replyLost: 0,
  requestLate: 0,
  hintLost: 0,
  hintDoubled: 0,
  hintLateMs: 0,
};

/** What a process's link to etcd lets through. */
export interface EtcdLink {
  to: boolean;
  from: boolean;
}

/** A watch is set up anew within this once etcd answers: a call that was under way runs into its deadline, a pause follows. */
export const deafMs = 4000;

export class SimulatedEtcd {
  readonly store: MemoryCoordination;
  readonly weather: Weather = { ...fairWeather };
  readonly chance: Chance;
  readonly counts = { reads: 0, transactions: 0, writes: 0, hints: 0 };
  /** Those that watch, or ask for it. */
  readonly streams = new Set<SimulatedStream>();
  /** Told of a process that keeps waiting on a watch although it was told that it is over. */
  onDeaf: (actor: Actor) => void = () => {};
  /** So many watches have been ended by a compaction. */
  compacted = 0;
  readonly #world: World;
  readonly #links = new Map<string, EtcdLink>();
  readonly #leases = new Set<string>();
  /** How many watches each process wants, and since when that many. */
  readonly #wanted = new Map<Actor, { readonly count: number; readonly sinceMs: number }>();
  /** Places whose watches take nothing. */
  readonly #stalled = new Set<string>();
  #onWrite: (write: StoreWrite) => void = () => {};
  /** Whose request is being applied. */
  #author: string | null = null;
  #down = false;
  #answersAtMs = 0;
  #upAtMs = 0;
  #stoodStillMs = 0;
  #standsStillSinceMs: number | null = null;

  constructor(world: World) {
    this.#world = world;
    this.chance = world.chance("etcd");
    const clock = {
      monotonicMs: () => (this.#standsStillSinceMs ?? world.nowMs) - this.#stoodStillMs,
      wallMs: () => world.nowMs,
      sleep: (ms: number, signal?: AbortSignal) =>
        new Promise<void>((resolve, reject) => {
          if (signal?.aborted) return reject(signal.reason);
          const onAbort = () => {
            world.cancel(event);
            reject(signal?.reason);
          };
          const event = world.after(ms, null, () => {
            signal?.removeEventListener("abort", onAbort);
            resolve();
          });
          signal?.addEventListener("abort", onAbort);
        }),
    };
    this.store = new MemoryCoordination({ clock, log: world.trace.logOf("etcd"), leaseMarginMs: 0 });
    this.store.listen((key) => {
      if (this.#author !== null) return;
      this.#tell({ author: null, changes: [{ key, value: null }], revision: 0 });
    });
  }

  /** Called after every write, at the moment at which it takes effect. */
  observe(onWrite: (write: StoreWrite) => void): void {
    this.#onWrite = onWrite;
  }

  linkOf(process: string): EtcdLink {
    let link = this.#links.get(process);
    if (!link) {
      link = { to: true, from: true };
      this.#links.set(process, link);
    }
    return link;
  }

  heal(process: string): void {
    Object.assign(this.linkOf(process), { to: true, from: true });
    this.#stalled.delete(process);
    // What lost something on its way ends now.
    for (const stream of this.#streamsOf(process)) stream.break();
  }

  /** Whether requests are answered now, and otherwise from when on; null while etcd is down. */
  get answersAtMs(): number | null {
    return this.#down ? null : Math.max(this.#answersAtMs, this.#world.nowMs);
  }

  /** A process asks for one more watch, or for one fewer. */
  wantWatches(actor: Actor, change: number): void {
    const count = (this.#wanted.get(actor)?.count ?? 0) + change;
    this.#wanted.set(actor, { count, sinceMs: this.#world.nowMs });
  }

  /** Processes that are there and have lacked a watch for longer than setting one up takes when nothing goes wrong. */
  deafProcesses(): string[] {
    const isWatching = (actor: Actor, stream: SimulatedStream) => stream.actor === actor && stream.isWatching;
    return [...this.#wanted].flatMap(([actor, { count, sinceMs }]) => {
      if (actor.isDead || actor.stopper || this.#world.nowMs - sinceMs < deafMs) return [];
      const watching = [...this.streams].filter((stream) => isWatching(actor, stream)).length;
      return watching < count ? [`${actor.name} has ${watching} of ${count} watches`] : [];
    });
  }

  /** When the last outage ends, or ended. */
  get upAtMs(): number {
    return this.#upAtMs;
  }

  isStalled(slot: string): boolean {
    return this.#stalled.has(slot);
  }

  /** The watches of one place take nothing and fall behind, until `compactBefore`. */
  stall(slot: string): void {
    this.#stalled.add(slot);
    for (const stream of this.#streamsOf(slot)) stream.hold();
  }

  /** Forgets all history, and lets the watches of one place go on; returns how many of them that has ended. */
  compactBefore(slot: string): number {
    const before = this.compacted;
    this.store.compact();
    this.#stalled.delete(slot);
    for (const stream of this.#streamsOf(slot)) stream.release();
    return this.compacted - before;
  }

  #streamsOf(slot: string): SimulatedStream[] {
    return [...this.streams].filter((stream) => stream.slot === slot);
  }

  transact(author: string, conditions: readonly Condition[], then: readonly Operation[]): TransactionResult {
    this.store.get("-"); // leases that are due end first, by themselves
    this.counts.transactions++;
    this.#author = author;
    try {
      const before = then.map(({ key }) => this.store.get(key));
      const result = this.store.transact(conditions, then);
      const changes = then
        .filter(({ kind }, i) => kind === "put" || before[i])
        .map((operation) => ({ key: operation.key, value: operation.kind === "put" ? operation.value : null }));
      if (result.succeeded && changes.length > 0) {
        this.counts.writes += changes.length;
        this.#tell({ author, changes, revision: result.revision });
      }
      return result;
    } finally {
      this.#author = null;
    }
  }

  grant(ttlMs: number): string {
    const id = this.store.grant(ttlMs);
    this.#leases.add(id);
    return id;
  }

  /** No leader for a while: requests wait. Then every lease has its whole time again. */
  elect(ms: number): void {
    this.#answersAtMs = this.#world.nowMs + ms;
    this.stretchLeases(ms);
    this.#world.after(ms, null, () => this.#renewAll());
  }

  /** All members down: requests fail, no lease ends, nothing is forgotten. */
  goDown(ms: number): void {
    this.#down = true;
    this.#stand();
    this.#upAtMs = this.#world.nowMs + ms;
    for (const stream of [...this.streams]) stream.break();
    this.#world.after(ms, null, () => {
      this.#down = false;
      this.#move();
      this.#renewAll();
    });
  }

  /** All members are killed, and start again after `ms` with other data: those of a backup, or none. */
  replaceData(ms: number, image: StoreImage | null): void {
    this.goDown(ms);
    this.store.restore(image);
    this.#leases.clear();
    for (const id of image?.leases.keys() ?? []) this.#leases.add(id);
  }

  /** Every lease ends this much later. */
  stretchLeases(ms: number): void {
    if (this.#standsStillSinceMs !== null) return;
    this.#stand();
    this.#world.after(ms, null, () => {
      if (!this.#down) this.#move();
    });
  }

  #stand(): void {
    this.#standsStillSinceMs ??= this.#world.nowMs;
  }

  #move(): void {
    if (this.#standsStillSinceMs === null) return;
    this.#stoodStillMs += this.#world.nowMs - this.#standsStillSinceMs;
    this.#standsStillSinceMs = null;
  }

  #renewAll(): void {
    for (const id of this.#leases) if (this.store.renew(id) === 0) this.#leases.delete(id);
  }

  #tell(write: StoreWrite): void {
    this.#onWrite(write);
  }
}
