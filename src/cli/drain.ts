/** `lockstep drain`: a worker leaves in order and stays away. */
import { plural } from "../core/summary-table.ts";
import type { Arguments, Command } from "./command.ts";
import { whichJob } from "./find-job.ts";
import { ask, nameIn, workerNamed, workersIn } from "./operate.ts";

export const drain: Command = {
  name: "drain",
  summary: "Let a worker leave in order, and stay away until it is restarted.",
  argument: { name: "WORKER", help: "its name, as worker-1; or its id, as `lockstep status` shows it" },
  options: whichJob,
  details: `Example:
  lockstep drain worker-1 --job digits

The others take over its shards with the next step. Whoever starts it again in spite of that has a process that stands idle.
\`lockstep restart worker-1\` brings it back. Returns when it has left.`,
  run: runDrain,
};

async function runDrain(args: Arguments): Promise<number> {
  const name = nameIn(args.argument);
  return ask(args, () => ({
    wish: { kind: "drain", worker: name },
    isSo: (now) => workerNamed(now, name) === undefined,
    done: (now) => {
      const left = workersIn(now).length;
      const goesOn =
        left === 0 ? "nobody is left, so the run waits" : `${plural(left, "worker")} ${left === 1 ? "goes" : "go"} on`;
      return `${name} has left, and ${goesOn}. It comes back with: npx lockstep restart ${name}`;
    },
    notYet: () => `${name} is still there`,
  }));
}
