/** A worker's two threads beside the agent's own, as the ports that the agent knows. */
import { MessageChannel } from "node:worker_threads";
import { type RunningThread, startThread } from "../../adapters/system/thread.ts";
import { arenaMemory } from "../../adapters/wasm/arena.ts";
import type { Compute, ComputeInfo, Exchange, GenerationStep, RunOutcome, StepTiming } from "../../ports/compute.ts";
import type { ServedState, StateProvider, StateRequest, StateSnapshot } from "../../ports/transport.ts";
import type { CountedRefusal } from "../../core/refusals.ts";
import { type OnBroken, reductionSizeOf } from "../../runtime/peer-exchange.ts";
import type { JobRequest } from "../open-program.ts";
import type { ComputeFault, ComputeRequest, ComputeThreadData } from "./compute-thread.ts";
import type { CertificateNotice, ExchangeCounts, ExchangeThreadData, ListenRequest } from "./exchange-thread.ts";

export interface WorkerThreads {
  readonly compute: Compute;
  readonly exchange: Exchange;
  /** Where the exchange thread listens. */
  readonly address: string;
  readonly info: ComputeInfo;
  /** What went over the exchange thread's connections, and what it refused. */
  exchangeCounts(): Promise<ExchangeCounts>;
  /** A fault for `gameday`, see compute-thread.ts. */
  breakOnPurpose(fault: ComputeFault): void;
}

/** They load what they need for any run; whoever has found the run opens them for it. */
export interface StartedThreads {
  open(options: WorkerThreadsOptions): Promise<WorkerThreads>;
  stop(): Promise<void>;
}

export interface WorkerThreadsOptions extends ComputeRequest {
  readonly listen: string;
  /** The folder of this worker's certificates; null: in plain text. */
  readonly tls: string | null;
  readonly budgetMs: number;
  readonly onRefused: (refusal: CountedRefusal) => void;
  readonly onCertificates: (notice: CertificateNotice) => void;
  /** What the user should do something about. */
  readonly say: (line: string) => void;
  /** What is good to know. */
  readonly note: (line: string) => void;
  readonly onStep: (report: GenerationStep) => void;
  /** How long steps took: of every step once, some of them at a time. */
  readonly onTimed: (timings: readonly StepTiming[]) => void;
  readonly onBroken: (broken: { generation: number; rank: number; reason: string }) => void;
  readonly onFailure: (error: Error) => void;
}

export function startWorkerThreads(job: JobRequest): StartedThreads {
  const { port1, port2 } = new MessageChannel();
  let provide: StateProvider = () => Promise.resolve("this worker has no state yet");
  let run: WorkerThreadsOptions | null = null; // nothing is told before the threads are opened
  const onFailure = (error: Error) => run?.onFailure(error);
  const rows = arenaMemory();
  const exchangeData: ExchangeThreadData = { compute: port1, rows };
  const exchangeThread = startThread(
    new URL("./exchange-thread.ts", import.meta.url),
    exchangeData,
    {
      broken: (broken: Parameters<OnBroken>[0]) => run?.onBroken(broken),
      provideState: (wanted: StateRequest) => provide(wanted),
      refused: (refusal: CountedRefusal) => run?.onRefused(refusal),
      certificates: (notice: CertificateNotice) => run?.onCertificates(notice),
    },
    onFailure,
    [port1],
  );
  const computeData: ComputeThreadData = { job, exchange: port2, rows };
  const computeThread = startThread(
    new URL("./compute-thread.ts", import.meta.url),
    computeData,
    {
      stepped: (step: GenerationStep) => run?.onStep(step),
      timed: (timings: readonly StepTiming[]) => run?.onTimed(timings),
      say: (line: string) => run?.say(line),
      note: (line: string) => run?.note(line),
    },
    onFailure,
    [port2],
  );
  const end = async () => {
    await exchangeThread.call("close").catch(() => undefined);
    await Promise.all([exchangeThread.stop(), computeThread.stop()]);
  };
  let ending: Promise<void> | null = null;
  return {
    async open(options) {
      run = options;
      const { engine, settings, epochs, shards, mostWorkers, reportEveryMs, keepGradients, listen, tls, budgetMs } =
        options;
      const request: ComputeRequest = { engine, settings, epochs, shards, mostWorkers, reportEveryMs, keepGradients };
      const [address, info] = await Promise.all([
        exchangeThread.call<string>("listen", { listen, tls, budgetMs } satisfies ListenRequest),
        computeThread.call<ComputeInfo>("open", request),
      ]);
      await exchangeThread.call("open", reductionSizeOf(info, shards));
      const exchange = exchangeOf(exchangeThread, (provider) => {
        provide = provider;
      });
      const breakOnPurpose = (fault: ComputeFault) => computeThread.tell("breakOnPurpose", fault);
      const exchangeCounts = () => exchangeThread.call<ExchangeCounts>("counts");
      return { compute: computeOf(computeThread), exchange, address, info, exchangeCounts, breakOnPurpose };
    },
    stop() {
      ending ??= end();
      return ending;
    },
  };
}

function computeOf(thread: RunningThread): Compute {
  return {
    initialize: (place) => thread.call("initialize", place),
    restore: (state) => thread.call("restore", state),
    async snapshot(into) {
      const state = await thread.call<StateSnapshot>("snapshot", into);
      return into ? { ...state, values: into } : state;
    },
    run: (assignment) => thread.call<RunOutcome>("run", assignment),
    freeze: () => thread.call("freeze"),
    voteToStop: () => thread.call("voteToStop"),
    voteToSave: () => thread.call("voteToSave"),
    gradient: (step) => thread.call("gradient", step),
  };
}

function exchangeOf(thread: RunningThread, provideBy: (provider: StateProvider) => void): Exchange {
  return {
    join: (membership) => thread.call("join", membership),
    leave: () => thread.call("leave"),
    serveState(provider) {
      provideBy(provider);
      thread.tell("serveState");
    },
    async copyState(from, request, signal) {
      const cancel = () => thread.tell("cancelCopy");
      signal.addEventListener("abort", cancel);
      try {
        return await thread.call<ServedState>("copyState", { from, request });
      } finally {
        signal.removeEventListener("abort", cancel);
      }
    },
    close: () => thread.call("close"),
  };
}
