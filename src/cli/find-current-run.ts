/** The run of a job that a worker is to take part in, as etcd tells it. */
import { systemClock } from "../adapters/system/clock.ts";
import { LockstepError, messageOf } from "../core/errors.ts";
import { type FailureBudget, failureBudget } from "../core/failure-budget.ts";
import { decodeJson } from "../core/json.ts";
import { type Keys, keysOf, runKey } from "../core/keys.ts";
import type { JobRecord } from "../core/records.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { connectEtcd } from "./connect-etcd.ts";
import type { ProcessSecurity } from "./security.ts";

/** So long a start waits for an etcd that is silent: nobody counts on this worker yet. */
const startPatienceMs = 15_000;
/** What fails sooner was refused, and not unheard. */
const silenceMs = 1000;

export interface CurrentRun {
  readonly record: JobRecord;
  readonly keys: Keys;
  readonly budget: FailureBudget;
  readonly coordination: Coordination;
}

/** The run that the job trains, with a connection to etcd for it; waits until a coordinator has written down what it is. */
export async function findCurrentRun(
  endpoints: readonly string[],
  job: string,
  log: Log,
  { certificates }: ProcessSecurity,
): Promise<CurrentRun> {
  // The budget that holds here is in what is looked for.
  const usual = failureBudget();
  const coordination = connectEtcd(endpoints, usual, log, certificates);
  try {
    for (let said = false; ; said = true) {
      const run = await askPatiently(() => coordination.get(runKey(job)), log);
      const keys = run && keysOf(job, Number(run.value));
      const entry = keys && (await askPatiently(() => coordination.get(keys.record), log));
      if (keys && entry) {
        const record = decodeJson<JobRecord>(entry.value);
        if (record.budgetMs === usual.budgetMs) return { record, keys, budget: usual, coordination };
        await coordination.close();
        const budget = failureBudget(record.budgetMs);
        return { record, keys, budget, coordination: connectEtcd(endpoints, budget, log, certificates) };
      }
      if (!said) log.info("waiting for a coordinator", { job });
      await systemClock.sleep(usual.pollMs / 4);
    }
  } catch (error) {
    await coordination.close();
    throw error;
  }
}

/** A process that has just been started loads so much that it may be its own fault when an answer does not come in time. */
async function askPatiently<T>(ask: () => Promise<T>, log: Log): Promise<T> {
  const startedMs = systemClock.monotonicMs();
  for (let isFirst = true; ; isFirst = false) {
    const askedMs = systemClock.monotonicMs();
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof LockstepError) || error.code !== "coordination-unavailable") throw error;
      const nowMs = systemClock.monotonicMs();
      const mayAnswer = isFirst || (nowMs - askedMs >= silenceMs && nowMs - startedMs < startPatienceMs);
      if (!mayAnswer) throw error;
      log.debug("etcd did not answer in time and is asked again", { error: messageOf(error) });
    }
  }
}
