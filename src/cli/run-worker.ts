/** A worker's agent: finds the run, opens the threads, and takes part until the job is finished or it has to leave. */
import { type ControlConnection, connectControl } from "../adapters/grpc/control.ts";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { whenParentEnds } from "../adapters/system/child-process.ts";
import type { Http } from "../adapters/http/server.ts";
import { measuredStorage } from "../adapters/metrics/measured-storage.ts";
import type { WorkerTraces } from "../adapters/tracing/worker-traces.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { engineEnvironment } from "../adapters/tfjs/engine-environment.ts";
import { preloadLibraries } from "../adapters/tfjs/native-addon.ts";
import { prepareEngine } from "../adapters/tfjs/prepare-engine.ts";
import { exitCodes, LockstepError, messageOf } from "../core/errors.ts";
import { type FailureBudget, failureBudget } from "../core/failure-budget.ts";
import { decodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import type { CoordinatorRecord, JobRecord } from "../core/records.ts";
import { areSameSettings, hasNone, type JobSettings, noSettings, settingsWords } from "../core/settings.ts";
import type { CheckpointPointer } from "../core/status.ts";
import { askedOf, type Wishes } from "../core/wishes.ts";
import type { CheckpointStorage } from "../ports/checkpoint-storage.ts";
import type { ComputeInfo, GenerationStep, StepReport } from "../ports/compute.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { untilOpen } from "../runtime/until-open.ts";
import { readWishes } from "../runtime/note-wish.ts";
import { contentToSnapshot } from "../runtime/state.ts";
import type { Standing } from "../runtime/standing.ts";
import { Worker } from "../runtime/worker.ts";
import type { Arguments } from "./command.ts";
import {
  addressOf,
  applyEnvironment,
  endpointsOf,
  newId,
  onStopSignal,
  processLog,
  settingsOf,
  wishOf,
} from "./common.ts";
import { findCurrentRun } from "./find-current-run.ts";
import { openHttp } from "./http.ts";
import { patientReader, workerMetrics } from "./metrics.ts";
import { checkShared, openForWriting } from "./open-storage.ts";
import { incarnationOf, ProcessContext } from "./process-context.ts";
import { type OwnCheckpoints, openOwnCheckpoints } from "./replicas.ts";
import { checkEndpoints, checkListen, checkOwner, openSecurity, type ProcessSecurity, refusalLog } from "./security.ts";
import { recordingOf, tensorBoardWish } from "./tensorboard.ts";
import { closeTraces, openWorkerTraces } from "./traces.ts";
import type { ExchangeCounts } from "./threads/exchange-thread.ts";
import type { StartedThreads, WorkerThreads } from "./threads/start-worker-threads.ts";

/** How long the exchange thread may take to say what it has counted. */
const answerMs = 500;
const noCounts: ExchangeCounts = { sentBytes: 0, receivedBytes: 0, earlyBuckets: 0, refusals: {} };
/** How often the coordinator hears how far this worker is. */
const reportEveryMs = 100;

export async function runWorker(args: Arguments, started: StartedThreads): Promise<number> {
  // Only for its name: what loads TypeScript takes a while to start, and the compute thread does it anyway.
  const jobName = args.text("job") ?? (await loadJob(args.argument)).job.name;
  const context = new ProcessContext();
  context.note({ job: jobName });
  const processWide = processLog(args, () => context.fields);
  const security = await openSecurity(args, processWide);
  const { certificates } = security;
  const name = args.text("name") ?? certificates?.current.identity.name ?? `worker-${process.pid}`;
  const log = processWide.with({ worker: name });
  const listen = addressOf(args, "listen", "127.0.0.1:0");
  const endpoints = endpointsOf(args);
  checkListen("listen", listen, security);
  checkEndpoints(endpoints, security);
  checkOwner(security, "worker", jobName, name);
  const checkpoints = args.text("checkpoints");
  if (!checkpoints)
    throw new LockstepError(
      "usage",
      "--checkpoints is missing: the worker needs the directory, or s3://BUCKET/PREFIX, that all workers share; with --replicas, a directory of its own.",
    );
  const onFinish = args.oneOf("on-finish", ["exit", "wait"]) ?? "exit";
  const board = tensorBoardWish(args);
  const http = await openHttp(args, security, log);
  const local = await openForWriting(checkpoints, log);
  const choice = await prepareEngine(wishOf(args), (line) => log.info(line));
  const { record, keys, budget, coordination } = await findCurrentRun(endpoints, jobName, log, security);
  context.note({ run: record.run });
  let own: OwnCheckpoints | null = null;
  let traces: WorkerTraces | null = null;
  try {
    checkShared(checkpoints, record.replicas);
    const settings = settingsOfRun(args, record);
    if (record.replicas > 0) {
      const wish = { directory: checkpoints, local, name, record, keys, budget, coordination, log, security };
      own = await openOwnCheckpoints(args, wish);
    }
    let agent: Worker | null = null;
    let threads: WorkerThreads | null = null;
    const exchanged = patientReader(async () => threads?.exchangeCounts() ?? noCounts, noCounts, answerMs);
    const metrics = await workerMetrics(http, record.job, name, async () => {
      const { refusals, ...traffic } = await exchanged();
      const leaseRemainingMs = agent?.leaseRemainingMs ?? null;
      return { ...traffic, leaseRemainingMs, refusals: [security.refusals.counts, refusals] };
    });
    traces = await openWorkerTraces({ job: record.job, run: record.run, process: name }, log);
    const stored = own?.storage ?? local;
    const storage = metrics === null ? stored : measuredStorage(stored, systemClock, metrics);
    const gpuIndex = choice.device === "gpu" ? (args.whole("gpu", 0) ?? 0) : null;
    applyEnvironment(engineEnvironment(choice, { threads: record.threads, gpuIndex }));
    const wishes = await unlessDrained({ coordination, keys, record, name, log, http });
    let asked: ReturnType<typeof askedOf> = null;
    const reporter = new ProgressReporter(coordination, keys, budget, security);
    const logStep = stepLog(log);
    let fail: (error: Error) => void = () => {};
    const failed = new Promise<never>((_, reject) => {
      fail = reject;
    });
    failed.catch(() => undefined);
    const opened = started.open({
      engine: { choice, mayFallBack: args.text("engine") === undefined, threads: record.threads },
      settings,
      epochs: record.epochs,
      shards: record.shards,
      mostWorkers: record.workers.max,
      listen,
      tls: security.folder,
      onCertificates: (notice) => log[notice.level](notice.message, notice.fields),
      onRefused: refusalLog(log),
      budgetMs: budget.budgetMs,
      reportEveryMs: args.text("log-level") === "debug" ? 0 : reportEveryMs,
      keepGradients: board?.histograms.includes("gradients") ?? false,
      say: (line) => log.warn(line),
      note: (line) => log.info(line),
      onStep: (report) => {
        if (agent?.follows(report.generation)) log.debug("followed", { step: report.progress.step });
        else logStep(report);
        agent?.stepped(report);
        reporter.note(report);
        metrics?.stepped(report);
      },
      onTimed: (timings) => {
        const { epoch, step } = timings.at(-1)!; // there is one, or nothing is told
        context.note({ epoch, step });
        metrics?.timed(timings);
        traces?.timed(timings);
      },
      onBroken: (broken) => {
        traces?.suspected(broken.reason);
        agent?.peerBroken(broken);
      },
      onFailure: (error) => fail(error),
    });
    // The compute thread is at the job file and its data meanwhile, and this one has nothing else to do.
    const whyNot = preloadLibraries(choice);
    if (whyNot !== null) log.debug("TensorFlow's libraries were not loaded ahead", { why: whyNot });
    const running = await opened;
    threads = running;
    const afterMs = Math.round(performance.now()); // since this process was started
    await checkFit(coordination, keys, record, storage, running.info);
    log.info("ready", { engine: running.info.engine, address: running.address, afterMs });
    process.send?.({ event: "ready", address: running.address, http: http.address || null });
    // For `gameday`, which breaks its own workers on purpose: only whoever started this process has the channel.
    process.on("message", (message: unknown) => {
      const fault = (message as { fault?: unknown } | null)?.fault;
      if (fault === "hang" || fault === "flip-bit") running.breakOnPurpose(fault);
    });
    process.channel?.unref();
    agent = new Worker({
      name,
      address: args.text("advertise") ?? running.address,
      pid: process.pid,
      store: own?.store ?? null,
      record,
      info: running.info,
      keys,
      budget,
      coordination,
      storage,
      compute: running.compute,
      exchange: running.exchange,
      clock: systemClock,
      log,
      newId,
      recording: board && recordingOf(board, threads, name, log),
      onStanding: (standing) => {
        http.note(standing.leaseHeld ? null : "its lease is lost");
        reporter.stand(standing);
        const { workerId, generation, from } = standing;
        context.note({ incarnation: incarnationOf(workerId, name), generation, ...from });
        metrics?.stood(standing);
        traces?.stood(standing);
      },
      onWishes: (now) => {
        const wish = askedOf(now, wishes, name);
        if (asked !== null || wish === null) return;
        asked = wish;
        leave(`asked to ${wish}`);
      },
    });
    const leaving = new AbortController();
    const leave = (why: string) => {
      log.info("leaving in order", { why });
      leaving.abort();
      agent?.drain().catch((error: unknown) => log.warn("leaving could not be announced", { error: messageOf(error) }));
    };
    const forget = onStopSignal(leave);
    whenParentEnds(() => leave("the process that started this one is gone"));
    try {
      const end = await Promise.race([agent.run(), failed]);
      log.info("left", { why: end });
      await own?.tidy();
      if (end === "started anew") return exitCodes["start-again"]; // it is opened for that start
      if (end === "drained") return asked === "start again" ? exitCodes["start-again"] : 0;
      if (onFinish === "exit") return 0;
      await started.stop();
      http.note(null);
      log.info("standing idle", { why: `the run is ${end}` });
      const place = { coordination, clock: systemClock, job: jobName, pollMs: budget.pollMs };
      const isOpen = await untilOpen(place, leaving.signal).then(
        () => true,
        () => false,
      );
      return isOpen ? exitCodes["start-again"] : 0;
    } finally {
      forget();
      reporter.close();
      await started.stop();
    }
  } finally {
    own?.close();
    await closeTraces(traces);
    http.close();
    security.close();
    await coordination.close();
  }
}

/** What the run was told beside the job file: nobody has to say it to each worker, but whoever does must say the same. */
function settingsOfRun(args: Arguments, { settings = noSettings }: JobRecord): JobSettings {
  const own = settingsOf(args);
  if (hasNone(own) || areSameSettings(own, settings)) return settings;
  throw new LockstepError(
    "incompatible",
    `This worker was given ${settingsWords(own).join(" ")}, and the run ${settingsWords(settings).join(" ") || "nothing of the kind"}.`,
    { hint: "Leave it out: workers take it from the run." },
  );
}

interface Drainable {
  readonly coordination: Coordination;
  readonly keys: Keys;
  readonly record: JobRecord;
  readonly name: string;
  readonly log: Log;
  readonly http: Http;
}

/** The wishes as they are now; whoever is to stay away waits until that is over. */
async function unlessDrained({ coordination, keys, record, name, log, http }: Drainable): Promise<Wishes> {
  for (let said = false; ; said = true) {
    const wishes = await readWishes({ coordination, keys }, record.start);
    if (!wishes.drained.includes(name)) {
      http.note("it is starting");
      return wishes;
    }
    http.note(null);
    if (!said) log.info("drained: standing idle until `lockstep restart` names this worker");
    await systemClock.sleep(failureBudget().pollMs);
  }
}

/** Says which step is a generation's first, and with --log-level debug every step. */
function stepLog(log: Log): (step: GenerationStep) => void {
  let latest = 0;
  return ({ generation, progress: { step }, pausedMs }) => {
    if (generation === latest) log.debug("step", { generation, step, pausedMs });
    else log.info("first step of the generation", { generation, step });
    latest = generation;
  };
}

/**
 * Where something may have been changed on purpose: that this worker's model can take the state which the run goes on
 * from. Found out before it asks to be let in, as that is what would make the run another one.
 */
async function checkFit(
  coordination: Coordination,
  keys: Keys,
  { mayChange }: JobRecord,
  storage: CheckpointStorage,
  info: ComputeInfo,
): Promise<void> {
  const latest = mayChange ? await coordination.get(keys.latest) : null;
  if (!latest) return;
  // One that cannot be read, or is deleted meanwhile, is the business of whoever takes the state.
  const content = await storage.load(decodeJson<CheckpointPointer>(latest.value).id).catch(() => null);
  if (content) contentToSnapshot(content, info);
}

/** Tells the coordinator how far this worker is, a few times a second; nothing depends on it. */
class ProgressReporter {
  readonly #coordination: Coordination;
  readonly #keys: Keys;
  readonly #budget: FailureBudget;
  readonly #security: ProcessSecurity;
  #standing: Standing | null = null;
  #control: ControlConnection | null = null;
  #sending = false;

  constructor(coordination: Coordination, keys: Keys, budget: FailureBudget, security: ProcessSecurity) {
    this.#coordination = coordination;
    this.#keys = keys;
    this.#budget = budget;
    this.#security = security;
  }

  stand(standing: Standing): void {
    this.#standing = standing;
  }

  /** Sends unless a report is still under way: what counts is the newest. */
  note({ progress, samplesPerSecond, metrics }: StepReport): void {
    const standing = this.#standing;
    if (!standing || this.#sending) return;
    this.#sending = true;
    const { workerId, generation, leaseHeld } = standing;
    this.#send({ workerId, generation, leaseHeld, ...progress, samplesPerSecond, metrics }).then(
      () => {
        this.#sending = false;
      },
      () => {
        this.close();
        this.#sending = false;
      },
    );
  }

  close(): void {
    this.#control?.close();
    this.#control = null;
  }

  async #send(report: Parameters<ControlConnection["reportProgress"]>[0]): Promise<void> {
    if (!this.#control) {
      const entry = await this.#coordination.get(this.#keys.coordinator);
      if (!entry) return;
      const { address } = decodeJson<CoordinatorRecord>(entry.value);
      this.#control = connectControl(address, this.#budget.requestTimeoutMs, this.#security.certificates);
    }
    await this.#control.reportProgress(report);
  }
}
