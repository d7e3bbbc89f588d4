import { LockstepError, messageOf } from "../core/errors.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";

/**
 * Runs something that reads etcd, or writes to it in a way that may be done twice, until etcd answers: losing etcd for a
 * while is no reason to end. Any other error is thrown; so is the signal's reason when it is aborted first.
 */
export async function patiently<T>(
  { clock, log, pauseMs, signal }: { clock: Clock; log: Log; pauseMs: number; signal?: AbortSignal },
  what: string,
  run: () => Promise<T>,
): Promise<T> {
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof LockstepError) || error.code !== "coordination-unavailable") throw error;
      log.info(`etcd does not answer; ${what} waits`, { error: messageOf(error) });
      await clock.sleep(pauseMs, signal);
    }
  }
}

/** Settles as the promise does, or rejects with the signal's reason if that comes first; the promise is then nobody's. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(signal.reason);
    const end = () => signal.removeEventListener("abort", aborted);
    promise.then(resolve, reject).finally(end);
    if (signal.aborted) aborted();
    else signal.addEventListener("abort", aborted, { once: true });
  });
}

/** Pauses before a worker that was left out comes back: none at first, then this long, doubling. */
const firstPauseMs = 500;
const longestPauseMs = 60_000;

/** Before a worker comes back that was left out so many times, one after the other. */
export function pauseBeforeReturnMs(evictions: number): number {
  return evictions < 2 ? 0 : Math.min(firstPauseMs * 2 ** (evictions - 2), longestPauseMs);
}
