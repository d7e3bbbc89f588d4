/** The folder of a job that is running, or was, on this machine. */
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { runningJobs } from "../adapters/system/run-registry.ts";
import { LockstepError } from "../core/errors.ts";
import type { Arguments } from "./command.ts";

export const whichFolder = {
  job: { value: "NAME", help: "which job (default: the one that is running, or the only one in runs/)" },
  directory: { value: "DIR", help: "where the job's files are (default: runs/JOB)" },
};

/** Absolute. "usage": it is not clear which, or there is none. */
export async function jobFolder(args: Arguments): Promise<string> {
  const [directory, name] = [args.text("directory"), args.text("job")];
  if (directory !== undefined) return existing(resolve(directory));
  const running = await runningJobs();
  if (name !== undefined) return running.find(({ job }) => job === name)?.directory ?? existing(resolve("runs", name));
  if (running.length === 1) return running[0]!.directory;
  const names = running.length > 1 ? running.map(({ job }) => job) : jobsIn("runs");
  if (running.length === 0 && names.length === 1) return resolve("runs", names[0]!);
  const which = names.length === 0 ? "none was launched in this folder" : `there are ${names.join(", ")}`;
  throw new LockstepError("usage", `Which job is meant? None is said, and ${which}.`, {
    hint: "Name it with --job, or its folder with --directory.",
  });
}

function existing(folder: string): string {
  if (existsSync(folder)) return folder;
  throw new LockstepError("usage", `There is no job in ${folder}.`, {
    hint: "Name its folder with --directory, or launch it with `lockstep launch JOB.ts`.",
  });
}

export function jobsIn(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => existsSync(join(folder, name, "logs")));
}
