/** `lockstep coordinator`: forms the cluster and serves its status. */
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { type ControlHandler, serveControl } from "../adapters/grpc/control.ts";
import { broughtSources } from "../adapters/replicas/brought-sources.ts";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { whenParentEnds } from "../adapters/system/child-process.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { tcpLiveness } from "../adapters/system/liveness.ts";
import type { Spans } from "../adapters/tracing/tracer.ts";
import type { GenerationCause } from "../core/generation-cause.ts";
import { jobFields } from "../core/job-fields.ts";
import { Coordinator } from "../runtime/coordinator.ts";
import { noteWish } from "../runtime/note-wish.ts";
import { openRunWhenLeft, workerCounts } from "../runtime/open-run.ts";
import { openArchive } from "./archive.ts";
import { type RunningCallbacks, startCallbacks } from "./callbacks.ts";
import type { Arguments, Command } from "./command.ts";
import {
  addressOf,
  budgetOf,
  endpointsOf,
  onStopSignal,
  processLog,
  resumeOf,
  runOf,
  settingsOf,
  shared,
  workersOf,
} from "./common.ts";
import { connectEtcd } from "./connect-etcd.ts";
import { Onlooking } from "./dashboard/live.ts";
import { httpOptions, openHttp } from "./http.ts";
import { coordinatorMetrics } from "./metrics.ts";
import { ProcessContext } from "./process-context.ts";
import { connectTo } from "./replicas.ts";
import { openSpans } from "./traces.ts";
import { checkEndpoints, checkListen, checkOwner, openSecurity, securityOptions } from "./security.ts";

/** Time for what was said last to get through. */
const lastWordsMs = 250;

export const coordinator: Command = {
  name: "coordinator",
  summary: "Run a coordinator; of several, one is active.",
  argument: { name: "JOB.ts", help: "the job file" },
  options: {
    etcd: shared.etcd,
    job: shared.job,
    set: shared.set,
    param: shared.param,
    workers: shared.workers,
    shards: { value: "S", help: "logical shards of every batch, fixed for the run (default: as many as workers)" },
    threads: { value: "N", help: "compute threads inside a worker (default: cores ÷ S)" },
    epochs: { value: "N", help: "train to this epoch, instead of the job file's" },
    listen: { value: "HOST:PORT", help: "where status is served (default: 127.0.0.1:0, any free port)" },
    advertise: { value: "HOST:PORT", help: "what others are told, where it differs from --listen" },
    resume: {
      value: "auto|never|best|latest|ID|same",
      help: "go on with the run (auto), from the best, latest or that checkpoint of it, or begin one beside it (never); same: no new start, but another coordinator of it",
    },
    start: {
      value: "NAME",
      help: "what this start is called: whoever comes with the name of the last one takes part in it, and starts nothing",
    },
    run: shared.run,
    replicas: shared.replicas,
    checkpoints: {
      value: "PLACE",
      help: "where all workers' checkpoints are seen from here, {run} for a run's number: what etcd loses is rebuilt from them",
    },
    "allow-change": { value: null, help: "go on although what decides the bits was changed" },
    ...httpOptions,
    "failure-budget": shared.failureBudget,
    ...securityOptions,
    "log-level": shared.logLevel,
  },
  details:
    "Serves status until it is stopped. Losing it stops nothing; start it again when a worker has to be replaced.",
  run: runCoordinatorCommand,
};

/** Threads are chosen once, from the cores and S, never from the number of workers: they decide the bits. */
export function defaultThreads(shards: number): number {
  return Math.max(1, Math.floor(availableParallelism() / shards));
}

