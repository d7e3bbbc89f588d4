/** Notices that the other side of a connection has fallen silent: asks it, and gives up when it does not answer. */
export interface KeepaliveEvents {
  ask(): void;
  giveUp(silentMs: number): void;
}

export class Keepalive {
  readonly #silenceMs: number;
  readonly #events: KeepaliveEvents;
  #timer: NodeJS.Timeout | null = null;
  #heardMs = 0;
  #askedMs: number | null = null;

  constructor(silenceMs: number, events: KeepaliveEvents) {
    this.#silenceMs = silenceMs;
    this.#events = events;
  }

  start(): void {
    this.#heardMs = performance.now();
    this.#wait(this.#silenceMs);
  }

  stop(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }

  heard(): void {
    this.#heardMs = performance.now();
    this.#askedMs = null;
  }

  #wait(milliseconds: number): void {
    // What has arrived is read before anybody is given up: this thread may have been away itself.
    this.#timer = setTimeout(() => setImmediate(() => this.#look()), milliseconds);
  }

  #look(): void {
    if (!this.#timer) return;
    const nowMs = performance.now();
    if (this.#askedMs !== null && nowMs - this.#askedMs >= this.#silenceMs) {
      return void this.#events.giveUp(Math.round(nowMs - this.#heardMs));
    }
    if (this.#askedMs === null && nowMs - this.#heardMs >= this.#silenceMs) {
      this.#askedMs = nowMs;
      this.#events.ask();
    }
    this.#wait((this.#askedMs ?? this.#heardMs) + this.#silenceMs - nowMs);
  }
}
