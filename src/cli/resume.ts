/** `lockstep resume`: launches a job again as it was launched last. */
import { existsSync } from "node:fs";
import { readLaunchRecord } from "../adapters/system/launch-record.ts";
import { LockstepError } from "../core/errors.ts";
import { launchCommand } from "../core/summary-table.ts";
import { type Arguments, type Command, parseCommand } from "./command.ts";
import { jobFolder, whichFolder } from "./find-folder.ts";
import { launch } from "./launch.ts";

export const resume: Command = {
  name: "resume",
  summary: "Launch a job again as it was launched last: it goes on where it was stopped.",
  argument: null,
  options: {
    ...whichFolder,
    workers: { value: "N|MIN:MAX", help: "with as many workers, instead of as many as then" },
    epochs: { value: "N", help: "train to this epoch, instead of that of then" },
    json: { value: null, help: "as `lockstep launch --json`" },
  },
  details: `Example:
  lockstep stop --job digits; lockstep resume --job digits --workers 4

What was said for that one start, as --resume or --allow-change, is not said again.`,
  run: runResume,
};

async function runResume(args: Arguments): Promise<number> {
  const folder = await jobFolder(args);
  const record = await readLaunchRecord(folder);
  if (record === null) {
    throw new LockstepError("usage", `Nothing in ${folder} says how the job was launched.`, {
      hint: "Launch it once with `lockstep launch JOB.ts`; from then on it can be resumed.",
    });
  }
  const { workingDirectory, goOn } = record;
  if (!existsSync(workingDirectory)) {
    throw new LockstepError("usage", `The job was launched in ${workingDirectory}, which is not there any more.`, {
      hint: `Launch it where its files are now: ${launchCommand(goOn)}`,
    });
  }
  const changes = args.optionsBut("job", "directory");
  // What is said twice counts the second time.
  const words = [...goOn.words, ...(goOn.epochs === null ? [] : ["--epochs", goOn.epochs]), ...changes];
  process.chdir(workingDirectory);
  process.stderr.write(`${launchCommand({ words, epochs: null })}\n`);
  return launch.run(parseCommand(launch, words));
}
