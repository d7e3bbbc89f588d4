/** How whoever has nothing to do any more learns that there is something again. */
import { decodeJson } from "../core/json.ts";
import { keysOf, runKey } from "../core/keys.ts";
import { type Ending, isFor, type JobRecord } from "../core/records.ts";
import type { Clock } from "../ports/clock.ts";
import type { Coordination } from "../ports/coordination.ts";

interface Place {
  readonly coordination: Coordination;
  readonly clock: Clock;
  readonly job: string;
  readonly pollMs: number;
}

/** Resolves when the job's run can be trained: a start has opened it again, or begun another one. Rejects with the signal's reason. */
export async function untilOpen({ coordination, clock, job, pollMs }: Place, signal: AbortSignal): Promise<void> {
  for (;;) {
    // An etcd that is away says nothing about the run.
    if (await isOpen(coordination, job).catch(() => false)) return;
    await clock.sleep(pollMs, signal);
  }
}

async function isOpen(coordination: Coordination, job: string): Promise<boolean> {
  const run = await coordination.get(runKey(job));
  if (!run) return false;
  const keys = keysOf(job, Number(run.value));
  const entries = await coordination.read([keys.record, keys.done, keys.stop, keys.failed]);
  const record = entries.get(keys.record);
  if (!record || entries.has(keys.done)) return false;
  const { start } = decodeJson<JobRecord>(record.value);
  const hasEnded = [keys.stop, keys.failed].some((key) => {
    const entry = entries.get(key);
    return isFor(entry ? decodeJson<Ending>(entry.value) : null, start);
  });
  return !hasEnded;
}
