/** `lockstep status --watch`: a run as it goes, until it ends. */
import { systemClock } from "../adapters/system/clock.ts";
import { chooseColor, chooseMode, createView, type LaunchView } from "../adapters/terminal/view.ts";
import { exitCodes, LockstepError } from "../core/errors.ts";
import { formatValue } from "../core/number-format.ts";
import type { ClusterStatus } from "../core/status.ts";
import { plural } from "../core/summary-table.ts";
import type { Arguments } from "./command.ts";
import { connectToJob, type FoundJob } from "./find-job.ts";

const pollMs = 250;
/** A coordinator that was named may be started again elsewhere, by somebody who gives it the same address. */
const patienceMs = 30_000;

/** Resolves when the run has ended: 0 when it is finished, else as a launch of it would have ended; 130 after Ctrl-C. */
export async function watchStatus(args: Arguments, terminal: NodeJS.WriteStream = process.stdout): Promise<number> {
  let job = await connectToJob(args);
  const interrupted = new AbortController();
  const interrupt = () => interrupted.abort();
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  let view: LaunchView | null = null;
  try {
    let status = await job.control.status();
    view = viewOn(terminal, args.flag("json"), status);
    for (;;) {
      view.update(status);
      if (status.state === "finished" || status.state === "failed" || status.state === "stopped") break;
      const isOver = await systemClock.sleep(pollMs, interrupted.signal).then(
        () => false,
        () => true,
      );
      if (isOver) return exitCodes.interrupted;
      [job, status] = await next(args, job, status, view, interrupted.signal);
    }
    if (!args.flag("json")) view.say(endText(status));
    if (status.state === "finished") return 0;
    return status.state === "failed" ? exitCodes[status.failure ?? "diverged"] : exitCodes.interrupted;
  } catch (error) {
    if (interrupted.signal.aborted) return exitCodes.interrupted;
    throw error;
  } finally {
    process.off("SIGINT", interrupt);
    process.off("SIGTERM", interrupt);
    view?.close();
    job.close();
  }
}

function viewOn(terminal: NodeJS.WriteStream, json: boolean, status: ClusterStatus): LaunchView {
  const view = createView({
    mode: chooseMode(json, terminal),
    stdout: terminal,
    stderr: process.stderr,
    columns: () => terminal.columns ?? 100,
    color: chooseColor(terminal),
    policy: status.policy,
  });
  view.earlier(status, "so far");
  return view;
}

/** The next status; a coordinator that was started again is found at its new place. "coordination-unavailable": the launch has ended. */
async function next(
  args: Arguments,
  job: FoundJob,
  last: ClusterStatus,
  view: LaunchView,
  signal: AbortSignal,
): Promise<[FoundJob, ClusterStatus]> {
  const sinceMs = systemClock.monotonicMs();
  let found = job;
  for (let isSaid = false; ; isSaid = true) {
    try {
      return [found, await found.control.status()];
    } catch (error) {
      if (!isUnavailable(error) || systemClock.monotonicMs() - sinceMs > patienceMs) throw error;
      if (!isSaid) view.say("The coordinator does not answer, and is asked again.");
    }
    await systemClock.sleep(pollMs, signal);
    found.close();
    found = await connectToJob(args).catch((error: unknown) => {
      if (!(error instanceof LockstepError) || error.code !== "usage") throw error;
      throw new LockstepError(
        "coordination-unavailable",
        `The launch of "${last.job}" has ended; it was ${last.state} last.`,
        {
          hint: `\`lockstep history ${last.job}\` tells how far it came.`,
        },
      );
    });
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof LockstepError && error.code === "coordination-unavailable";
}

/** The last line: what the run has come to. */
function endText({ state, reason, epoch, step, best }: ClusterStatus): string {
  const value = best && (best.value === null ? "" : `, ${best.monitor} ${formatValue(best.value)}`);
  const top = best ? `; best is epoch ${best.epoch}${value}` : "";
  const why = state === "finished" || reason === "" ? "" : `: ${reason}`;
  return `${state}${why}; ${plural(epoch, "epoch")}, ${plural(step, "step")}${top}`;
}
