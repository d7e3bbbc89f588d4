/**
 * Virtual time. Everything that happens is an event in one queue, ordered by time and then by when it was asked for;
 * between two events all promises settle. So a whole cluster runs in one thread, and one seed decides everything.
 *
 * An event belongs to an actor: a process, or a thread of one. The events of a dead actor never happen, so nothing of a
 * killed process runs any more, not even its cleanup; those of a stopped one wait until it goes on.
 */
import { Chance } from "./random.ts";
import type { Trace } from "./trace.ts";

/** A process, or a thread inside one. */
export class Actor {
  readonly name: string;
  readonly parent: Actor | null;
  #state: "alive" | "stopped" | "dead" = "alive";
  /** What waits until this actor goes on. */
  readonly held: Event[] = [];

  constructor(name: string, parent: Actor | null = null) {
    this.name = name;
    this.parent = parent;
  }

  get isDead(): boolean {
    return this.#state === "dead" || (this.parent?.isDead ?? false);
  }

  /** The stopped actor that holds this one's events, or null. */
  get stopper(): Actor | null {
    return this.#state === "stopped" ? this : (this.parent?.stopper ?? null);
  }

  die(): void {
    this.#state = "dead";
    this.held.length = 0;
  }

  stop(): void {
    if (this.#state === "alive") this.#state = "stopped";
  }

  goOn(): void {
    if (this.#state === "stopped") this.#state = "alive";
  }
}

/** The place that a process runs in, which it shares with those that are started there after it: "w1" of "w1~2". */
export function slotOf(actor: Actor): string {
  const { name } = actor.parent ?? actor;
  return name.slice(0, name.indexOf("~"));
}

export interface Event {
  atMs: number;
  order: number;
  readonly actor: Actor | null;
  /** Null once it was called off. */
  action: (() => void) | null;
}

/** Time is counted in whole ticks, so that sums of times are exact. */
const tickMs = 2 ** -10;
/** More than any honest run takes: something goes round in circles. */
const mostEvents = 300_000;
/** Immediates that are asked for at once; Node settles all promises between each two. */
const batch = 64;

const soon = setImmediate;

export class World {
  readonly chance: (purpose: string) => Chance;
  readonly trace: Trace;
  readonly #queue: Event[] = [];
  #nowMs = 0;
  #orders = 0;
  #events = 0;
  /** Called after every event, once all promises have settled. */
  afterEach: () => void = () => {};

  readonly #mostEvents: number;

  constructor(seed: number, trace: Trace, most = mostEvents) {
    this.#mostEvents = most;
    this.chance = (purpose) => new Chance(seed, purpose);
    this.trace = trace;
    trace.clock = () => this.#nowMs;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** How many events have happened; two calls that see the same number were made by the same event. */
  get events(): number {
    return this.#events;
  }

  /** Whoever waits at all gets at least one tick further, so that no rounding makes a wait of nothing. */
  after(ms: number, actor: Actor | null, action: () => void): Event {
    return this.at(ms > 0 ? Math.max(this.#nowMs + ms, this.#nowMs + tickMs) : this.#nowMs, actor, action);
  }

  at(atMs: number, actor: Actor | null, action: () => void): Event {
    const event: Event = { atMs: Math.ceil(atMs / tickMs) * tickMs, order: this.#orders++, actor, action };
    push(this.#queue, event);
    return event;
  }

  cancel(event: Event): void {
    event.action = null;
  }

  /** Lets a stopped actor go on: what waited for it happens now, in its order. */
  release(actor: Actor): void {
    actor.goOn();
    for (const { actor: owner, action } of actor.held.splice(0)) if (action) this.at(this.#nowMs, owner, action);
  }

  /** Runs until `isOver` says so, or nothing is left to happen. */
  run(isOver: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      let asked = 0;
      let over = false;
      const turn = (): void => {
        asked--;
        if (over) return;
        try {
          this.afterEach();
          if (isOver() || !this.#happen()) {
            over = true;
            resolve();
          } else if (asked === 0) ask();
        } catch (error) {
          over = true;
          reject(error);
        }
      };
      const ask = (): void => {
        for (asked = 0; asked < batch; asked++) soon(turn);
      };
      ask();
    });
  }

  /** The next event that can happen; false when there is none. */
  #happen(): boolean {
    for (;;) {
      const event = pop(this.#queue);
      if (event === undefined) return false;
      const { actor, action } = event;
      if (action === null || actor?.isDead) continue;
      this.#nowMs = event.atMs;
      const stopper = actor?.stopper;
      if (stopper) {
        stopper.held.push(event);
        continue;
      }
      if (++this.#events > this.#mostEvents) throw new Error(`${this.#mostEvents} events, and no end`);
      event.action = null;
      action();
      return true;
    }
  }
}

function before(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** A binary heap: the first event is always at the front. */
function push(heap: Event[], event: Event): void {
  let at = heap.length;
  heap.push(event);
  while (at > 0) {
    const up = (at - 1) >> 1;
    const parent = heap[up]!;
    if (!before(event, parent)) break;
    heap[at] = parent;
    at = up;
  }
  heap[at] = event;
}

function pop(heap: Event[]): Event | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (first === undefined || last === undefined || heap.length === 0) return first;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
    if (!before(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return first;
}
