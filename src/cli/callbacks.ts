/** A coordinator's part in a job file's callbacks: a thread for them, and what there is to tell. */
import { systemClock } from "../adapters/system/clock.ts";
import { type RunningThread, startThread } from "../adapters/system/thread.ts";
import type { CallbackCall } from "../core/callbacks.ts";
import type { Job } from "../core/job.ts";
import type { Keys } from "../core/keys.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { CallbackTeller } from "../runtime/callback-teller.ts";
import type { Coordinator } from "../runtime/coordinator.ts";
import type { CallbackThreadData } from "./threads/callback-thread.ts";

/** How long callbacks may go on once the coordinator is asked to end. */
const lastCallsMs = 4000;

export interface CallbackPlace {
  readonly job: Job;
  readonly jobPath: string;
  readonly active: Coordinator;
  readonly coordination: Coordination;
  readonly keys: Keys;
  readonly pollMs: number;
  readonly log: Log;
}

export interface RunningCallbacks {
  /** Waits so long at most for calls that are left. */
  close(limitMs?: number): Promise<void>;
}

/** Null: the job has none. */
export function startCallbacks({ job, jobPath, active, log, ...place }: CallbackPlace): RunningCallbacks | null {
  const { callbacks } = job;
  if (callbacks === null) return null;
  const data: CallbackThreadData = { jobPath, settings: job.settings };
  /** Null: what a callback has left behind, as a promise that nobody waits for, has ended it. */
  let thread: RunningThread | null = null;
  const start = () => {
    const started = startThread(new URL("./threads/callback-thread.ts", import.meta.url), data, {}, (error) => {
      thread = null;
      log.warn("the callbacks' thread ended; the next call has another one", { error: error.message });
    });
    started.unref();
    return started;
  };
  const callOnce = (call: Pick<CallbackCall, "name" | "event">) => {
    thread ??= start();
    return thread.call<void>("call", call);
  };
  const teller = new CallbackTeller({
    ...place,
    log,
    clock: systemClock,
    read: () => {
      if (!active.hasRead || !active.vitals().isActive) return null;
      const { origin } = active.reading;
      const status = active.status();
      return { run: active.record.run, status, lineage: origin.lineage, from: origin.from?.state.epoch ?? 0 };
    },
    // What the job file lacks is told by nobody's hearing it.
    call: async ({ name, event }) => {
      if (!callbacks[name]) return;
      try {
        await callOnce({ name, event });
      } catch (error) {
        if (thread !== null) throw error;
        // It may have ended before this call came to it. One that ends the thread each time is not called for ever.
        await callOnce({ name, event });
      }
    },
  });
  return {
    async close(limitMs = lastCallsMs) {
      await teller.close(limitMs);
      await thread?.stop();
    },
  };
}
