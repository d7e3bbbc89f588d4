/** `lockstep restart`: a worker leaves in order and is started again; or comes back after it was drained or given up. */
import { noWorker } from "../core/wishes.ts";
import type { Arguments, Command } from "./command.ts";
import { whichJob } from "./find-job.ts";
import { ask, nameIn, workerNamed, workersIn } from "./operate.ts";
import { indexOf } from "./workforce.ts";

export const restart: Command = {
  name: "restart",
  summary: "Start a worker again, after it has left in order; also one that was drained or given up.",
  argument: { name: "WORKER", help: "its name, as worker-1; or its id, as `lockstep status` shows it" },
  options: whichJob,
  details: `Example:
  lockstep restart worker-1 --job digits

The worker ends with exit code 75, and whoever has started it starts it again: a launch does so by itself. Returns when it
is back.`,
  run: runRestart,
};

async function runRestart(args: Arguments): Promise<number> {
  const name = nameIn(args.argument);
  return ask(args, ({ run }, before) => {
    const was = workerNamed(before, name);
    const index = indexOf(name);
    const isKnown = was !== undefined || before.wishes.drained.includes(name);
    const isOfLaunch = run !== null && index !== null && index < run.workers + run.spares;
    if (run !== null && !isKnown && !isOfLaunch) {
      throw noWorker(
        name,
        workersIn(before).map(({ workerId }) => nameIn(workerId ?? "")),
      );
    }
    return {
      wish: { kind: "restart", worker: name },
      isSo: (now) => {
        const is = workerNamed(now, name);
        return is !== undefined && is.pid !== was?.pid;
      },
      done: (now) => `${name} is back, as process ${workerNamed(now, name)?.pid}.`,
      notYet: () => `${name} is not back`,
    };
  });
}
