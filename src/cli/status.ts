/** `lockstep status`: what a job on this machine is doing. */
import { connectControl } from "../adapters/grpc/control.ts";
import { type RegisteredRun, readRun, runningJobs } from "../adapters/system/run-registry.ts";
import { createLog } from "../adapters/system/log.ts";
import { statusTable } from "../adapters/terminal/status-table.ts";
import { LockstepError } from "../core/errors.ts";
import type { ProcessStatus } from "../core/status.ts";
import type { Arguments, Command } from "./command.ts";
import { shared } from "./common.ts";
import { certificatesOf } from "./local-certificates.ts";
import { checkCoordinator, openSecurity, securityOptions } from "./security.ts";

export const status: Command = {
  name: "status",
  summary: "Show what a running job is doing.",
  argument: null,
  options: {
    job: { value: "NAME", help: "which job (default: the one that is running)" },
    coordinator: { value: "HOST:PORT", help: "ask this coordinator, for instance on another machine" },
    ...securityOptions,
    json: shared.json,
  },
  run: runStatus,
};

async function runStatus(args: Arguments): Promise<number> {
  const address = args.text("coordinator");
  const run = address ? null : await findJob(args.text("job"));
  const log = createLog({ stream: process.stderr, format: "text", level: "warn" });
  // The processes of a launch on this machine have certificates of its own.
  const security = run === null ? await openSecurity(args, log) : null;
  if (address !== undefined && security) checkCoordinator(address, security);
  const certificates = run === null ? (security?.certificates ?? null) : await certificatesOf(run);
  const control = connectControl(address ?? run!.coordinator, 3000, certificates);
  try {
    const now = await control.status();
    const extra: ProcessStatus[] = run
      ? [bare("launch", run.pid, null), ...run.etcdPids.map((pid, i) => bare("etcd", pid, run.etcd[i] ?? null))]
      : [];
    const whole = { ...now, processes: [...extra, ...now.processes] };
    process.stdout.write(args.flag("json") ? `${JSON.stringify(whole)}\n` : `${statusTable(whole)}\n`);
    return 0;
  } finally {
    control.close();
    certificates?.close();
  }
}

async function findJob(name: string | undefined): Promise<RegisteredRun> {
  const running = await runningJobs();
  if (name !== undefined) {
    const found = running.find((run) => run.job === name);
    if (found) return found;
    const known = await readRun(name);
    throw new LockstepError(
      "usage",
      known
        ? `The job "${name}" is not running any more; its files are in ${known.directory}.`
        : `No job "${name}" was launched on this machine.`,
      {
        hint:
          running.length > 0
            ? `Running: ${running.map((run) => run.job).join(", ")}.`
            : "Start one with `lockstep launch JOB.ts`.",
      },
    );
  }
  if (running.length === 1) return running[0]!;
  throw new LockstepError(
    "usage",
    running.length === 0
      ? "No job is running on this machine."
      : `${running.length} jobs are running: ${running.map((run) => run.job).join(", ")}.`,
    {
      hint: running.length === 0 ? "Start one with `lockstep launch JOB.ts`." : "Name one with --job.",
    },
  );
}

function bare(role: ProcessStatus["role"], pid: number, address: string | null): ProcessStatus {
  return { role, workerId: null, rank: null, leader: false, pid, address, epoch: null, step: null, lease: null };
}
