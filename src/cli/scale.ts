/** `lockstep scale`: another number of workers in a running launch. */
import { LockstepError } from "../core/errors.ts";
import { plural } from "../core/summary-table.ts";
import type { Arguments, Command } from "./command.ts";
import { whichJob } from "./find-job.ts";
import { ask, workersIn } from "./operate.ts";

export const scale: Command = {
  name: "scale",
  summary: "Give a running launch more or fewer workers; the weights stay the same to the bit.",
  argument: { name: "N", help: "how many workers there should be, at most as many as there are shards" },
  options: { job: whichJob.job },
  details: `Example:
  lockstep scale 4 --job digits

New workers copy the state while the others train on. Those that are too many leave in order, the highest numbers first.
Returns when as many are there. For workers that no launch has started, start or stop some by what they were started with.`,
  run: runScale,
};

async function runScale(args: Arguments): Promise<number> {
  const workers = Number(args.argument);
  if (!/^[1-9]\d*$/.test(args.argument)) {
    throw new LockstepError(
      "usage",
      `The number of workers is ${JSON.stringify(args.argument)}; a whole number of at least 1 was expected.`,
    );
  }
  return ask(args, ({ run }) => {
    const there = (count: number) => `${plural(count, "worker")} ${count === 1 ? "is" : "are"} there`;
    const spares = run?.spares ?? 0;
    return {
      wish: { kind: "scale", workers },
      // A launch says so once it has done its part; until then who is there may be about to leave.
      isSo: (now, launch) =>
        now.state !== "forming" &&
        workersIn(now).length + now.wishes.drained.length === workers + spares &&
        (launch === null || launch.workers === workers),
      done: (now) => `${there(workersIn(now).length)}: generation ${now.generation}, ${now.state}.`,
      notYet: (now) => `${there(workersIn(now).length)} instead of ${workers + spares}`,
    };
  });
}
