/** Calls a job file's callbacks with what was committed, one after the other, while this coordinator is the active one. */
import { type CallbackCall, nextCall, type Told, type ToldRun } from "../core/callbacks.ts";
import { messageOf } from "../core/errors.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import type { Clock } from "../ports/clock.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { unchanged } from "./run-view.ts";

export interface CallbackTellerOptions {
  readonly coordination: Coordination;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly log: Log;
  readonly pollMs: number;
  /** What there is to tell of; null while this coordinator is not the active one, or has read nothing. */
  readonly read: () => ToldRun | null;
  /** Calls one; resolves when it has come to its end, and rejects with what it threw. */
  readonly call: (call: CallbackCall) => Promise<void>;
}

export class CallbackTeller {
  readonly #options: CallbackTellerOptions;
  readonly #closed = new AbortController();
  readonly #running: Promise<void>;
  /** What this process has told, also where etcd could not be told of it; and its key as it was read or written last. */
  #told: Told | null = null;
  #key: { readonly modRevision: number } | null = null;
  #hasAsked = false;

  constructor(options: CallbackTellerOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  /** Tells what is left to tell, for as long as this at most. */
  async close(limitMs: number): Promise<void> {
    this.#closed.abort();
    const timer = new AbortController();
    await Promise.race([this.#running, this.#options.clock.sleep(limitMs, timer.signal).catch(() => undefined)]);
    timer.abort();
  }

  async #run(): Promise<void> {
    const { clock, pollMs, log } = this.#options;
    for (;;) {
      // Asked before the last look, which then sees all that there was.
      const isLast = this.#closed.signal.aborted;
      try {
        await this.#tellAll();
      } catch (error) {
        log.debug("what callbacks were told could not be read or written", { error: messageOf(error) });
      }
      if (isLast) return;
      await clock.sleep(pollMs, this.#closed.signal).catch(() => undefined);
    }
  }

  async #tellAll(): Promise<void> {
    const { coordination, keys, read, call, log } = this.#options;
    for (;;) {
      const run = read();
      if (run === null) {
        // Another one tells meanwhile.
        this.#hasAsked = false;
        return;
      }
      if (!this.#hasAsked) {
        const entry = await coordination.get(keys.told);
        this.#told = entry ? decodeJson<Told>(entry.value) : null;
        this.#key = entry;
        this.#hasAsked = true;
      }
      const next = nextCall(this.#told, run);
      if (next === null) return;
      try {
        await call(next);
      } catch (error) {
        const { name, event } = next;
        log.warn(`the callback ${name} failed`, { epoch: event.epoch, error: messageOf(error) });
      }
      this.#told = next.told;
      // Another one may tell already, while this one's last reading says that it is still the active one.
      const { succeeded, revision } = await coordination.transact(
        [unchanged(keys.told, this.#key)],
        [{ kind: "put", key: keys.told, value: encodeJson(next.told) }],
      );
      if (succeeded) this.#key = { modRevision: revision };
      else this.#hasAsked = false;
    }
  }
}
