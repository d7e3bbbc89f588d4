/**
 * The holder's side of a lease. The store counts a lease from the moment a keepalive *reaches* it; the holder counts
 * from the moment it *sent* one, which is earlier, and stops a margin before the end. So the holder always gives up
 * first, whatever was delayed or lost between the two, and nobody else can hold what it still believes to hold.
 *
 * Nothing in here knows etcd: the store is two functions and time is a clock, so the in-memory store uses the same
 * fence.
 */
import { setMaxListeners } from "node:events";
import { assert, messageOf } from "../../core/errors.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Lease } from "../../ports/coordination.ts";
import type { Log } from "../../ports/log.ts";

export interface KeptLeaseOptions {
  readonly id: string;
  /** The time to live that the store granted. */
  readonly ttlMs: number;
  /** How long before the store's end the holder stops; covers late timers and clocks of unequal speed. */
  readonly marginMs: number;
  /** When the request that granted the lease was sent, on the monotonic clock. */
  readonly sentAtMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Renews the lease once and returns the time to live from now on; 0 when the store does not know it any more. */
  readonly renew: (timeoutMs: number) => Promise<number>;
  readonly revoke: () => Promise<void>;
}

/** A lease that renews itself three times a TTL until it is revoked, lost or ended. */
export class KeptLease implements Lease {
  readonly id: string;
  readonly ttlMs: number;
  readonly lost: AbortSignal;
  /** Aborted when nothing is left to do about it: it was ended, or is revoked. */
  readonly released: AbortSignal;
  readonly #options: KeptLeaseOptions;
  readonly #lost = new AbortController();
  readonly #released = new AbortController();
  #heldUntilMs: number;

  constructor(options: KeptLeaseOptions) {
    const { id, ttlMs, marginMs, sentAtMs } = options;
    assert(marginMs >= 0 && marginMs < ttlMs, `a lease's margin (${marginMs} ms) is below its TTL (${ttlMs} ms)`);
    this.id = id;
    this.ttlMs = ttlMs;
    this.lost = this.#lost.signal;
    this.released = this.#released.signal;
    // Whatever is done under the lease may wait for its end; Node would take the eleventh listener for a leak.
    setMaxListeners(0, this.lost);
    this.#options = options;
    this.#heldUntilMs = sentAtMs + ttlMs - marginMs;
    void this.#renewUntilLost(sentAtMs);
    void this.#fence();
  }

  isHeld(): boolean {
    // Asked of the clock, not of the timer: a process that was stopped may get here before its timers have run.
    if (!this.lost.aborted && this.#options.clock.monotonicMs() >= this.#heldUntilMs) {
      this.lose("no keepalive was acknowledged in time");
    }
    return !this.lost.aborted;
  }

  remainingMs(): number {
    return this.isHeld() ? this.#heldUntilMs - this.#options.clock.monotonicMs() : 0;
  }

  async revoke(): Promise<void> {
    this.end("its holder revoked it");
    try {
      await this.#options.revoke();
    } catch (error) {
      this.#options.log.debug("lease not revoked; it will expire", { lease: this.id, reason: messageOf(error) });
    }
  }

  /**
   * Gives the lease up against the holder's will. A store that was away gives leases back whole, with their keys, so it
   * is revoked at first contact: nobody else has to wait for the end of it.
   */
  lose(reason: string): void {
    if (this.lost.aborted) return;
    // First: whoever writes the line may ask whether the lease is held.
    this.#lost.abort(new Error(`The lease ${this.id} is over: ${reason}.`));
    this.#options.log.warn("lease lost", { lease: this.id, ttlMs: this.ttlMs, reason });
    void this.#revokeAtFirstContact();
  }

  /** Stops holding and renewing; the keys stay until the store's own end of the lease. */
  end(reason: string): void {
    this.#released.abort();
    if (!this.lost.aborted) this.#lost.abort(new Error(`The lease ${this.id} is over: ${reason}.`));
  }

  async #revokeAtFirstContact(): Promise<void> {
    const { clock, revoke, log } = this.#options;
    for (let pauseMs = 100; !this.released.aborted; pauseMs = Math.min(2 * pauseMs, this.ttlMs)) {
      try {
        await revoke();
        this.#released.abort();
      } catch (error) {
        log.debug("lost lease not revoked yet", { lease: this.id, reason: messageOf(error) });
        await clock.sleep(pauseMs, this.released).catch(() => undefined);
      }
    }
  }

  /** Aborts `lost` at the moment at which the holder must stop, when no keepalive has moved that moment. */
  async #fence(): Promise<void> {
    while (this.isHeld()) await this.#sleep(this.remainingMs());
  }

  async #renewUntilLost(grantedAtMs: number): Promise<void> {
    const { clock, renew, marginMs, log } = this.#options;
    const periodMs = this.ttlMs / 3;
    const retryMs = Math.min(1_000, Math.max(20, periodMs / 5));
    await this.#sleep(grantedAtMs + periodMs - clock.monotonicMs());
    while (this.isHeld()) {
      const sentAtMs = clock.monotonicMs();
      try {
        const ttlMs = await renew(periodMs);
        // An answer read after the fence has passed does not reopen it.
        if (!this.isHeld()) return;
        if (ttlMs <= 0) return this.lose("the store no longer knows it");
        this.#heldUntilMs = Math.max(this.#heldUntilMs, sentAtMs + ttlMs - marginMs);
        await this.#sleep(sentAtMs + periodMs - clock.monotonicMs());
      } catch (error) {
        log.debug("keepalive failed; trying again", { lease: this.id, reason: messageOf(error) });
        await this.#sleep(retryMs);
      }
    }
  }

  /** Sleeps, or returns early when the lease is lost. */
  async #sleep(ms: number): Promise<void> {
    if (this.lost.aborted) return;
    try {
      await this.#options.clock.sleep(Math.max(0, ms), this.lost);
    } catch {
      // Only the lease's own end interrupts the sleep, and every caller looks at that next.
    }
  }
}
