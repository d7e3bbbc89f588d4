/** What an operator asks of a running job, followed until it is so. */
import { systemClock } from "../adapters/system/clock.ts";
import { type RegisteredRun, readRun } from "../adapters/system/run-registry.ts";
import { LockstepError } from "../core/errors.ts";
import type { ClusterStatus, ProcessStatus } from "../core/status.ts";
import type { Wish } from "../core/wishes.ts";
import type { Arguments } from "./command.ts";
import { connectToJob, type FoundJob } from "./find-job.ts";

const pollMs = 150;
/** A worker loads its engine, and leaves at a step's end. */
const limitMs = 120_000;

export interface Asked {
  readonly wish: Wish;
  /** `run`: what its launch says of it now; null where none is known. */
  readonly isSo: (now: ClusterStatus, run: RegisteredRun | null) => boolean;
  /** What there is when it is so; and what there is instead when it is not so in time. */
  readonly done: (now: ClusterStatus) => string;
  readonly notYet: (now: ClusterStatus) => string;
}

/** Prints what came of it. "process-failed": it did not become so in time. */
export async function ask(args: Arguments, plan: (job: FoundJob, now: ClusterStatus) => Asked): Promise<number> {
  const job = await connectToJob(args);
  try {
    const asked = plan(job, await job.control.status());
    await job.control.ask(asked.wish);
    const untilMs = systemClock.monotonicMs() + limitMs;
    for (;;) {
      const now = await job.control.status();
      if (asked.isSo(now, job.run && ((await readRun(job.run.job)) ?? job.run))) {
        process.stdout.write(`${asked.done(now)}\n`);
        return 0;
      }
      if (hasEnded(now)) {
        process.stdout.write(`The run has ended meanwhile: ${now.state}.\n`);
        return 0;
      }
      if (systemClock.monotonicMs() > untilMs) {
        throw new LockstepError("process-failed", `${asked.notYet(now)} after ${limitMs / 1000} s; it stays wished.`, {
          hint: "`lockstep status` shows who is there, and `lockstep logs` why.",
        });
      }
      await systemClock.sleep(pollMs);
    }
  } finally {
    job.close();
  }
}

export function hasEnded({ state }: ClusterStatus): boolean {
  return state === "finished" || state === "stopped" || state === "failed";
}

export function workersIn({ processes }: ClusterStatus): readonly ProcessStatus[] {
  return processes.filter(({ role }) => role === "worker");
}

/** Of a worker's id, as `status` shows it, the name; a name stays what it is. */
export function nameIn(word: string): string {
  return word.replace(/\.[^.]*$/, "");
}

export function workerNamed(now: ClusterStatus, name: string): ProcessStatus | undefined {
  return workersIn(now).find(({ workerId }) => workerId !== null && nameIn(workerId) === name);
}
