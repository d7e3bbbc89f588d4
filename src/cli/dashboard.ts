/** `lockstep dashboard`: opens a running job's dashboard, or shows what a finished one has left in its folder. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { serveDashboard } from "../adapters/http/dashboard.ts";
import { readPage } from "../adapters/http/page.ts";
import { serveHttp } from "../adapters/http/server.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { createLog } from "../adapters/system/log.ts";
import { findProgram } from "../adapters/system/programs.ts";
import type { RegisteredRun } from "../adapters/system/run-registry.ts";
import { LockstepError } from "../core/errors.ts";
import { Refusals } from "../core/refusals.ts";
import type { Arguments, Command } from "./command.ts";
import { newId, onStopSignal } from "./common.ts";
import { pageFolder } from "./dashboard/page-folder.ts";
import { openFinishedJob } from "./dashboard/finished-job.ts";
import { findJob } from "./find-job.ts";

export const dashboard: Command = {
  name: "dashboard",
  summary: "Open the dashboard of a running job in a browser, or of a finished one from its folder.",
  argument: { name: "[JOB]", help: "which job (default: the one that is running)", most: 1 },
  options: {
    directory: { value: "DIR", help: "serve what a job has left in this folder, until Ctrl-C; asks no cluster" },
    run: { value: "N", help: "with --directory: which run of the job (default: the newest)" },
    "no-open": { value: null, help: "print the address, and open no browser" },
  },
  details: `Examples:
  lockstep dashboard digits
  lockstep dashboard --directory runs/digits

A job that runs on other machines serves it at its coordinator's --http address.`,
  run: runDashboard,
};

async function runDashboard(args: Arguments): Promise<number> {
  const directory = args.text("directory");
  const [job] = args.words;
  if (directory !== undefined) {
    if (job !== undefined) {
      throw new LockstepError("usage", `The job ${JSON.stringify(job)} is named, and --directory too.`, {
        hint: "Give one of the two.",
      });
    }
    return serveFinished(args, resolve(directory));
  }
  if (args.text("run") !== undefined) {
    throw new LockstepError("usage", "--run says which run of a folder is meant, and there is no --directory.", {
      hint: "A running job's dashboard shows the run that is trained.",
    });
  }
  const { http, ...found } = await findRunning(job);
  if (http === null) {
    throw new LockstepError("usage", `The coordinator of "${found.job}" serves no HTTP.`, {
      hint: "Launch the job again with this version of lockstep.",
    });
  }
  show(args, `http://${http}/`);
  return 0;
}

/** As `findJob`; of one that is over and has its files here it says how to see them. */
async function findRunning(job: string | undefined): Promise<RegisteredRun> {
  try {
    return await findJob(job);
  } catch (error) {
    const folder = job === undefined ? null : join("runs", job);
    if (folder === null || !(error instanceof LockstepError) || !existsSync(folder)) throw error;
    throw new LockstepError("usage", `No job "${job}" is running on this machine, and ${folder} holds its files.`, {
      hint: `\`lockstep dashboard --directory ${folder}\` shows what it has left.`,
      cause: error,
    });
  }
}

async function serveFinished(args: Arguments, directory: string): Promise<number> {
  const log = createLog({ stream: process.stderr, format: "text", level: "warn" });
  const source = await openFinishedJob(directory, args.whole("run", 1) ?? null, log);
  const http = await serveHttp({ listen: "127.0.0.1:0", token: null, refusals: new Refusals(() => {}), log });
  const served = serveDashboard({
    ...{ http, source, clock: systemClock, boot: newId() },
    page: await readPage(pageFolder),
  });
  http.note(null);
  show(args, `http://${http.address}/`);
  process.stderr.write("Ctrl-C ends it.\n");
  // The server alone would not keep the process.
  const staying = setInterval(() => {}, 60_000);
  await new Promise<void>((stop) => onStopSignal(() => stop()));
  clearInterval(staying);
  served.close();
  http.close();
  return 0;
}

/** On standard output the address alone, for scripts. */
function show(args: Arguments, address: string): void {
  process.stdout.write(`${address}\n`);
  if (args.flag("no-open")) return;
  const opener = findProgram(process.platform === "darwin" ? "open" : "xdg-open");
  if (opener === null) {
    process.stderr.write("No program to open a browser was found; open the address in one.\n");
    return;
  }
  const child = spawn(opener, [address], { stdio: "ignore", detached: true });
  child.on("error", () => process.stderr.write("The browser could not be opened; open the address in one.\n"));
  child.unref();
}
