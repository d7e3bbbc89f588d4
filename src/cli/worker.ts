/** `lockstep worker`: one process that trains. */
import { resolve } from "node:path";
import { openDirectoryStorage } from "../adapters/fs/checkpoint-storage.ts";
import { type ControlConnection, connectControl } from "../adapters/grpc/control.ts";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { whenParentEnds } from "../adapters/system/child-process.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { engineEnvironment } from "../adapters/tfjs/open-engine.ts";
import { prepareEngine } from "../adapters/tfjs/prepare-engine.ts";
import { LockstepError, messageOf } from "../core/errors.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import { decodeJson } from "../core/json.ts";
import { type Keys, keysOf, runKey } from "../core/keys.ts";
import type { CoordinatorRecord, JobRecord } from "../core/records.ts";
import type { StepReport } from "../ports/compute.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { type Standing, Worker } from "../runtime/worker.ts";
import type { Arguments, Command } from "./command.ts";
import {
  addressOf,
  applyEnvironment,
  budgetOf,
  connectEtcd,
  dataDirectoryOf,
  endpointsOf,
  newId,
  onStopSignal,
  processLog,
  shared,
  wishOf,
} from "./common.ts";
import { startWorkerThreads } from "./threads/start-worker-threads.ts";

export const worker: Command = {
  name: "worker",
  summary: "Run one worker of a cluster.",
  argument: { name: "JOB.ts", help: "the job file" },
  options: {
    etcd: shared.etcd,
    job: shared.job,
    name: { value: "NAME", help: "this worker's name (default: worker-PID)" },
    listen: { value: "HOST:PORT", help: "where peers reach this worker (default: 127.0.0.1:0, any free port)" },
    advertise: { value: "HOST:PORT", help: "what peers are told, where it differs from --listen" },
    data: shared.data,
    checkpoints: { value: "DIR", help: "where checkpoints are written and read; all workers share it" },
    engine: shared.engine,
    device: shared.device,
    gpu: { value: "I", help: "the number of the GPU to use (default: 0)" },
    "log-level": shared.logLevel,
  },
  details: "Ends by itself when the job is finished. SIGTERM: it leaves in order, and the others go on without it.",
  run: runWorkerCommand,
};

async function runWorkerCommand(args: Arguments): Promise<number> {
  const budget = budgetOf();
  const { job, path, directory } = await loadJob(args.argument);
  const name = args.text("name") ?? `worker-${process.pid}`;
  const log = processLog(args).with({ worker: name });
  const listen = addressOf(args, "listen", "127.0.0.1:0");
  const endpoints = endpointsOf(args);
  const checkpoints = args.text("checkpoints");
  if (!checkpoints)
    throw new LockstepError(
      "usage",
      "--checkpoints is missing: the worker needs the directory that all workers share.",
    );
  const storage = await openDirectoryStorage(resolve(checkpoints), log);
  const choice = await prepareEngine(wishOf(args), (line) => log.info(line));
  const coordination = connectEtcd(endpoints, budget, log);
  try {
    const { record, keys } = await findRun(coordination, args.text("job") ?? job.name, budget, log);
    const gpuIndex = choice.device === "gpu" ? (args.whole("gpu", 0) ?? 0) : null;
    applyEnvironment(engineEnvironment(choice, { threads: record.threads, gpuIndex }));
    const reporter = new ProgressReporter(coordination, keys, budget);
    let agent: Worker | null = null;
    let fail: (error: Error) => void = () => {};
    const failed = new Promise<never>((_, reject) => {
      fail = reject;
    });
    failed.catch(() => undefined);
    const threads = await startWorkerThreads({
      request: {
        jobPath: path,
        dataDirectory: dataDirectoryOf(args, directory),
        choice,
        mayFallBack: args.text("engine") === undefined,
        threads: record.threads,
        epochs: record.epochs,
      },
      shards: record.shards,
      listen,
      connectMs: budget.connectMs,
      say: (line) => log.warn(line),
      onStep: (report) => reporter.note(report),
      onBroken: ({ rank, reason }) => agent?.peerBroken(rank, reason),
      onFailure: (error) => fail(error),
    });
    log.info("ready", { engine: threads.info.engine, address: threads.address });
    process.send?.({ event: "ready", address: threads.address });
    agent = new Worker({
      name,
      address: args.text("advertise") ?? threads.address,
      pid: process.pid,
      record,
      info: threads.info,
      keys,
      budget,
      coordination,
      storage,
      compute: threads.compute,
      exchange: threads.exchange,
      clock: systemClock,
      log,
      newId,
      onStanding: (standing) => reporter.stand(standing),
    });
    const leave = (why: string) => {
      log.info("leaving in order", { why });
      agent?.drain().catch((error: unknown) => log.warn("leaving could not be announced", { error: messageOf(error) }));
    };
    const forget = onStopSignal(leave);
    whenParentEnds(() => leave("the process that started this one is gone"));
    try {
      const stopVote = watchStop(coordination, keys, budget, () => threads.compute.voteToStop());
      const end = await Promise.race([agent.run(), failed]);
      stopVote.close();
      log.info("left", { why: end });
      return 0;
    } finally {
      forget();
      reporter.close();
      await threads.stop();
    }
  } finally {
    await coordination.close();
  }
}

/** Votes for a stop once somebody has asked for one. */
function watchStop(
  coordination: Coordination,
  keys: Keys,
  budget: FailureBudget,
  vote: () => Promise<void>,
): { close(): void } {
  return coordination.watch(keys.stop, budget.pollMs, () => {
    coordination.get(keys.stop).then(
      (entry) => entry && vote(),
      () => undefined,
    );
  });
}

/** The job's newest run; waits until a coordinator has written down what it is. */
async function findRun(
  coordination: Coordination,
  job: string,
  budget: FailureBudget,
  log: Log,
): Promise<{ record: JobRecord; keys: Keys }> {
  for (let said = false; ; said = true) {
    const run = await coordination.get(runKey(job));
    const keys = run && keysOf(job, Number(run.value));
    const record = keys && (await coordination.get(keys.record));
    if (keys && record) return { record: decodeJson<JobRecord>(record.value), keys };
    if (!said) log.info("waiting for a coordinator", { job });
    await systemClock.sleep(budget.pollMs / 4);
  }
}

/** Tells the coordinator how far this worker is, a few times a second; nothing depends on it. */
class ProgressReporter {
  readonly #coordination: Coordination;
  readonly #keys: Keys;
  readonly #budget: FailureBudget;
  #standing: Standing | null = null;
  #control: ControlConnection | null = null;
  #sending = false;

  constructor(coordination: Coordination, keys: Keys, budget: FailureBudget) {
    this.#coordination = coordination;
    this.#keys = keys;
    this.#budget = budget;
  }

  stand(standing: Standing): void {
    this.#standing = standing;
  }

  /** Sends unless a report is still under way: what counts is the newest. */
  note({ progress, samplesPerSecond, metrics }: StepReport): void {
    const standing = this.#standing;
    if (!standing || this.#sending) return;
    this.#sending = true;
    this.#send({ ...standing, ...progress, samplesPerSecond, metrics }).then(
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
      this.#control = connectControl(address, this.#budget.requestTimeoutMs);
    }
    await this.#control.reportProgress(report);
  }
}
