/** `lockstep logs`: what the processes of a launch have logged, in the order of time. */
import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { findSection, linesOf, type Section } from "../adapters/fs/process-log.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { entryText } from "../adapters/system/log.ts";
import { runningJobs } from "../adapters/system/run-registry.ts";
import { LockstepError } from "../core/errors.ts";
import type { Arguments, Command } from "./command.ts";
import { shared } from "./common.ts";
import { jobFolder, whichFolder } from "./find-folder.ts";
import { nameIn } from "./operate.ts";

const pollMs = 200;

export const logs: Command = {
  name: "logs",
  summary: "Show what the processes of a launch have logged, each since it was started last.",
  argument: null,
  options: {
    ...whichFolder,
    worker: { value: "N|NAME", help: "only this one, as 1, worker-1 or coordinator (default: all)" },
    follow: { value: null, short: "f", help: "go on with what comes, until the job ends or Ctrl-C" },
    previous: { value: null, short: "p", help: "of each, what it logged before it was started last" },
    json: { ...shared.json, help: "the lines as they were logged, with the process' name" },
  },
  details: `Examples:
  lockstep logs --worker 1 --follow
  lockstep logs --worker coordinator --previous`,
  run: runLogs,
};

interface LogFile {
  readonly process: string;
  readonly path: string;
}

async function runLogs(args: Arguments): Promise<number> {
  const folder = join(await jobFolder(args), "logs");
  const which = args.flag("previous") ? "previous" : "newest";
  if (args.flag("previous") && args.flag("follow")) {
    throw new LockstepError("usage", "--previous is over, so there is nothing to --follow.");
  }
  const files = await filesIn(folder, args.text("worker"));
  const print = args.flag("json") ? printJson : printText;
  const sections = new Map<string, Section>();
  for (const { path } of files) {
    const section = await findSection(path, which);
    if (section) sections.set(path, section);
  }
  if (sections.size === 0 && which === "previous") {
    process.stderr.write("Nobody was started again.\n");
  }
  const there = files.filter(({ path }) => sections.has(path));
  for await (const { process: name, line } of merged(there, sections)) print(name, line);
  if (args.flag("follow")) await follow(folder, args.text("worker"), files, print);
  return 0;
}

async function filesIn(folder: string, worker: string | undefined): Promise<readonly LogFile[]> {
  const names = existsSync(folder) ? (await readdir(folder)).filter((name) => name.endsWith(".log")).sort() : [];
  const files = names.map((name) => ({ process: basename(name, ".log"), path: join(folder, name) }));
  if (worker === undefined) {
    if (files.length > 0) return files;
    throw new LockstepError("usage", `There are no logs in ${folder}.`, { hint: "Launch the job first." });
  }
  const wanted = /^\d+$/.test(worker) ? `worker-${worker}` : nameIn(worker);
  const found = files.filter((file) => file.process === wanted);
  if (found.length > 0) return found;
  throw new LockstepError("usage", `There is no log of ${wanted} in ${folder}.`, {
    hint:
      files.length > 0
        ? `There are those of ${files.map((file) => file.process).join(", ")}.`
        : "Launch the job first.",
  });
}

interface Logged {
  readonly process: string;
  readonly line: string;
}

/** The lines of all, in the order of their times; one without a time belongs to the one before. */
async function* merged(files: readonly LogFile[], sections: ReadonlyMap<string, Section>): AsyncGenerator<Logged> {
  const heads: { process: string; line: string; time: string; rest: AsyncGenerator<string> }[] = [];
  for (const { process, path } of files) {
    const rest = linesOf(path, sections.get(path)!);
    const first = await rest.next();
    if (!first.done) heads.push({ process, line: first.value, time: timeOf(first.value) ?? "", rest });
  }
  while (heads.length > 0) {
    const next = heads.reduce((earliest, one) => (one.time < earliest.time ? one : earliest));
    yield { process: next.process, line: next.line };
    const following = await next.rest.next();
    if (following.done) heads.splice(heads.indexOf(next), 1);
    else {
      next.line = following.value;
      next.time = timeOf(following.value) ?? next.time;
    }
  }
}

/** Prints what is appended, also to files that are new, until the job that is running has ended. */
async function follow(
  folder: string,
  worker: string | undefined,
  known: readonly LogFile[],
  print: (process: string, line: string) => void,
): Promise<void> {
  const offsets = new Map<string, number>();
  for (const { path } of known) offsets.set(path, (await stat(path)).size);
  const isRunning = async () => (await runningJobs()).some(({ directory }) => join(directory, "logs") === folder);
  const wasRunning = await isRunning();
  for (let isLast = false; ; ) {
    for (const { process, path } of await filesIn(folder, worker)) {
      const start = offsets.get(path) ?? 0;
      const { size } = await stat(path);
      if (size <= start) continue;
      let read = start;
      for await (const line of linesOf(path, { start, end: size })) {
        read += Buffer.byteLength(line) + 1;
        // A line that is being written is taken when it is whole.
        if (read <= size) print(process, line);
      }
      offsets.set(path, read <= size ? read : await lineStart(path, start, size));
    }
    if (isLast) return;
    // What was said last is read after the end.
    isLast = wasRunning && !(await isRunning());
    if (!isLast) await systemClock.sleep(pollMs);
  }
}

/** Where the last line, which is not whole yet, begins. */
async function lineStart(path: string, start: number, end: number): Promise<number> {
  let offset = start;
  for await (const line of linesOf(path, { start, end })) {
    const next = offset + Buffer.byteLength(line) + 1;
    if (next > end) break;
    offset = next;
  }
  return offset;
}

function timeOf(line: string): string | null {
  return /^\{(?:"level":"\w+",)?"time":"([^"]+)"/.exec(line)?.[1] ?? null;
}

function printText(name: string, line: string): void {
  process.stdout.write(
    `${name.padEnd(11)}  ${entryText(line, ["worker", "role", "process", "job", "run", "incarnation"])}\n`,
  );
}

function printJson(name: string, line: string): void {
  const entry = line.startsWith("{") ? parsed(line) : null;
  process.stdout.write(`${JSON.stringify(entry ? { ...entry, process: name } : { process: name, text: line })}\n`);
}

function parsed(line: string): Record<string, unknown> | null {
  try {
    return JSON.parse(line) as Record<string, unknown>; // of a line that begins as an object
  } catch {
    return null;
  }
}
