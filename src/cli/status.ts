/** `lockstep status`: what a job on this machine is doing. */
import { statusTable } from "../adapters/terminal/status-table.ts";
import type { ProcessStatus } from "../core/status.ts";
import type { Arguments, Command } from "./command.ts";
import { shared } from "./common.ts";
import { connectToJob, whichJob } from "./find-job.ts";
import { watchStatus } from "./watch-status.ts";

export const status: Command = {
  name: "status",
  summary: "Show what a running job is doing.",
  argument: null,
  options: {
    ...whichJob,
    watch: { value: null, help: "go on showing it until the run ends" },
    json: { ...shared.json, help: "print JSON; with --watch lines of it, as `lockstep launch --json` does" },
  },
  details: `With --watch, a terminal shows the epoch under way and what is left; elsewhere there is a line for each change. It ends with the
run: 0 when that is finished, 130 when it was stopped before, else with the exit code that the run failed with. Ctrl-C ends only the
watching, also with 130. Colour is left out where NO_COLOR is set.`,
  run: (args) => (args.flag("watch") ? watchStatus(args) : runStatus(args)),
};

async function runStatus(args: Arguments): Promise<number> {
  const { control, run, close } = await connectToJob(args);
  try {
    const now = await control.status();
    const extra: ProcessStatus[] = run
      ? [bare("launch", run.pid, null), ...run.etcdPids.map((pid, i) => bare("etcd", pid, run.etcd[i] ?? null))]
      : [];
    const whole = { ...now, processes: [...extra, ...now.processes] };
    process.stdout.write(args.flag("json") ? `${JSON.stringify(whole)}\n` : `${statusTable(whole)}\n`);
    return 0;
  } finally {
    close();
  }
}

function bare(role: ProcessStatus["role"], pid: number, address: string | null): ProcessStatus {
  return { role, workerId: null, rank: null, leader: false, pid, address, epoch: null, step: null, lease: null };
}
