/** `lockstep dashboard`: opens a running job's dashboard, or shows what another one has left in its folder. */
import { spawn } from "node:child_process";
import { serveDashboard } from "../adapters/http/dashboard.ts";
import { readPage } from "../adapters/http/page.ts";
import { serveHttp } from "../adapters/http/server.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { createLog } from "../adapters/system/log.ts";
import { findProgram } from "../adapters/system/programs.ts";
import { LockstepError } from "../core/errors.ts";
import { Refusals } from "../core/refusals.ts";
import type { Arguments, Command } from "./command.ts";
import { newId, onStopSignal } from "./common.ts";
import { pageFolder } from "./dashboard/page-folder.ts";
import { openFinishedJob } from "./dashboard/finished-job.ts";
import { findRun, runWords } from "./find-run.ts";

export const dashboard: Command = {
  name: "dashboard",
  summary: "Open the dashboard of a job in a browser: live while it runs, and afterwards from its folder.",
  argument: {
    name: "[JOB]",
    help: `${runWords} (default: the job that is running, or the only one in runs/)`,
    most: 1,
  },
  options: {
    run: { value: "N", help: "which run of the job (default: the one that is trained, else the newest)" },
    "no-open": { value: null, help: "print the address, and open no browser" },
  },
  details: `Examples:
  lockstep dashboard digits
  lockstep dashboard runs/digits/run-1

The coordinator serves a job that runs. What another one has left in its folder is served by this command itself, until Ctrl-C,
without a cluster. A job that runs on other machines serves it at its coordinator's --http address.`,
  run: runDashboard,
};

async function runDashboard(args: Arguments): Promise<number> {
  // A run that is trained is looked at live, also where its folder is named.
  const { directory, run, launch, isRunning } = await findRun(args.words[0] ?? null, args.whole("run", 1) ?? null);
  if (launch === null || !isRunning) return serveFinished(args, directory, run);
  if (launch.http === null) {
    throw new LockstepError("usage", `The coordinator of "${launch.job}" serves no HTTP.`, {
      hint: "Launch the job again with this version of lockstep.",
    });
  }
  show(args, `http://${launch.http}/`);
  return 0;
}

async function serveFinished(args: Arguments, directory: string, run: number | null): Promise<number> {
  const log = createLog({ stream: process.stderr, format: "text", level: "warn" });
  const source = await openFinishedJob(directory, run, log);
  const http = await serveHttp({ listen: "127.0.0.1:0", token: null, refusals: new Refusals(() => {}), log });
  const served = serveDashboard({
    ...{ http, source, clock: systemClock, boot: newId() },
    page: () => readPage(pageFolder),
  });
  http.note(null);
  show(args, `http://${http.address}/`);
  process.stderr.write("Ctrl-C ends it.\n");
  // The server alone would not keep the process.
  const staying = setInterval(() => {}, 60_000);
  await new Promise<void>((stop) => onStopSignal(() => stop()));
  clearInterval(staying);
  await served.close();
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
