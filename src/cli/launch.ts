/** `lockstep launch`: a whole cluster on this machine, from set-up to summary. */
import { mkdir, writeFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { type ControlConnection, connectControl } from "../adapters/grpc/control.ts";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { type EtcdServer, startEtcd } from "../adapters/system/etcd-process.ts";
import { prepareEtcd } from "../adapters/system/etcd-program.ts";
import { assignGpus } from "../adapters/system/gpus.ts";
import { createLog } from "../adapters/system/log.ts";
import { checkNotRunning, forgetRun, registerRun } from "../adapters/system/run-registry.ts";
import { chooseMode, createView, type LaunchView } from "../adapters/terminal/view.ts";
import { type EngineChoice, prepareEngine } from "../adapters/tfjs/prepare-engine.ts";
import { lossCurve } from "../core/curve.ts";
import { LockstepError, messageOf } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import { runKey } from "../core/keys.ts";
import type { JobRecord } from "../core/records.ts";
import { epochRecords, type ResultCheckpoint, type RunResult } from "../core/run-result.ts";
import type { CheckpointPointer, ClusterStatus } from "../core/status.ts";
import { startChild } from "./child.ts";
import { LocalCluster } from "./cluster.ts";
import type { Arguments, Command } from "./command.ts";
import { budgetOf, connectEtcd, parseEndpoints, shared, wishOf } from "./common.ts";
import type { Evaluation } from "./evaluate.ts";

export const launch: Command = {
  name: "launch",
  summary: "Train a job on a cluster on this machine.",
  argument: { name: "JOB.ts", help: "the job file" },
  options: {
    workers: { value: "N", help: "worker processes (default: 1)" },
    shards: { value: "S", help: "logical shards of every batch, fixed for the run (default: as many as workers)" },
    epochs: { value: "N", help: "train to this epoch, instead of the job file's" },
    job: shared.job,
    data: shared.data,
    directory: { value: "DIR", help: "where the job's files go (default: runs/JOB)" },
    checkpoints: { value: "DIR", help: "where checkpoints go (default: in the run's folder)" },
    resume: { value: "auto|never", help: "go on with the newest run, or begin one beside it (default: auto)" },
    "allow-change": { value: null, help: "go on although what decides the bits was changed" },
    threads: { value: "N", help: "compute threads inside a worker (default: cores ÷ S)" },
    engine: shared.engine,
    device: shared.device,
    "share-gpu": { value: null, help: "let workers share GPUs when there are more workers" },
    etcd: { value: "URL,…", help: "a running etcd (default: one is started for the job)" },
    json: { value: null, help: "JSON lines on standard output, messages on standard error" },
  },
  details:
    "Starts etcd, a coordinator and workers as processes, watches them, and prints the result. Ctrl-C stops in order:\nthe step is finished and a checkpoint published; the same command goes on from there.",
  run: runLaunch,
};

const pollMs = 150;
const graceMs = 30_000;
const controlDeadlineMs = 2000;

interface Settings {
  readonly job: Job;
  readonly jobName: string;
  readonly jobPath: string;
  readonly jobFile: string;
  readonly workers: number;
  readonly directory: string;
  readonly dataDirectory: string;
}

async function runLaunch(args: Arguments): Promise<number> {
  const begunMs = systemClock.monotonicMs();
  const settings = await readSettings(args);
  const { job } = settings;
  await checkNotRunning(settings.jobName);
  const view = createView({
    mode: chooseMode(args.flag("json"), process.stdout),
    stdout: process.stdout,
    stderr: process.stderr,
    columns: () => process.stdout.columns ?? 100,
    color: process.stdout.isTTY === true && !process.env.NO_COLOR,
    policy: job.checkpoint,
  });
  const say = (line: string) => view.say(line);
  const stop = new StopRequest(say);
  const closing: (() => Promise<void>)[] = [];
  try {
    const choice = await prepareEngine(wishOf(args), say);
    if (choice.notice) say(choice.notice);
    const gpus = choice.device === "gpu" ? assignGpus(choice.gpus, settings.workers, args.flag("share-gpu")) : null;
    const checked = await check(settings, args, choice, say);
    const etcd = await openEtcdServer(args, settings, say, closing);
    const session = await startSession(args, settings, etcd, view, closing);
    const status = await session.status();
    if (status.state === "finished") {
      say(
        `The job "${settings.jobName}" is finished: ${status.epoch} of ${status.epochs} epochs. To train on, give a higher --epochs; to start anew, --resume never.`,
      );
    } else {
      startWorkers(session, settings, args, checked.engine, gpus);
    }
    const last = await session.follow(stop);
    if (last.state === "failed")
      throw new LockstepError("diverged", last.reason, { hint: `The logs are in ${session.logDirectory}.` });
    if (stop.requested && last.state !== "finished") {
      view.update(last);
      say(stoppedLine(last, settings));
      return 130;
    }
    const evaluation = await evaluate(session, last, settings, args, checked.engine);
    const result = await finish(session, last, evaluation, settings, (systemClock.monotonicMs() - begunMs) / 1000);
    view.finished(result);
    return 0;
  } finally {
    stop.close();
    for (const close of closing.reverse()) await close().catch((error: unknown) => say(messageOf(error)));
    view.close();
  }
}

async function readSettings(args: Arguments): Promise<Settings> {
  const jobPath = resolve(args.argument);
  const loaded = await loadJob(args.argument);
  const jobName = args.text("job") ?? loaded.job.name;
  if (!/^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(jobName)) {
    throw new LockstepError(
      "usage",
      `--job is ${JSON.stringify(jobName)}; letters, digits, "-", "_" and "." were expected.`,
    );
  }
  const workers = args.whole("workers", 1) ?? 1;
  const shards = args.whole("shards", 1);
  args.whole("epochs", 1);
  args.whole("threads", 1);
  args.oneOf("resume", ["auto", "never"]);
  if (args.text("etcd") !== undefined) parseEndpoints(args.text("etcd")!);
  if (shards !== undefined && workers > shards) {
    throw new LockstepError(
      "usage",
      `${workers} workers cannot share ${shards} shards: every worker needs at least one.`,
      {
        hint: `Use at most ${shards} workers, or --shards ${workers} or more.`,
      },
    );
  }
  return {
    job: loaded.job,
    jobName,
    jobPath: loaded.path,
    jobFile: args.argument,
    workers,
    directory: resolve(args.text("directory") ?? join("runs", jobName)),
    dataDirectory: args.text("data") ? resolve(args.text("data")!) : loaded.directory,
  };
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
  choice: EngineChoice,
  say: (line: string) => void,
): Promise<Checked> {
  const child = await startChild({
    name: "check",
    args: [
      "check",
      settings.jobPath,
      "--data",
      settings.dataDirectory,
      "--engine",
      choice.kind,
      "--device",
      choice.device,
      ...(args.text("engine") ? [] : ["--fall-back"]),
      "--shards",
      String(args.whole("shards", 1) ?? settings.workers),
    ],
    logFile: null,
    onWarning: say,
  });
  const checked = await child.waitFor<Checked>("checked");
  await child.exited;
  for (const line of checked.lines) say(line);
  return checked;
}

async function openEtcdServer(
  args: Arguments,
  settings: Settings,
  say: (line: string) => void,
  closing: (() => Promise<void>)[],
): Promise<{ endpoints: readonly string[]; pid: number | null }> {
  const given = args.text("etcd");
  if (given !== undefined) {
    const endpoints = parseEndpoints(given);
    const log = createLog({ stream: process.stderr, format: "text", level: "error" });
    const probe = connectEtcd(endpoints, budgetOf(), log);
    try {
      await probe.get(runKey(settings.jobName));
    } finally {
      await probe.close();
    }
    return { endpoints, pid: null };
  }
  const program = await prepareEtcd(say);
  const log = createLog({ stream: { write: (text: string) => say(text.trimEnd()) }, format: "text", level: "warn" });
  let server: EtcdServer | null = null;
  let stopping = false;
  server = await startEtcd({
    program: program.path,
    dataDirectory: join(settings.directory, "etcd"),
    log,
    onExit: () => {
      if (stopping) return;
      say("etcd ended; starting it again on its data.");
      server?.restart().catch((error: unknown) => say(`etcd could not be started again: ${messageOf(error)}`));
    },
  });
  const started = server;
  closing.push(async () => {
    stopping = true;
    await started.stop();
  });
  return { endpoints: [server.endpoint], pid: server.pid };
}

/** The cluster while it runs. */
interface Session {
  readonly cluster: LocalCluster;
  readonly record: JobRecord;
  readonly runDirectory: string;
  readonly checkpoints: string;
  readonly logDirectory: string;
  readonly endpoints: readonly string[];
  status(): Promise<ClusterStatus>;
  /** Shows what happens until the run has ended, and its processes with it. */
  follow(stop: StopRequest): Promise<ClusterStatus>;
}

async function startSession(
  args: Arguments,
  settings: Settings,
  etcd: { endpoints: readonly string[]; pid: number | null },
  view: LaunchView,
  closing: (() => Promise<void>)[],
): Promise<Session> {
  const logDirectory = join(settings.directory, "logs");
  await mkdir(logDirectory, { recursive: true });
  const cluster = new LocalCluster({ logDirectory, say: (line) => view.say(line) });
  closing.push(() => cluster.finish("", 5000));
  const wordsWith = (resume: readonly string[]) => [
    "coordinator",
    settings.jobPath,
    ...["--etcd", etcd.endpoints.join(","), "--job", settings.jobName, "--workers", String(settings.workers)],
    ...["shards", "threads", "epochs"].flatMap((name) =>
      args.text(name) === undefined ? [] : [`--${name}`, args.text(name)!],
    ),
    ...(args.flag("allow-change") ? ["--allow-change"] : []),
    ...resume,
  ];
  // Started again it takes part in the run that it began, whatever was asked for at first.
  const words = {
    first: wordsWith(args.text("resume") ? ["--resume", args.text("resume")!] : []),
    again: wordsWith([]),
  };
  const { address, record } = await cluster.start<CoordinatorReady>(
    "coordinator",
    words,
    (ready) => void follower.move(ready.address),
  );
  const follower = new ControlFollower(address, async (at) => {
    await registerRun({
      job: settings.jobName,
      run: record.run,
      pid: process.pid,
      directory: settings.directory,
      etcd: etcd.endpoints,
      coordinator: at,
      etcdPid: etcd.pid,
    });
  });
  closing.push(async () => follower.close());
  const runDirectory = join(settings.directory, `run-${record.run}`);
  const checkpoints = resolve(args.text("checkpoints") ?? join(runDirectory, "checkpoints"));
  await mkdir(runDirectory, { recursive: true });
  await follower.move(address);
  closing.push(() => forgetRun(settings.jobName));
  view.say(
    `Run ${record.run} of "${record.job}": ${settings.workers} workers, ${record.shards} shards, ${record.threads} thread${record.threads === 1 ? "" : "s"} each; files in ${relative(process.cwd(), runDirectory) || "."}`,
  );
  const status = () => statusOf(follower, cluster);
  return {
    cluster,
    record,
    runDirectory,
    checkpoints,
    logDirectory,
    endpoints: etcd.endpoints,
    status,
    follow: (stop) => follow(status, follower, cluster, view, stop),
  };
}

interface CoordinatorReady {
  readonly address: string;
  readonly record: JobRecord;
}

/** The connection to the coordinator, which may come back at another address. */
class ControlFollower {
  control: ControlConnection;
  readonly #onMove: (address: string) => Promise<void>;

  constructor(address: string, onMove: (address: string) => Promise<void>) {
    this.control = connectControl(address, controlDeadlineMs);
    this.#onMove = onMove;
  }

  async move(address: string): Promise<void> {
    this.control.close();
    this.control = connectControl(address, controlDeadlineMs);
    await this.#onMove(address);
  }

  close(): void {
    this.control.close();
  }
}

/** The status, as soon as the coordinator gives one. */
async function statusOf(follower: ControlFollower, cluster: LocalCluster): Promise<ClusterStatus> {
  for (;;) {
    try {
      return await Promise.race([follower.control.status(), cluster.failure]);
    } catch (error) {
      if (!(error instanceof LockstepError) || error.code !== "coordination-unavailable") throw error;
      await systemClock.sleep(pollMs);
    }
  }
}

function startWorkers(
  session: Session,
  settings: Settings,
  args: Arguments,
  engine: EngineChoice["kind"],
  gpus: readonly (number | null)[] | null,
): void {
  for (let i = 0; i < settings.workers; i++) {
    const gpu = gpus?.[i] ?? null;
    session.cluster.launch(`worker-${i}`, [
      "worker",
      settings.jobPath,
      ...["--etcd", session.endpoints.join(","), "--job", settings.jobName, "--name", `worker-${i}`],
      ...["--data", settings.dataDirectory, "--checkpoints", session.checkpoints, "--engine", engine],
      ...(args.text("device") ? ["--device", args.text("device")!] : []),
      ...(gpu === null ? [] : ["--gpu", String(gpu)]),
    ]);
  }
}

async function follow(
  status: () => Promise<ClusterStatus>,
  follower: ControlFollower,
  cluster: LocalCluster,
  view: LaunchView,
  stop: StopRequest,
): Promise<ClusterStatus> {
  for (;;) {
    const now = await status();
    view.update(now);
    if (now.state === "finished" || now.state === "failed" || now.state === "stopped") {
      await cluster.finish("worker-", graceMs);
      return now;
    }
    await Promise.race([systemClock.sleep(pollMs), cluster.failure, ...(stop.taken ? [] : [stop.whenRequested])]);
    if (stop.takeRequest()) {
      cluster.letEnd();
      await follower.control.stop("Ctrl-C").catch((error: unknown) => view.say(messageOf(error)));
    }
  }
}

/** Evaluates `best` and `latest` on the test data, and makes the job's report, in a process of its own. */
async function evaluate(
  session: Session,
  last: ClusterStatus,
  settings: Settings,
  args: Arguments,
  engine: EngineChoice["kind"],
): Promise<Evaluation> {
  if (!settings.job.test && !settings.job.report) return { test: {}, report: null };
  const ids = [last.best?.id ?? last.latest?.id, last.latest?.id].filter((id) => id !== undefined);
  const child = await startChild({
    name: "evaluate",
    args: [
      "evaluate",
      settings.jobPath,
      ...["--data", settings.dataDirectory, "--checkpoints", session.checkpoints, "--engine", engine],
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
  await writeFile(curve, lossCurve(last.history, settings.job.checkpoint));
  const result: RunResult = {
    job: settings.jobName,
    epochs: last.epoch,
    steps: latest.step,
    weightsDigest: latest.weightsDigest,
    monitor: settings.job.checkpoint.monitor,
    best: best && resultOf(best),
    latest: resultOf(latest),
    history: epochRecords(last.history),
    test: best ? (evaluation.test[best.id] ?? null) : null,
    testLatest: evaluation.test[latest.id] ?? null,
    generations: last.generation,
    directory: relative(process.cwd(), session.runDirectory) || ".",
    report: evaluation.report,
    curve: relative(process.cwd(), curve),
    seconds,
    jobFile: settings.jobFile,
  };
  return result;
}

function resultOf(pointer: CheckpointPointer): ResultCheckpoint {
  const { epoch, step, monitor, value, location } = pointer;
  return { epoch, step, monitor, value, path: location };
}

function stoppedLine(last: ClusterStatus, settings: Settings): string {
  const where = last.latest ? `step ${last.latest.step} is saved` : "nothing was trained yet";
  return `Stopped: ${where}. Go on with: lockstep launch ${settings.jobFile} --workers ${settings.workers}`;
}

/** Ctrl-C or SIGTERM: the first asks for an orderly end, the second ends this process at once. */
class StopRequest {
  requested = false;
  readonly whenRequested: Promise<void>;
  #resolve: () => void = () => {};
  taken = false;
  readonly #handler: () => void;

  constructor(say: (line: string) => void) {
    this.whenRequested = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#handler = () => {
      if (this.requested) process.exit(130);
      this.requested = true;
      say("Stopping: the step is finished and a checkpoint published. Once more to end at once.");
      this.#resolve();
    };
    process.on("SIGINT", this.#handler);
    process.on("SIGTERM", this.#handler);
  }

  /** True the first time after the request. */
  takeRequest(): boolean {
    if (!this.requested || this.taken) return false;
    this.taken = true;
    return true;
  }

  close(): void {
    process.off("SIGINT", this.#handler);
    process.off("SIGTERM", this.#handler);
  }
}
