/** Starts a worker thread of lockstep's own. */
import { Worker as Thread, type TransferListItem } from "node:worker_threads";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { type Channel, type Handlers, openChannel } from "./thread-channel.ts";

export interface RunningThread extends Channel {
  stop(): Promise<void>;
}

/** `module` is the file the thread runs; `data` is what it finds in `workerData.data`. */
export function startThread(
  module: URL,
  data: unknown,
  handlers: Handlers,
  onFailure: (error: Error) => void,
  move: readonly TransferListItem[] = [],
): RunningThread {
  const thread = new Thread(new URL("../../../bin/thread.mjs", import.meta.url), {
    workerData: { module: module.href, data },
    transferList: [...move],
  });
  const channel = openChannel(thread, handlers);
  let stopping = false;
  const failed = (error: unknown) => {
    if (stopping) return;
    const failure =
      error instanceof LockstepError
        ? error
        : new LockstepError("internal", `A thread ended: ${messageOf(error)}`, { cause: error });
    channel.fail(failure);
    onFailure(failure);
  };
  thread.on("error", failed);
  thread.on("exit", (code) => failed(new Error(`exit code ${code}`)));
  return {
    ...channel,
    async stop() {
      stopping = true;
      await thread.terminate();
    },
  };
}
