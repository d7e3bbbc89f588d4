/** A cluster under `launch`: etcd, coordinator and workers started, followed to the end, and stopped in order. */
import { mkdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { type ControlConnection, connectControl } from "../adapters/grpc/control.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { writeLaunchRecord } from "../adapters/system/launch-record.ts";
import { type EtcdMembers, startEtcdMembers } from "../adapters/system/etcd-members.ts";
import { prepareEtcd } from "../adapters/system/etcd-program.ts";
import { createLog } from "../adapters/system/log.ts";
import type { CertificateFolder } from "../adapters/tls/certificate-folder.ts";
import { forgetRun, registerRun } from "../adapters/system/run-registry.ts";
import type { LaunchView } from "../adapters/terminal/view.ts";
import type { EngineChoice } from "../adapters/tfjs/prepare-engine.ts";
import { LockstepError, messageOf } from "../core/errors.ts";
import type { Role } from "../core/identity.ts";
import type { Job } from "../core/job.ts";
import { runKey } from "../core/keys.ts";
import type { JobRecord } from "../core/records.ts";
import type { GoOn } from "../core/run-result.ts";
import { settingsWords } from "../core/settings.ts";
import type { ClusterStatus } from "../core/status.ts";
import { plural } from "../core/summary-table.ts";
import type { Wish } from "../core/wishes.ts";
import type { DataPlace } from "../ports/dataset.ts";
import { LocalCluster } from "./cluster.ts";
import type { Arguments } from "./command.ts";
import { budgetOf, dataWords, parseEndpoints } from "./common.ts";
import { connectEtcd } from "./connect-etcd.ts";
import type { LocalCertificates } from "./local-certificates.ts";
import { fullPlace } from "./open-storage.ts";
import { checkEndpoints } from "./security.ts";
import type { StopRequest } from "./stop-request.ts";
import { tensorBoardWish, tensorBoardWords } from "./tensorboard.ts";
import { Workforce } from "./workforce.ts";

const pollMs = 150;
/** Until processes that were left, or asked to end, are ended. */
const leavingMs = 5000;
const graceMs = 30_000;
const controlDeadlineMs = 2000;
/** What a process of a launch serves over HTTP is for this machine. */
const anyHttp = "127.0.0.1:0";

/** What a launch was asked for. */
export interface Settings {
  readonly job: Job;
  readonly jobName: string;
  readonly jobPath: string;
  /** For suggested commands. */
  readonly goOn: GoOn;
  readonly workers: number;
  /** Processes beyond those, that stand by. */
  readonly spares: number;
  /** How often each process is started again. */
  readonly maxRestarts: number;
  readonly directory: string;
  readonly data: DataPlace;
  /** Null: all talk plain text. */
  readonly certificates: LocalCertificates | null;
}

/** The etcd that a job uses, and the processes that were started for it. */
export interface JobEtcd {
  readonly endpoints: readonly string[];
  /** As they are now: one that ended is started again. */
  readonly pids: readonly number[];
  /** Called when one was started again. */
  onRestart: () => void;
}

export async function openEtcdServer(
  args: Arguments,
  settings: Settings,
  say: (line: string) => void,
  closing: (() => Promise<void>)[],
): Promise<JobEtcd> {
  const given = args.text("etcd");
  const certificates = settings.certificates?.operator ?? null;
  if (given !== undefined) {
    const endpoints = parseEndpoints(given);
    checkEndpoints(endpoints, { certificates, isInsecure: args.flag("insecure") });
    const log = createLog({ stream: process.stderr, format: "text", level: "error" });
    const probe = connectEtcd(endpoints, budgetOf(args), log, certificates);
    try {
      await probe.get(runKey(settings.jobName));
    } finally {
      await probe.close();
    }
    return { endpoints, pids: [], onRestart: () => {} };
  }
  const program = await prepareEtcd(say);
  const log = createLog({ stream: { write: (text: string) => say(text.trimEnd()) }, format: "text", level: "warn" });
  let etcd: EtcdMembers | null = null;
  let stopping = false;
  etcd = await startEtcdMembers({
    program: program.path,
    dataDirectory: join(settings.directory, "etcd"),
    tls: settings.certificates?.etcd ?? null,
    count: args.whole("etcd-members", 1) ?? null,
    log,
    onExit: (index) => {
      if (stopping) return;
      say("etcd ended; starting it again on its data.");
      etcd?.members[index]
        ?.restart()
        .then(() => job.onRestart())
        .catch((error: unknown) => say(`etcd could not be started again: ${messageOf(error)}`));
    },
  });
  const started = etcd;
  closing.push(async () => {
    stopping = true;
    await started.stop();
  });
  const job: JobEtcd = {
    endpoints: etcd.endpoints,
    get pids() {
      return started.members.map(({ pid }) => pid);
    },
    onRestart: () => {},
  };
  return job;
}

/** The cluster while it runs. */
export interface Session {
  readonly cluster: LocalCluster;
  readonly record: JobRecord;
  readonly runDirectory: string;
  readonly checkpoints: string;
  readonly logDirectory: string;
  readonly endpoints: readonly string[];
  status(): Promise<ClusterStatus>;
  ask(wish: Wish): Promise<void>;
  startWorkers(): void;
  /** Shows what happens until the run has ended, and its processes with it. */
  follow(stop: StopRequest): Promise<ClusterStatus>;
}

export async function startSession(
  args: Arguments,
  settings: Settings,
  etcd: JobEtcd,
  machine: Machine,
  view: LaunchView,
  closing: (() => Promise<void>)[],
): Promise<Session> {
  const logDirectory = join(settings.directory, "logs");
  await mkdir(logDirectory, { recursive: true });
  const cluster = new LocalCluster({
    logDirectory,
    maxRestarts: settings.maxRestarts,
    say: (line) => view.say(line),
  });
  closing.push(async () => {
    // Workers end by themselves, a coordinator serves until it is told to stop.
    await cluster.finish("worker-", leavingMs);
    await cluster.stop(leavingMs);
  });
  const secure = await securityWords(args, settings, "coordinator", "coordinator");
  const wordsWith = (http: string, resume: readonly string[]) => [
    "coordinator",
    settings.jobPath,
    ...["--etcd", etcd.endpoints.join(","), "--job", settings.jobName],
    ...passedOn(args, "workers", "shards", "threads", "epochs", "replicas", "failure-budget", "log-level"),
    ...["--checkpoints", checkpointsOf(args, join(settings.directory, "run-{run}"))],
    ...settingsWords(settings.job.settings),
    ...(args.flag("allow-change") ? ["--allow-change"] : []),
    ...["--http", http],
    ...secure,
    ...resume,
  ];
  // Started again it takes part in the run that it began, whatever was asked for at first; and serves where it did, so that
  // pages which are open go on.
  const words = {
    first: wordsWith(anyHttp, passedOn(args, "resume", "run")),
    again: () => wordsWith([follower.place.http, anyHttp].filter((one) => one !== null).join(), ["--resume", "same"]),
  };
  const { record, notices, ...place } = await cluster.start<CoordinatorReady>(
    "coordinator",
    words,
    (ready) => void follower.move(ready),
  );
  const register = ({ address, http }: CoordinatorPlace) =>
    registerRun({
      job: settings.jobName,
      run: record.run,
      pid: process.pid,
      directory: settings.directory,
      etcd: etcd.endpoints,
      coordinator: address,
      http,
      tls: settings.certificates?.operator.folder ?? null,
      etcdPids: etcd.pids,
      workers: workforce.workers,
      spares: settings.spares,
    });
  const follower = new ControlFollower(place, settings.certificates?.operator ?? null, register);
  const runDirectory = join(settings.directory, `run-${record.run}`);
  const checkpoints = checkpointsOf(args, runDirectory);
  const workforce: Workforce = new Workforce({
    cluster,
    workers: settings.workers,
    spares: settings.spares,
    wordsOf: (index) => workerWords(index, { args, settings, etcd, record, checkpoints, ...machine }),
    say: (line) => view.say(line),
    onChange: () => {
      register(follower.place).catch((error: unknown) => view.say(messageOf(error)));
    },
  });
  closing.push(async () => follower.close());
  await mkdir(runDirectory, { recursive: true });
  await writeLaunchRecord(settings.directory, { workingDirectory: process.cwd(), goOn: settings.goOn });
  await follower.move(place);
  etcd.onRestart = () => {
    register(follower.place).catch((error: unknown) => view.say(messageOf(error)));
  };
  closing.push(() => forgetRun(settings.jobName));
  view.say(
    `Run ${record.run} of "${record.job}": ${plural(settings.workers, "worker")}, ${plural(record.shards, "shard")}, ${plural(record.threads, "thread")} each; files in ${relative(process.cwd(), runDirectory) || "."}`,
  );
  for (const notice of notices) view.say(notice);
  if (place.http !== null) view.say(`Dashboard: http://${place.http}/`);
  const status = () => statusOf(follower, cluster);
  return {
    cluster,
    record,
    runDirectory,
    checkpoints,
    logDirectory,
    endpoints: etcd.endpoints,
    status,
    ask: (wish) => follower.control.ask(wish),
    startWorkers: () => workforce.start(),
    follow: (stop) => follow({ status, follower, cluster, workforce, view, stop, record, logDirectory }),
  };
}

/** Where a run's checkpoints are. */
export function checkpointsOf(args: Arguments, runDirectory: string): string {
  return fullPlace(args.text("checkpoints") ?? join(runDirectory, "checkpoints"));
}

/** Where a coordinator serves. */
interface CoordinatorPlace {
  readonly address: string;
  readonly http: string | null;
}

interface CoordinatorReady extends CoordinatorPlace {
  readonly record: JobRecord;
  readonly notices: readonly string[];
}

/** The connection to the coordinator, which may come back at another address. */
class ControlFollower {
  control: ControlConnection;
  place: CoordinatorPlace;
  readonly #certificates: CertificateFolder | null;
  readonly #onMove: (place: CoordinatorPlace) => Promise<void>;

  constructor(
    place: CoordinatorPlace,
    certificates: CertificateFolder | null,
    onMove: (place: CoordinatorPlace) => Promise<void>,
  ) {
    this.control = connectControl(place.address, controlDeadlineMs, certificates);
    this.place = place;
    this.#certificates = certificates;
    this.#onMove = onMove;
  }

  async move(place: CoordinatorPlace): Promise<void> {
    this.control.close();
    this.control = connectControl(place.address, controlDeadlineMs, this.#certificates);
    this.place = place;
    await this.#onMove(place);
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

/** What computes on this machine. */
export interface Machine {
  readonly engine: EngineChoice["kind"];
  /** The GPU of the worker with this number, or null; "usage" if there is none for it. */
  readonly gpuOf: (index: number) => number | null;
}

interface WorkerPlace extends Machine {
  readonly args: Arguments;
  readonly settings: Settings;
  readonly etcd: JobEtcd;
  readonly record: JobRecord;
  readonly checkpoints: string;
}

async function workerWords(
  index: number,
  { args, settings, etcd, record, engine, gpuOf, ...place }: WorkerPlace,
): Promise<string[]> {
  const gpu = gpuOf(index);
  const name = `worker-${index}`;
  // Each has a folder of its own, as if it were on a machine of its own.
  const checkpoints = record.replicas > 0 ? join(place.checkpoints, name) : place.checkpoints;
  return [
    "worker",
    settings.jobPath,
    ...["--etcd", etcd.endpoints.join(","), "--job", settings.jobName, "--name", name],
    ...dataWords(settings.data),
    ...["--checkpoints", checkpoints, "--engine", engine],
    ...settingsWords(settings.job.settings),
    ...passedOn(args, "device", "log-level"),
    ...tensorBoardWords(tensorBoardWish(args)),
    ...(gpu === null ? [] : ["--gpu", String(gpu)]),
    ...["--http", anyHttp],
    ...(await securityWords(args, settings, "worker", name)),
  ];
}

/** How a process of the cluster talks to others. */
async function securityWords(args: Arguments, { certificates }: Settings, role: Role, name: string): Promise<string[]> {
  if (certificates) return ["--tls", await certificates.folderFor(role, name)];
  return args.flag("insecure") ? ["--insecure"] : [];
}

/** Options that processes of the cluster take as the launch was given them. */
function passedOn(args: Arguments, ...names: readonly string[]): string[] {
  return names.flatMap((name) => (args.text(name) === undefined ? [] : [`--${name}`, args.text(name)!]));
}

interface Following {
  readonly status: () => Promise<ClusterStatus>;
  readonly follower: ControlFollower;
  readonly cluster: LocalCluster;
  readonly workforce: Workforce;
  readonly view: LaunchView;
  readonly stop: StopRequest;
  readonly record: JobRecord;
  readonly logDirectory: string;
}

async function follow(following: Following): Promise<ClusterStatus> {
  const { status, follower, cluster, view, stop } = following;
  let complaint: string | null = null;
  for (;;) {
    const now = await status();
    view.update(now);
    if (!stop.requested) following.workforce.follow(now.wishes);
    const lack = lackOf(now, following);
    if (lack !== null && lack !== complaint) view.say(lack);
    complaint = lack;
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

/** Why a run that stands still will not go on by itself, and what to do; null when it may. */
function lackOf(
  { state, wishes: { drained } }: ClusterStatus,
  { cluster, record, workforce, logDirectory }: Following,
): string | null {
  const givenUp = cluster.givenUp().filter((name) => name.startsWith("worker-"));
  const { start, min, max } = record.workers;
  const least = state === "waiting" ? start : state === "paused" ? min : 0;
  const left = workforce.size - givenUp.length;
  if (left - drained.length < least && drained.length > 0) {
    return `The run is ${state}: it needs ${plural(least, "worker")}, and ${drained.join(" and ")} ${drained.length === 1 ? "was" : "were"} drained. \`lockstep restart ${drained[0]}\` brings it back.`;
  }
  if (givenUp.length === 0 || left >= least) return null;
  // MIN:MAX begins with MIN; a plain number has no minimum of its own.
  const fewer = start === min ? `${left}:${max}` : String(left);
  const them = givenUp.length === 1 ? "it" : "them";
  const were = `${givenUp.join(" and ")} ${givenUp.length === 1 ? "was" : "were"} given up`;
  const logs = relative(process.cwd(), logDirectory) || ".";
  return `The run is ${state}: it needs ${least} workers, and ${were}. Stop it with Ctrl-C, mend what ended ${them} (the logs are in ${logs}) and launch it again, or launch it again with --workers ${fewer}.`;
}
