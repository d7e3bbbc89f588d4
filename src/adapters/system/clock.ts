import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "../../ports/clock.ts";

/** Node fires a longer timer at once; a longer sleep is cut into pieces of this length. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * The machine's own clocks. The monotonic one goes on while the process is stopped (SIGSTOP), so whoever wakes sees how
 * long it slept; on Linux it stands still while the whole machine is suspended, and then so does a local etcd's.
 */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  sleep: async (ms, signal) => {
    try {
      let restMs = Math.max(0, ms);
      for (; restMs > longestTimerMs; restMs -= longestTimerMs) await delay(longestTimerMs, undefined, { signal });
      await delay(restMs, undefined, { signal });
    } catch (error) {
      // Node rejects with an AbortError of its own; the port promises the signal's reason.
      throw signal?.aborted ? signal.reason : error;
    }
  },
};
