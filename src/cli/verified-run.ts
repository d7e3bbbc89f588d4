/** One combination of `verify-exact`: a launch in processes of its own, disturbed on purpose, and what it came to. */
import { connectControl } from "../adapters/grpc/control.ts";
import { type RunningProcess, startProcess } from "../adapters/system/child-process.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { readRun } from "../adapters/system/run-registry.ts";
import type { CertificateFolder } from "../adapters/tls/certificate-folder.ts";
import type { ClusterStatus } from "../core/status.ts";
import type { Combination, Outcome } from "../core/verification.ts";
import { program } from "./child.ts";
import { certificatesOf } from "./local-certificates.ts";

const pollMs = 30;
const graceMs = 30_000;

export interface VerifiedRunOptions {
  /** The launch's own name, which no other job has. */
  readonly job: string;
  readonly jobPath: string;
  readonly directory: string;
  /** --shards, --epochs, --data and the like. */
  readonly words: readonly string[];
  readonly signal: AbortSignal;
}

export async function verifiedRun(combination: Combination, options: VerifiedRunOptions): Promise<Outcome> {
  const first = await startLaunch(combination.workers, options);
  if (combination.fault === "none") return first.outcome();
  const target = await whenUnderWay(options.job, first.process);
  if (!target) {
    const outcome = await first.outcome();
    return outcome.kind === "failed"
      ? outcome
      : { kind: "skipped", reason: "it was over before it could be disturbed" };
  }
  if (combination.fault === "kill-some") {
    const leader = target.processes.find((process) => process.leader);
    const coordinator = target.processes.find((process) => process.role === "coordinator");
    const killed = [leader, coordinator].filter((process) => kill(process?.pid)).length;
    const outcome = await first.outcome();
    if (outcome.kind !== "finished" || (killed === 2 && outcome.generations > target.generation)) return outcome;
    return { kind: "skipped", reason: "it was over before the loss was noticed" };
  }
  const registered = await readRun(options.job);
  // The launch first, so that it starts nothing anew.
  for (const pid of [
    first.process.pid,
    ...(registered?.etcdPids ?? []),
    ...target.processes.map((process) => process.pid),
  ]) {
    kill(pid);
  }
  const { signal } = await first.process.exited;
  if (signal !== "SIGKILL") return { kind: "skipped", reason: "it was over before it could be killed" };
  return (await startLaunch(combination.workersAfter, options)).outcome();
}

interface Launch {
  readonly process: RunningProcess;
  outcome(): Promise<Outcome>;
}

async function startLaunch(
  workers: number,
  { job, jobPath, directory, words, signal }: VerifiedRunOptions,
): Promise<Launch> {
  let last = "";
  const said: string[] = [];
  const started = await startProcess({
    program: process.execPath,
    args: [
      ...[program, "launch", jobPath, "--json", "--job", job, "--directory", directory],
      ...["--workers", String(workers), ...words],
    ],
    onLine: (line, stream) => {
      if (stream === "stdout") last = line;
      else said.push(line);
    },
    // The channel tells the launch when this process is gone.
    onMessage: () => {},
  });
  const onAbort = () => void started.stop(graceMs);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  return {
    process: started,
    async outcome() {
      const exit = await started.exited;
      signal.removeEventListener("abort", onAbort);
      const event = exit.code === 0 ? (JSON.parse(last) as Record<string, unknown>) : null; // its documented last line
      if (event?.event !== "finished") {
        const sentence = said
          .filter((line) => line.startsWith("lockstep: "))
          .at(-1)
          ?.slice("lockstep: ".length);
        return { kind: "failed", reason: sentence ?? `launch ended with ${exit.signal ?? exit.code}` };
      }
      return {
        kind: "finished",
        weightsDigest: String(event.weightsDigest),
        history: JSON.stringify(event.history),
        generations: Number(event.generations),
        steps: Number(event.steps),
      };
    },
  };
}

/** The status once a third of the steps is done, in the middle of an epoch; null if the launch ends before. */
async function whenUnderWay(job: string, launch: RunningProcess): Promise<ClusterStatus | null> {
  let certificates: CertificateFolder | null = null;
  while (launch.exit === null) {
    const run = await readRun(job);
    if (run?.tls) certificates ??= await certificatesOf(run);
    const control = run && connectControl(run.coordinator, 1000, certificates);
    const status = control && (await control.status().catch(() => null));
    control?.close();
    if (status?.state === "training" && status.running && status.step * 3 >= status.epochs * status.stepsPerEpoch) {
      return status;
    }
    await systemClock.sleep(pollMs);
  }
  return null;
}

function kill(pid: number | null | undefined): boolean {
  if (!pid) return false;
  try {
    return process.kill(pid, "SIGKILL");
  } catch {
    return false; // it ended by itself
  }
}
