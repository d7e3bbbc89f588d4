/** `lockstep stop`: a running job is stopped in order. */
import { systemClock } from "../adapters/system/clock.ts";
import { readRun } from "../adapters/system/run-registry.ts";
import { LockstepError } from "../core/errors.ts";
import type { ClusterStatus } from "../core/status.ts";
import type { Arguments, Command } from "./command.ts";
import { connectToJob, whichJob } from "./find-job.ts";
import { hasEnded, workersIn } from "./operate.ts";

const pollMs = 150;

export const stop: Command = {
  name: "stop",
  summary:
    "Stop a running job in order, as Ctrl-C in its launch does: the step is finished and a checkpoint published.",
  argument: null,
  options: whichJob,
  details: `Example:
  lockstep stop --job digits && lockstep resume --job digits

Returns when all of its processes are gone. A stop always publishes a checkpoint first, so nothing is lost. The launch ends
with exit code 130.`,
  run: runStop,
};

async function runStop(args: Arguments): Promise<number> {
  const { control, run, close } = await connectToJob(args);
  try {
    let last = await control.status();
    if (!hasEnded(last)) await control.stop("lockstep stop");
    // A launch takes its processes with it; elsewhere the coordinator stays and tells.
    while (run ? (await readRun(run.job))?.pid === run.pid : !(hasEnded(last) && workersIn(last).length === 0)) {
      await systemClock.sleep(pollMs);
      last = await statusOr(last, () => control.status());
    }
    process.stdout.write(`${text(last, run !== null)}\n`);
    return 0;
  } finally {
    close();
  }
}

/** The coordinator of a launch that is ending may be gone already: what it said last holds. */
async function statusOr(last: ClusterStatus, status: () => Promise<ClusterStatus>): Promise<ClusterStatus> {
  try {
    return await status();
  } catch (error) {
    if (error instanceof LockstepError && error.code === "coordination-unavailable") return last;
    throw error;
  }
}

function text({ job, state, latest }: ClusterStatus, wasLaunched: boolean): string {
  const saved = latest ? `step ${latest.step} is saved as ${latest.id}` : "nothing was trained yet";
  const what = state === "finished" ? "It was finished" : "Stopped";
  return `${what}: ${saved}.${wasLaunched ? ` Go on with: npx lockstep resume --job ${job}` : ""}`;
}
