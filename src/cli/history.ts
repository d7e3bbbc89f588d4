/** `lockstep history`: a run's epochs as data. */
import { LockstepError } from "../core/errors.ts";
import { historyCsv, historyTable } from "../core/run-history.ts";
import type { Arguments, Command } from "./command.ts";
import { shared } from "./common.ts";
import { historyAsked, runWords, whichRun } from "./find-run.ts";

export const history: Command = {
  name: "history",
  summary: "Print a run's epochs: step, loss and metrics of each, and which is the best.",
  argument: {
    name: "[JOB]",
    help: `${runWords} (default: the job that is running, or the only one in runs/)`,
    most: 1,
  },
  options: {
    ...whichRun,
    csv: { value: null, help: "print CSV: a header, and numbers with all their digits" },
    json: shared.json,
  },
  details: `Examples:
  lockstep history digits
  lockstep history runs/digits/run-1 --csv > digits.csv

A run that is trained is asked what it has committed; of one that is not, the newest checkpoint remembers all epochs before
it. In CSV the column "best" is 1 where an epoch was the best so far, and a number may be NaN or Infinity. JSON has them as null.`,
  run: runHistory,
};

async function runHistory(args: Arguments): Promise<number> {
  if (args.flag("csv") && args.flag("json")) {
    throw new LockstepError("usage", "--csv and --json are both given; one of them was expected.");
  }
  const found = await historyAsked(args);
  const { job, run, settings, policy } = found;
  if (args.flag("csv")) process.stdout.write(historyCsv(found.history));
  else if (args.flag("json"))
    process.stdout.write(`${JSON.stringify({ job, run, settings, policy, history: found.history })}\n`);
  else process.stdout.write(`${historyTable(found)}\n`);
  return 0;
}
