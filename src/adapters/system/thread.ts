/** Starts a worker thread of lockstep's own. */
import { join } from "node:path";
import { SHARE_ENV, Worker as Thread, type TransferListItem } from "node:worker_threads";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { packageRoot } from "./package-root.ts";
import { type Channel, type Handlers, openChannel } from "./thread-channel.ts";

export interface RunningThread extends Channel {
  stop(): Promise<void>;
  /** Whether the process waits for it at its end, which it does at first. */
  ref(): void;
  unref(): void;
}

/**
 * `module` is the file the thread runs; `data` is what it finds in `workerData.data`. The environment is the process' own,
 * also where it is changed later.
 */
export function startThread(
  module: URL,
  data: unknown,
  handlers: Handlers,
  onFailure: (error: Error) => void,
  move: readonly TransferListItem[] = [],
): RunningThread {
  const thread = new Thread(join(packageRoot, "bin/thread.mjs"), {
    env: SHARE_ENV,
    workerData: { module: module.href, data },
    transferList: [...move],
    // A program that is given as text says so in an option, which a thread refuses.
    ...(process.execArgv.some((word) => word.startsWith("--input-type")) && { execArgv: [] }),
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
    ref: () => thread.ref(),
    unref: () => thread.unref(),
    async stop() {
      stopping = true;
      await thread.terminate();
    },
  };
}
