/** What one process' watches reach etcd by: connections that break and are given up, and streams of etcd's answers. */
import { setMaxListeners } from "node:events";
import type { IWatchRequest } from "etcd3";
import type { WatchConnection, WatchConnections, WatchResponse, WatchStream } from "../../src/adapters/etcd/watch.ts";
import type { StoreWatch } from "../../src/adapters/memory/store-watches.ts";
import type { SimulatedEtcd } from "./etcd.ts";
import { type Actor, slotOf, type World } from "./world.ts";

export interface WatchParts {
  readonly world: World;
  readonly etcd: SimulatedEtcd;
  readonly actor: Actor;
  /** A message takes so long. */
  readonly delayMs: () => number;
  /** Asks etcd for something; rejects when it does not answer. */
  readonly probe: () => Promise<unknown>;
}

export class SimulatedConnections implements WatchConnections<SimulatedConnection> {
  readonly #parts: WatchParts;
  #current: SimulatedConnection | null = null;
  #reaching: Promise<SimulatedConnection> | null = null;

  constructor(parts: WatchParts) {
    this.#parts = parts;
  }

  reach(): Promise<SimulatedConnection> {
    if (this.#current) return Promise.resolve(this.#current);
    this.#reaching ??= this.#open().finally(() => {
      this.#reaching = null;
    });
    return this.#reaching;
  }

  giveUp(connection: SimulatedConnection, reason: string): void {
    if (this.#current !== connection) return;
    this.#current = null;
    connection.close(reason);
  }

  /** A call got no answer, so nothing on the connection is trusted any more. */
  failed(): void {
    if (this.#current) this.giveUp(this.#current, "a call was not answered");
  }

  async #open(): Promise<SimulatedConnection> {
    await this.#parts.probe();
    this.#current = new SimulatedConnection(this.#parts);
    return this.#current;
  }
}

class SimulatedConnection implements WatchConnection {
  readonly client: WatchConnection["client"];
  readonly lost: AbortSignal;
  readonly #lost = new AbortController();

  constructor(parts: WatchParts) {
    this.lost = this.#lost.signal;
    setMaxListeners(0, this.lost);
    this.client = { watchClient: { watch: async () => new SimulatedStream(parts) } };
  }

  close(reason: string): void {
    this.#lost.abort(new Error(reason));
  }
}

type Listener = ((response: WatchResponse) => void) | ((error: Error) => void) | (() => void);

const nothing: WatchResponse = { created: false, canceled: false, cancel_reason: "", compact_revision: "0" };

/** Who was told that its watch is over has let go of it by then. */
const heldMs = 1;

/** A stream with one watch on it; what etcd says arrives in order. */
export class SimulatedStream implements WatchStream {
  readonly #parts: WatchParts;
  readonly #listeners = new Map<string, (value?: unknown) => void>();
  #watch: StoreWatch | null = null;
  #isOver = false;
  /** A change is on its way; others before it arrives need no message of their own. */
  #isTelling = false;
  #lastArrivalMs = 0;

  constructor(parts: WatchParts) {
    this.#parts = parts;
  }

  on(event: string, listener: Listener): this {
    this.#listeners.set(event, listener as (value?: unknown) => void); // each event has its own kind of listener
    return this;
  }

  write({ create_request }: IWatchRequest): void {
    const { world, etcd, actor, delayMs } = this.#parts;
    etcd.streams.add(this);
    if (!etcd.linkOf(this.slot).to) return;
    world.after(delayMs(), null, () => {
      if (this.#isOver) return;
      if (actor.isDead) this.#over();
      else if (etcd.answersAtMs === null) this.break();
      else this.#create(String(create_request?.key));
    });
  }

  end(): void {
    this.#over();
  }

  cancel(): void {
    this.#over();
  }

  get actor(): Actor {
    return this.#parts.actor;
  }

  get slot(): string {
    return slotOf(this.actor);
  }

  /** Whether etcd keeps a watch for it. */
  get isWatching(): boolean {
    return this.#watch !== null;
  }

  /** It takes nothing from etcd until `release`. */
  hold(): void {
    this.#watch?.hold();
  }

  release(): void {
    this.#watch?.release();
  }

  /** The connection breaks, which is told at once, or only when etcd is back and knows nothing of it. */
  break(): void {
    const { world, etcd, actor, delayMs } = this.#parts;
    this.#watch?.close();
    this.#watch = null;
    const atMs = etcd.chance.is(0.5) ? world.nowMs : Math.max(world.nowMs, etcd.upAtMs);
    world.at(atMs + delayMs(), actor, () => this.#emit("error", new Error("the connection broke")));
  }

  #create(prefix: string): void {
    const { etcd } = this.#parts;
    const onChange = () => {
      if (!this.#isTelling) this.#isTelling = this.#answer({});
    };
    const onCompacted = (revision: number) => {
      this.#watch = null;
      etcd.compacted++;
      this.#answer({ canceled: true, compact_revision: String(revision) });
    };
    this.#watch = etcd.store.watch(prefix, { onChange, onCompacted });
    if (etcd.isStalled(this.slot)) this.hold();
    this.#answer({ created: true });
  }

  /** Whether it was sent at all. */
  #answer(response: Partial<WatchResponse>): boolean {
    const { world, etcd, actor } = this.#parts;
    const { hintLost, hintDoubled, hintLateMs } = etcd.weather;
    if (actor.isDead) {
      this.#over();
      return false;
    }
    if (!etcd.linkOf(this.slot).from || (!response.canceled && etcd.chance.is(hintLost))) return false;
    etcd.counts.hints++;
    const delayMs = this.#parts.delayMs() + (hintLateMs > 0 ? etcd.chance.between(0, hintLateMs) : 0);
    this.#lastArrivalMs = Math.max(this.#lastArrivalMs, world.nowMs + delayMs);
    const arrive = () => this.#emit("data", { ...nothing, ...response });
    world.at(this.#lastArrivalMs, actor, () => {
      this.#isTelling = false;
      arrive();
      if (response.canceled) world.after(heldMs, actor, () => this.#isOver || etcd.onDeaf(actor));
    });
    if (!response.canceled && etcd.chance.is(hintDoubled)) world.after(delayMs * 3, actor, arrive);
    return true;
  }

  #emit(event: string, value: unknown): void {
    if (!this.#isOver) this.#listeners.get(event)?.(value);
  }

  #over(): void {
    this.#isOver = true;
    this.#watch?.close();
    this.#watch = null;
    this.#parts.etcd.streams.delete(this);
  }
}
