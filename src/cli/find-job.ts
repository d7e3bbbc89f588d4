/** The running job that a command is about, and a connection to its coordinator. */
import { type ControlConnection, connectControl } from "../adapters/grpc/control.ts";
import { type RegisteredRun, readRun, runningJobs } from "../adapters/system/run-registry.ts";
import { createLog } from "../adapters/system/log.ts";
import type { CertificateFolder } from "../adapters/tls/certificate-folder.ts";
import { LockstepError } from "../core/errors.ts";
import type { Arguments } from "./command.ts";
import { certificatesOf } from "./local-certificates.ts";
import { checkCoordinator, openSecurity, securityOptions } from "./security.ts";

const deadlineMs = 3000;
const whenNoneRuns =
  "Start one with `lockstep launch JOB.ts`; `lockstep history` and `lockstep dashboard` show what one that is over has come to.";

export const whichJob = {
  job: { value: "NAME", help: "which job (default: the one that is running)" },
  coordinator: { value: "HOST:PORT", help: "ask this coordinator, for instance on another machine" },
  ...securityOptions,
};

export interface FoundJob {
  readonly control: ControlConnection;
  /** Null where the coordinator was named: its processes may be anywhere. */
  readonly run: RegisteredRun | null;
  close(): void;
}

/** Whoever calls closes it. */
export async function connectToJob(args: Arguments): Promise<FoundJob> {
  const address = args.text("coordinator");
  if (address === undefined) {
    const run = await findJob(args.text("job"));
    // The processes of a launch on this machine have certificates of its own.
    return found(run.coordinator, await certificatesOf(run), run);
  }
  const security = await openSecurity(args, createLog({ stream: process.stderr, format: "text", level: "warn" }));
  checkCoordinator(address, security);
  return found(address, security.certificates, null);
}

function found(address: string, certificates: CertificateFolder | null, run: RegisteredRun | null): FoundJob {
  const control = connectControl(address, deadlineMs, certificates);
  const close = () => {
    control.close();
    certificates?.close();
  };
  return { control, run, close };
}

/** "usage": none is running on this machine, or several, or not that one. */
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
        hint: running.length > 0 ? `Running: ${running.map((run) => run.job).join(", ")}.` : whenNoneRuns,
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
      hint: running.length === 0 ? whenNoneRuns : "Name one with --job.",
    },
  );
}
