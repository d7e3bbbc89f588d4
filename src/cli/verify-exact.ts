/** `lockstep verify-exact`: trains a job again and again, with other numbers of workers and through kills, and compares. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { exitCodes, LockstepError } from "../core/errors.ts";
import {
  combinations,
  describe,
  isExact,
  judgeAll,
  type Outcome,
  summarize,
  verificationText,
} from "../core/verification.ts";
import { settingsWords } from "../core/settings.ts";
import { startChild } from "./child.ts";
import type { Arguments, Command } from "./command.ts";
import { dataPlaceOf, dataWords, onStopSignal, settingsOf, shared } from "./common.ts";
import { verifiedRun } from "./verified-run.ts";

export const verifyExact: Command = {
  name: "verify-exact",
  summary: "Prove that a job comes to the same bits with any number of workers, and through kills.",
  argument: { name: "JOB.ts", help: "the job file" },
  options: {
    workers: { value: "N,…", help: "numbers of workers to compare (default: 1,2,3,4)" },
    kill: { value: null, help: "disturb each of them too: leader and coordinator killed; everything killed" },
    epochs: { value: "N", help: "train to this epoch, instead of the job file's" },
    shards: { value: "S", help: "logical shards of every batch (default: the largest number of workers)" },
    set: shared.set,
    param: shared.param,
    data: shared.data,
    "data-memory": shared.dataMemory,
    threads: { value: "N", help: "compute threads inside a worker (default: cores ÷ S)" },
    engine: shared.engine,
    device: shared.device,
    tls: { value: null, help: "every run with mutual TLS between its processes" },
    json: { value: null, help: "one JSON line a run on standard output, and a last one with the verdict" },
  },
  details:
    "Every run has an etcd, a coordinator and workers of its own, in a temporary folder. Exit code 0 if all weights and\nall numbers of the histories are equal; 1 if not, if fewer than two runs finished, or if one that was to be disturbed\nwas over before; what `check` ends with, if the job cannot be trained at all.",
  run: runVerifyExact,
};

async function runVerifyExact(args: Arguments): Promise<number> {
  const workers = workersOf(args);
  const shards = args.whole("shards", 1) ?? Math.max(...workers);
  args.whole("epochs", 1);
  args.whole("threads", 1);
  const most = Math.max(...workers);
  if (most > shards) {
    throw new LockstepError(
      "usage",
      `${most} workers cannot share ${shards} shards: every worker needs at least one.`,
      {
        hint: `Use --shards ${most} or more.`,
      },
    );
  }
  const settings = settingsOf(args);
  const { path: jobPath, directory } = await loadJob(args.argument, settings);
  const given = (...names: string[]) =>
    names.flatMap((name) => (args.text(name) === undefined ? [] : [`--${name}`, args.text(name)!]));
  const checked = [
    "--shards",
    String(shards),
    ...dataWords(dataPlaceOf(args, directory)),
    ...given("engine", "device"),
    ...settingsWords(settings),
  ];
  const words = [...checked, ...given("epochs", "threads"), ...(args.flag("tls") ? ["--tls"] : [])];
  await check([jobPath, ...checked, ...(args.text("engine") === undefined ? ["--fall-back"] : [])]);
  const stopping = new AbortController();
  const forget = onStopSignal(() => stopping.abort());
  const folder = await mkdtemp(join(tmpdir(), "lockstep-verify-"));
  const planned = combinations(workers, args.flag("kill"));
  const results: { combination: (typeof planned)[number]; outcome: Outcome }[] = [];
  try {
    for (const [i, combination] of planned.entries()) {
      process.stderr.write(
        `${i + 1} of ${planned.length}: ${combination.workers} worker${combination.workers === 1 ? "" : "s"}, disturbance: ${describe(combination)} …\n`,
      );
      const runFolder = join(folder, String(i));
      await mkdir(runFolder);
      const job = `verify-${process.pid}-${i}`;
      const outcome = await verifiedRun(combination, {
        ...{ job, jobPath, words, directory: runFolder },
        signal: stopping.signal,
      });
      if (stopping.signal.aborted) return exitCodes.interrupted;
      results.push({ combination, outcome });
      const row = judgeAll(results).at(-1)!;
      if (args.flag("json")) {
        print({ event: "combination", ...combination, verdict: row.verdict, ...withoutHistory(outcome) });
      }
    }
  } finally {
    forget();
    await rm(folder, { recursive: true, force: true });
  }
  const rows = judgeAll(results);
  const summary = summarize(rows);
  if (args.flag("json")) print(summary);
  else process.stdout.write(`${verificationText(rows, shards)}\n`);
  return isExact(summary) ? 0 : 1;
}

/** What every run would find out for itself is found out once, and ends this with the code that `check` ends with. */
async function check(words: readonly string[]): Promise<void> {
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  const child = await startChild({ name: "check", args: ["check", ...words], logFile: null, onWarning: say });
  await child.waitFor("checked");
  await child.exited;
}

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function withoutHistory(outcome: Outcome): object {
  if (outcome.kind !== "finished") return outcome;
  const { kind, weightsDigest, steps, generations } = outcome;
  return { kind, weightsDigest, steps, generations };
}

function workersOf(args: Arguments): readonly number[] {
  const text = args.text("workers") ?? "1,2,3,4";
  const counts = text.split(",").map(Number);
  if (text.split(",").some((word) => !/^[1-9]\d*$/.test(word))) {
    throw new LockstepError("usage", `--workers is ${JSON.stringify(text)}; numbers such as 1,2,4 were expected.`);
  }
  return counts;
}
