/** `lockstep gameday`: faults on purpose, one after the other, in a run of the user's job; and the proof that they changed nothing. */
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { prepareEngine } from "../adapters/tfjs/prepare-engine.ts";
import { exitCodes, LockstepError } from "../core/errors.ts";
import {
  chooseFaults,
  faultNames,
  type Finding,
  gamedayText,
  judgePromises,
  summarizeGameday,
  verdictOf,
} from "../core/gameday.ts";
import type { Arguments, Command } from "./command.ts";
import { budgetOf, dataPlaceOf, onStopSignal, settingsOf, shared, wishOf } from "./common.ts";
import { runGameday } from "./gameday/run.ts";

const defaultWorkers = 3;
/** `scale` goes up to four workers, and every one of them needs a shard. */
const leastShards = 4;
/** Far more than any gameday gets to; the run is stopped when the last fault is over. */
const epochs = 1_000_000;

export const gameday: Command = {
  name: "gameday",
  summary: "Kill, stop, cut off and corrupt a run's processes on purpose, and prove that nothing was lost.",
  argument: { name: "JOB.ts", help: "the job file" },
  options: {
    workers: { value: "N", help: "worker processes, at least 2; some faults need 3 (default: 3)" },
    faults: { value: "NAME,…", help: "only these (default: all)" },
    directory: { value: "DIR", help: "where the runs' files go, and stay (default: a temporary folder)" },
    set: shared.set,
    param: shared.param,
    data: shared.data,
    threads: { value: "N", help: "compute threads inside a worker (default: cores ÷ workers)" },
    engine: shared.engine,
    device: shared.device,
    tls: { value: null, help: "mutual TLS between all processes, by an authority of gameday's own" },
    "failure-budget": shared.failureBudget,
    slack: { value: "N", help: "multiplies the time limits, on a machine that has other things to do (default: 1)" },
    json: { value: null, help: "one JSON line a fault and a promise, instead of the table" },
  },
  details: `A cluster of its own (etcd of three members, a coordinator, workers) trains the job; the faults are injected one after
the other into that one run; then the job is trained again without faults, and every epoch is compared.
Faults: ${faultNames.join(", ")}.
The last line is JSON: {run, failed, skipped, faults: {kind: count}}. Exit code 0 only if nothing failed, and not
everything was skipped. All faults of a job with short epochs take about five minutes on an\nidle machine.`,
  run: runGamedayCommand,
};

async function runGamedayCommand(args: Arguments): Promise<number> {
  const chosen = chooseFaults(args.text("faults"));
  const workers = args.whole("workers", 2) ?? defaultWorkers;
  const slack = args.whole("slack", 1) ?? 1;
  const { budgetMs } = budgetOf(args);
  const threads = args.whole("threads", 1) ?? Math.max(1, Math.floor(availableParallelism() / workers));
  const { job, path: jobPath, directory: jobDirectory } = await loadJob(args.argument, settingsOf(args));
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const choice = await prepareEngine(wishOf(args), say);
  const given = args.text("directory");
  const directory =
    given === undefined ? await mkdtemp(join(tmpdir(), "lockstep-gameday-")) : await emptyFolder(resolve(given));
  const stopping = new AbortController();
  const forget = onStopSignal(() => stopping.abort());
  const json = args.flag("json");
  let hasPassed = false;
  try {
    const { findings, run } = await runGameday({
      plan: {
        ...{ jobPath, settings: job.settings, threads, epochs, budgetMs, secure: args.flag("tls") },
        dataDirectory: dataPlaceOf(args, jobDirectory).directory,
        engineWords: ["--engine", choice.kind, "--device", choice.device],
        shards: Math.max(workers, leastShards),
      },
      ...{ job: `${job.name}-gameday`, directory, workers, chosen, slack, say },
      signal: stopping.signal,
      onFinding: (finding) => say(`  ${verdictOf(finding)}${reasonOf(finding)}`),
    });
    if (stopping.signal.aborted) return exitCodes.interrupted;
    const promises = judgePromises(findings, run);
    const summary = summarizeGameday(findings, promises);
    if (json) {
      for (const finding of findings) print({ event: "fault", verdict: verdictOf(finding), ...finding });
      for (const promise of promises) print({ event: "promise", ...promise });
    } else process.stdout.write(`${gamedayText(findings, promises)}\n\n`);
    print(summary);
    hasPassed = summary.failed === 0 && summary.run > 0;
    return hasPassed ? 0 : 1;
  } finally {
    forget();
    if (given === undefined && (hasPassed || stopping.signal.aborted)) {
      await rm(directory, { recursive: true, force: true });
    } else if (given === undefined) say(`The logs of all processes are in ${directory}.`);
  }
}

function reasonOf({ problems, skipped }: Finding): string {
  if (problems.length > 0) return `: ${problems.join("; ")}`;
  return skipped === null ? "" : `: ${skipped}`;
}

/** A run of before would be gone on with, and compared with one that begins anew. */
async function emptyFolder(folder: string): Promise<string> {
  const made = await mkdir(folder, { recursive: true });
  if (made === undefined && (await readdir(folder)).length > 0) {
    throw new LockstepError("usage", `--directory is ${folder}, which is not empty.`, {
      hint: "Name a folder that is new or empty: gameday begins its runs anew.",
    });
  }
  return folder;
}

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
