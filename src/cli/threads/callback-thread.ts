/** The thread in which a job file's callbacks run: what they do, however long, keeps the coordinator from nothing. */
import { parentPort, workerData } from "node:worker_threads";
import { loadJob } from "../../adapters/job-file/load-job.ts";
import { openChannel } from "../../adapters/system/thread-channel.ts";
import type { CallbackCall } from "../../core/callbacks.ts";
import { LockstepError, messageOf } from "../../core/errors.ts";
import type { JobSettings } from "../../core/settings.ts";

export interface CallbackThreadData {
  readonly jobPath: string;
  readonly settings: JobSettings;
}

const { jobPath, settings } = (workerData as { data: CallbackThreadData }).data; // what callbacks.ts put there
const loading = loadJob(jobPath, settings);
loading.catch(() => undefined); // the first call says it

openChannel(parentPort!, {
  async call({ name, event }: Pick<CallbackCall, "name" | "event">): Promise<void> {
    const { job } = await loading;
    // The event of each name is the one that its function takes: see nextCall.
    const callback = job.callbacks?.[name] as ((event: unknown) => unknown) | undefined;
    try {
      await callback?.(event);
    } catch (error) {
      // Without the stack, which tells of this thread.
      throw new LockstepError("invalid-job", messageOf(error), { cause: error });
    }
  },
});
