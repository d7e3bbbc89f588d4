/** `lockstep launch`: a whole cluster on this machine, from set-up to summary. */
import { writeFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { assignGpus } from "../adapters/system/gpus.ts";
import { createLog } from "../adapters/system/log.ts";
import { recordFailure } from "../adapters/system/launch-record.ts";
import { checkNotRunning } from "../adapters/system/run-registry.ts";
import { chooseMode, createView, type LaunchView } from "../adapters/terminal/view.ts";
import { type EngineChoice, prepareEngine } from "../adapters/tfjs/prepare-engine.ts";
import { lossCurve } from "../core/curve.ts";
import { idsMeant } from "../core/checkpoint-id.ts";
import { exitCodes, LockstepError, messageOf } from "../core/errors.ts";
import { runKey } from "../core/keys.ts";
import { checkReplicas } from "../core/replicas.ts";
import { epochRecords, type ResultCheckpoint, type RunResult } from "../core/run-result.ts";
import { settingsWords } from "../core/settings.ts";
import type { CheckpointPointer, ClusterStatus } from "../core/status.ts";
import { readCheckpoints } from "../runtime/read-checkpoints.ts";
import { startChild } from "./child.ts";
import { defaultMaxRestarts } from "./cluster.ts";
import type { Arguments, Command } from "./command.ts";
import {
  budgetOf,
  dataPlaceOf,
  dataWords,
  logLevels,
  parseEndpoints,
  processLog,
  resumeOf,
  runOf,
  settingsOf,
  shared,
  wishOf,
  workersOf,
} from "./common.ts";
import { connectEtcd } from "./connect-etcd.ts";
import type { Evaluation } from "./evaluate.ts";
import { keepValid, type LocalCertificates, localCertificates } from "./local-certificates.ts";
import { checkPlace, openStorage } from "./open-storage.ts";
import { securityOptions } from "./security.ts";
import { checkpointsOf, openEtcdServer, type Session, type Settings, startSession } from "./session.ts";
import { StopRequest } from "./stop-request.ts";
import { stoppedText } from "./stopped-text.ts";
import { tensorBoardOptions, tensorBoardWish, writeWhatLacks } from "./tensorboard.ts";

export const launch: Command = {
  name: "launch",
  summary: "Train a job on a cluster on this machine.",
  argument: { name: "JOB.ts", help: "the job file" },
  options: {
    workers: {
      value: "N|MIN:MAX",
      help: "worker processes; MIN:MAX starts MAX, begins with MIN, and pauses below that (default: 1)",
    },
    spares: { value: "N", help: "more workers; those beyond MAX, or S without one, stand by and step in (default: 0)" },
    shards: { value: "S", help: "logical shards of every batch, fixed for the run (default: as many as workers)" },
    epochs: { value: "N", help: "train to this epoch, instead of the job file's" },
    job: shared.job,
    set: shared.set,
    param: shared.param,
    data: shared.data,
    "data-memory": shared.dataMemory,
    directory: { value: "DIR", help: "where the job's files go (default: runs/JOB)" },
    checkpoints: { value: "DIR|URL", help: "where checkpoints go, or s3://BUCKET/PREFIX (default: the run's folder)" },
    replicas: shared.replicas,
    resume: {
      value: "auto|never|best|latest|ID",
      help: "go on with the run (auto), from the best, latest or that checkpoint of it, or begin one beside it (never)",
    },
    run: shared.run,
    "allow-change": { value: null, help: "go on although what decides the bits was changed" },
    threads: { value: "N", help: "compute threads inside a worker (default: cores ÷ S)" },
    engine: shared.engine,
    device: shared.device,
    "failure-budget": shared.failureBudget,
    "max-restarts": { value: "N", help: "how often each process is started again after it failed (default: 5)" },
    ...tensorBoardOptions,
    "share-gpu": { value: null, help: "let workers share GPUs when there are more workers" },
    etcd: { value: "URL,…", help: "a running etcd (default: one is started for the job)" },
    tls: { value: null, help: "mutual TLS between all processes, by an authority made in the job's folder" },
    authority: { value: "DIR", help: "as --tls, by an authority that `lockstep certs init` has made" },
    insecure: securityOptions.insecure,
    "etcd-members": { value: "N", help: "how many members the etcd that is started has, 1 or 3 (default: 1)" },
    "log-level": { ...shared.logLevel, help: "of the coordinator's and the workers' logs (default: info)" },
    json: { value: null, help: "JSON lines on standard output, messages on standard error" },
  },
  details:
    "Starts etcd, a coordinator and workers as processes, watches them, and prints the result. Ctrl-C stops in order:\nthe step is finished and a checkpoint published; the same command goes on from there.",
  run: runLaunch,
};

async function runLaunch(args: Arguments): Promise<number> {
  const asked = await readSettings(args);
  const view = createView({
    mode: chooseMode(args.flag("json"), process.stdout),
    stdout: process.stdout,
    stderr: process.stderr,
    columns: () => process.stdout.columns ?? 100,
    color: process.stdout.isTTY === true && !process.env.NO_COLOR,
    policy: asked.job.checkpoint,
  });
  const stop = new StopRequest((line) => view.say(line));
  try {
    const result = await train(args, asked, { view, stop });
    return result === null ? exitCodes.interrupted : 0;
  } finally {
    stop.close();
    view.close();
  }
}

/** Who launches: a person at a terminal, or a program. */
export interface LaunchHost {
  readonly view: LaunchView;
  readonly stop: StopRequest;
  /** Called once the run is known. */
  readonly onSession?: (session: Session) => void;
}

/** A whole launch, from set-up to the result, with every process ended in order; null: it was stopped before its end. */
export async function train(
  args: Arguments,
  asked: Settings,
  { view, stop, onSession }: LaunchHost,
): Promise<RunResult | null> {
  const begunMs = systemClock.monotonicMs();
  await checkNotRunning(asked.jobName);
  const say = (line: string) => view.say(line);
  const closing: (() => Promise<void>)[] = [];
  try {
    const choice = await prepareEngine(wishOf(args), say);
    if (choice.notice) say(choice.notice);
    const gpuOf = (index: number) =>
      choice.device === "gpu" ? assignGpus(choice.gpus, index + 1, args.flag("share-gpu"))[index]! : null;
    gpuOf(asked.workers + asked.spares - 1);
    const checked = await check(asked, args, choice.kind, choice.device, say);
    const settings = { ...asked, certificates: await certificatesFor(asked, args) };
    if (settings.certificates) closing.push(keepValid(settings.certificates, say));
    const etcd = await openEtcdServer(args, settings, say, closing);
    await checkChange(settings, args, checked.engine, choice.device, etcd.endpoints);
    const session = await startSession(args, settings, etcd, { engine: checked.engine, gpuOf }, view, closing);
    const status = await session.status();
    onSession?.(session);
    view.earlier(status);
    if (status.state === "finished") {
      const trainOn = status.early ? "change checkpoint.earlyStopping in the job file" : "give a higher --epochs";
      say(
        `The job "${settings.jobName}" is finished: ${status.early ?? doneText(status)}. To train on, ${trainOn}; to start anew, --resume never.`,
      );
    } else {
      session.startWorkers();
    }
    const last = await session.follow(stop).catch(async (error: unknown) => {
      const failure = { run: session.record.run, reason: messageOf(error) };
      await recordFailure(settings.directory, failure).catch(() => {}); // what has failed first is told
      throw error;
    });
    if (last.state === "failed")
      throw new LockstepError(last.failure ?? "diverged", last.reason, {
        hint: `The logs are in ${session.logDirectory}.`,
      });
    if (last.state === "stopped") {
      view.update(last);
      const { checkpoints } = session;
      say(await stoppedText(last, { byUser: stop.requested, goOn: settings.goOn, checkpoints }));
      return null;
    }
    const board = tensorBoardWish(args);
    if (board) {
      const failed = (error: unknown) => say(`TensorBoard's files could not be written: ${messageOf(error)}`);
      await writeWhatLacks(board, last.history).catch(failed);
    }
    const evaluation = await evaluate(session, last, settings, args, checked.engine, say);
    const result = await finish(session, last, evaluation, settings, (systemClock.monotonicMs() - begunMs) / 1000);
    view.finished(result);
    return result;
  } finally {
    for (const close of closing.reverse()) await close().catch((error: unknown) => say(messageOf(error)));
  }
}

export async function readSettings(args: Arguments): Promise<Settings> {
  const loaded = await loadJob(args.argument, settingsOf(args));
  const jobName = args.text("job") ?? loaded.job.name;
  if (!/^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(jobName)) {
    throw new LockstepError(
      "usage",
      `--job is ${JSON.stringify(jobName)}; letters, digits, "-", "_" and "." were expected.`,
    );
  }
  const wanted = workersOf(args);
  const workers = wanted.bounds?.max ?? wanted.workers;
  const spares = args.whole("spares", 0) ?? 0;
  budgetOf(args);
  const shards = args.whole("shards", 1);
  args.whole("epochs", 1);
  args.whole("threads", 1);
  checkReplicas(args.whole("replicas", 0) ?? 0, workers);
  resumeOf(args);
  runOf(args);
  args.oneOf("log-level", logLevels);
  if (args.text("etcd") !== undefined) parseEndpoints(args.text("etcd")!);
  if (args.text("etcd") !== undefined && args.text("etcd-members") !== undefined) {
    throw new LockstepError("usage", "--etcd names a running etcd, so --etcd-members has nothing to start.", {
      hint: "Give one of the two.",
    });
  }
  args.oneOf("etcd-members", ["1", "3"]);
  checkSecurity(args);
  tensorBoardWish(args);
  if (shards !== undefined && workers > shards) {
    throw new LockstepError(
      "usage",
      `${workers} workers cannot share ${shards} shards: every worker needs at least one.`,
      {
        hint: `Use at most ${shards} workers, or --shards ${workers} or more.`,
      },
    );
  }
  await checkPlace(args.text("checkpoints"), args.whole("replicas", 0) ?? 0, processLog(args));
  return {
    job: loaded.job,
    jobName,
    jobPath: loaded.path,
    goOn: {
      words: [args.argument, "--job", jobName, ...args.optionsBut("job", "epochs", "resume", "run", "allow-change")],
      epochs: args.text("epochs") ?? null,
    },
    workers,
    spares,
    maxRestarts: args.whole("max-restarts", 0) ?? defaultMaxRestarts,
    directory: resolve(args.text("directory") ?? join("runs", jobName)),
    data: dataPlaceOf(args, loaded.directory),
    certificates: null,
  };
}

function checkSecurity(args: Arguments): void {
  const isSecure = args.flag("tls") || args.text("authority") !== undefined;
  if (isSecure && args.flag("insecure")) {
    throw new LockstepError("usage", "--insecure is given, and TLS too.", { hint: "One of the two is meant." });
  }
  if (args.flag("tls") && args.text("authority") === undefined && args.text("etcd") !== undefined) {
    throw new LockstepError(
      "usage",
      "--etcd names a running etcd, which knows nothing of an authority made for this job.",
      {
        hint: "Name the authority that signed etcd's certificate by --authority DIR.",
      },
    );
  }
}

async function certificatesFor({ directory, jobName }: Settings, args: Arguments): Promise<LocalCertificates | null> {
  const authority = args.text("authority");
  if (authority === undefined && !args.flag("tls")) return null;
  return localCertificates(directory, jobName, authority === undefined ? null : resolve(authority));
}

/** What `lockstep check` tells its parent. */
export interface Checked {
  readonly engine: EngineChoice["kind"];
  readonly trainingSamples: number;
  readonly lines: readonly string[];
}

/** Opens engine, data and model once, in a process of its own, before anything else is started. */
async function check(
  settings: Settings,
  args: Arguments,
  engine: EngineChoice["kind"],
  device: EngineChoice["device"],
  say: (line: string) => void,
): Promise<Checked> {
  const shards = String(args.whole("shards", 1) ?? settings.workers);
  const fallBack = args.text("engine") ? [] : ["--fall-back"];
  const options = [...dataWords(settings.data), "--engine", engine, "--device", device, "--shards", shards];
  const here = ["--workers", String(settings.workers), ...settingsWords(settings.job.settings)];
  const checked = await runCheck([settings.jobPath, ...options, ...here, ...fallBack], say);
  checked.lines.forEach(say);
  return checked;
}

/** That the job as it is now can go on from the checkpoint that is meant, before a start that may change something has changed anything. */
async function checkChange(
  { job, jobName, jobPath, data, directory, certificates }: Settings,
  args: Arguments,
  engine: EngineChoice["kind"],
  device: EngineChoice["device"],
  endpoints: readonly string[],
): Promise<void> {
  if (!args.flag("allow-change") || args.text("resume") === "never") return;
  const log = createLog({ stream: process.stderr, format: "text", level: "error" });
  const etcd = connectEtcd(endpoints, budgetOf(args), log, certificates?.operator ?? null);
  try {
    if (!(await etcd.get(runKey(jobName)))) return;
    const { record, pointers, records } = await readCheckpoints(etcd, jobName, runOf(args));
    const wanted = resumeOf(args);
    const word = typeof wanted === "object" ? wanted.checkpoint : "latest";
    const named = word === "best" || word === "latest" ? pointers[word]?.id : idsMeant(word, [...records.keys()])[0];
    if (named === undefined) return;
    const checkpoints = checkpointsOf(args, join(directory, `run-${record.run}`));
    const options = [...dataWords(data), "--engine", engine, "--device", device, ...settingsWords(job.settings)];
    await runCheck([jobPath, ...options, "--checkpoints", checkpoints, "--checkpoint", named], () => {});
  } finally {
    await etcd.close();
  }
}

async function runCheck(words: readonly string[], say: (line: string) => void): Promise<Checked> {
  const child = await startChild({ name: "check", args: ["check", ...words], logFile: null, onWarning: say });
  const checked = await child.waitFor<Checked>("checked");
  await child.exited;
  return checked;
}

/** Evaluates `best` and `latest` on the test data, and makes the job's report, in a process of its own. */
async function evaluate(
  session: Session,
  last: ClusterStatus,
  settings: Settings,
  args: Arguments,
  engine: EngineChoice["kind"],
  say: (line: string) => void,
): Promise<Evaluation> {
  if (!settings.job.test && !settings.job.report) return { test: {}, report: null };
  const wanted = new Set([last.best?.id ?? last.latest?.id, last.latest?.id].filter((id) => id !== undefined));
  const log = createLog({ stream: process.stderr, format: "text", level: "error" });
  const stored = (await (await openStorage(session.checkpoints, log)).list()).map(({ id }) => id);
  const ids = [...wanted].filter((id) => stored.includes(id));
  for (const id of wanted) if (!stored.includes(id)) say(`${id} is not there any more, so it is not evaluated.`);
  if (ids.length === 0) return { test: {}, report: null };
  const child = await startChild({
    name: "evaluate",
    args: [
      "evaluate",
      settings.jobPath,
      ...[...dataWords(settings.data), "--checkpoints", session.checkpoints, "--engine", engine],
      ...(args.text("device") ? ["--device", args.text("device")!] : []),
      ...["--threads", String(session.record.threads), "--shards", String(session.record.shards)],
      ...ids.flatMap((id) => ["--checkpoint", id]),
    ],
    logFile: join(session.logDirectory, "evaluate.log"),
    onWarning: () => {},
  });
  const evaluation = await child.waitFor<Evaluation>("evaluated");
  await child.exited;
  return evaluation;
}

async function finish(
  session: Session,
  last: ClusterStatus,
  evaluation: Evaluation,
  settings: Settings,
  seconds: number,
): Promise<RunResult> {
  const { latest, best } = last;
  if (!latest) throw new LockstepError("internal", "The run has finished without a checkpoint.");
  const curve = join(session.runDirectory, "curve.svg");
  await writeFile(
    curve,
    lossCurve(last.history, settings.job.checkpoint, { of: { job: settings.jobName, run: session.record.run } }),
  );
  const result: RunResult = {
    job: settings.jobName,
    epochs: last.epoch,
    steps: latest.step,
    weightsDigest: latest.weightsDigest,
    monitor: settings.job.checkpoint.monitor,
    minDelta: settings.job.checkpoint.minDelta,
    best: best && resultOf(best),
    latest: resultOf(latest),
    history: epochRecords(last.history),
    test: best ? (evaluation.test[best.id] ?? null) : null,
    testLatest: evaluation.test[latest.id] ?? null,
    generations: last.generation,
    early: last.early,
    equivalences: last.equivalences,
    directory: relative(process.cwd(), session.runDirectory) || ".",
    report: evaluation.report,
    curve: relative(process.cwd(), curve),
    seconds,
    goOn: settings.goOn,
  };
  return result;
}

function resultOf(pointer: CheckpointPointer): ResultCheckpoint {
  const { epoch, step, monitor, value, location } = pointer;
  return { epoch, step, monitor, value, path: location };
}

function doneText({ epoch, epochs }: ClusterStatus): string {
  return epoch > epochs ? `it has ${epoch} epochs, and ${epochs} are wanted now` : `${epoch} of ${epochs} epochs`;
}
