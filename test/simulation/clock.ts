import type { Clock } from "../../src/ports/clock.ts";
import type { Actor, World } from "./world.ts";

/** The clock of one process: virtual time, from an origin of its own. It goes on while the process is stopped. */
export function clockOf(world: World, actor: Actor, originMs: number): Clock {
  return {
    monotonicMs: () => originMs + world.nowMs,
    wallMs: () => 1_700_000_000_000 + 7 * originMs + world.nowMs,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason);
        const onAbort = () => {
          world.cancel(event);
          reject(signal?.reason);
        };
        const event = world.after(ms, actor, () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        });
        signal?.addEventListener("abort", onAbort);
      }),
  };
}