async function runCoordinatorCommand(args: Arguments): Promise<number> {
  const budget = budgetOf(args);
  const context = new ProcessContext();
  let running: Coordinator | null = null;
  let spans: Spans | null = null;
  let callbacks: RunningCallbacks | null = null;
  const standing = () => ({ ...context.fields, ...running?.place });
  const onlooking = new Onlooking(processLog(args, standing).with({ role: "coordinator" }));
  const { log } = onlooking;
  const settings = settingsOf(args);
  const { job } = await loadJob(args.argument, settings);
  const listen = addressOf(args, "listen", "127.0.0.1:0");
  const endpoints = endpointsOf(args);
  const epochs = args.whole("epochs", 1) ?? job.epochs;
  const shards = args.whole("shards", 1) ?? null;
  // What contradicts itself is refused before etcd is asked for anything.
  if (shards !== null) workerCounts(workersOf(args), shards);
  const jobName = args.text("job") ?? job.name;
  context.note({ job: jobName });
  const security = await openSecurity(args, log);
  checkListen("listen", listen, security);
  checkEndpoints(endpoints, security);
  checkOwner(security, "coordinator", jobName);
  const { certificates } = security;
  const place = args.text("checkpoints");
  const archive = place === undefined ? null : openArchive(place, jobName, log);
  const request = {
    job: jobName,
    archive,
    resume: resumeOf(args, "same"),
    startName: args.text("start") ?? null,
    run: runOf(args),
    shards,
    threads: args.whole("threads", 1) ?? null,
    ...workersOf(args),
    replicas: args.whole("replicas", 0) ?? null,
    budgetMs: budget.budgetMs,
    fields: jobFields({ ...job, epochs }),
    settings,
    epochs,
    checkpoint: job.checkpoint,
    allowChange: args.flag("allow-change"),
    nowMs: systemClock.wallMs(),
    defaultThreads,
  } as const;
  let handler: ControlHandler | null = null;
  const http = await openHttp(args, security, log);
  const server = await serveControl(listen, () => handler, security);
  const coordination = connectEtcd(endpoints, budget, log, certificates);
  try {
    const { record, keys, resumed, notices } = await openRunWhenLeft(coordination, request, {
      clock: systemClock,
      budget,
    });
    context.note({ run: record.run });
    const address = args.text("advertise") ?? server.address;
    spans = await openSpans({ job: record.job, run: record.run, process: "coordinator" }, log);
    // From here on it may be scraped, so nothing is waited for before there is a coordinator to ask.
    const metrics = await coordinatorMetrics(http, record.job, () => ({
      ...active.vitals(),
      status: active.hasRead ? active.status() : null,
      refusals: security.refusals.counts,
    }));
    /** Why the generation under way is formed. */
    let formedBy: GenerationCause | null = null;
    const active = new Coordinator({
      record,
      keys,
      budget,
      coordination,
      clock: systemClock,
      log,
      liveness: tcpLiveness(systemClock, certificates),
      archive,
      brought: (members) => broughtSources({ job: record.job, connect: connectTo(budget, certificates), log }, members),
      self: { address, pid: process.pid, name: "coordinator" },
      onFormed: (cause) => {
        formedBy = cause;
        metrics?.formed(cause);
      },
      onRunning: ({ generation, members, reason }, formingMs) => {
        metrics?.running(formingMs);
        const endMs = systemClock.wallMs();
        spans?.root(
          `generation/${generation}`,
          "coordinating",
          { startMs: endMs - formingMs, endMs },
          {
            ...{ "lockstep.generation": generation, "lockstep.world": members.length, "lockstep.reason": reason },
            ...(formedBy !== null && { "lockstep.cause": formedBy }),
          },
        );
      },
    });
    running = active;
    handler = {
      noteProgress: (progress) => {
        active.noteProgress(progress);
        onlooking.hear(progress, active.hasRead ? active.reading.generation : null);
      },
      status: () => active.status(),
      requestStop: (reason) => active.requestStop(reason),
      ask: (wish) => noteWish({ coordination, keys, log }, record, wish),
    };
    await onlooking.serve(http, {
      ...{ coordinator: active, coordination, keys, record, budget, archive, endpoints, certificates },
      jobFile: resolve(args.argument),
    });
    const parts = { coordination, keys, pollMs: budget.pollMs, log };
    callbacks = startCallbacks({ job, jobPath: args.argument, active, ...parts });
    const stopping = new AbortController();
    onStopSignal(() => stopping.abort());
    for (const notice of notices) log.warn(notice);
    log.info("serving", { address, job: record.job, run: record.run, shards: record.shards, resumed });
    process.send?.({ event: "ready", address, http: http.address || null, record, notices });
    http.note(null);
    // A coordinator outlives whoever started it until the workers, which stop in order by themselves, are gone.
    whenParentEnds(() => {
      void active
        .requestStopOfThisStart("the process that started the cluster is gone")
        .finally(() => active.whenEmpty(() => stopping.abort()));
    });
    await active.run(stopping.signal);
    return 0;
  } finally {
    await callbacks?.close();
    await onlooking.close();
    await spans?.close();
    http.close();
    server.close();
    security.close();
    await coordination.close();
    // A worker's connection that is only half closed keeps the process; nothing is left that it could wait for.
    setTimeout(() => process.exit(), lastWordsMs).unref();
  }
}
