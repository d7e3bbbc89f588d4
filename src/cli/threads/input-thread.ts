/** The thread that prepares the next step's batches (runtime/batches-ahead.ts): the job and its data, without an engine. */
import { parentPort, workerData } from "node:worker_threads";
import { openChannel } from "../../adapters/system/thread-channel.ts";
import { type BatchRequest, prepareBatch } from "../../runtime/batches-ahead.ts";
import { type JobRequest, openJob } from "../open-program.ts";

export interface InputThreadData {
  readonly job: JobRequest;
}

const { job } = (workerData as { data: InputThreadData }).data; // what compute-thread.ts put there
const { data } = await openJob(job);
const parent = openChannel(parentPort!, {
  prepare: (request: BatchRequest) => prepareBatch(data, request),
  /** Answered once all is done that was asked for before. */
  prepared: () => true,
});
parent.tell("opened", data.digest);
