/** A worker's two threads beside the agent's own, as the ports that the agent knows. */
import { MessageChannel } from "node:worker_threads";
import { type RunningThread, startThread } from "../../adapters/system/thread.ts";
import type { Compute, ComputeInfo, Exchange, RunOutcome, StepReport } from "../../ports/compute.ts";
import type { StateProvider, StateRequest, StateSnapshot } from "../../ports/transport.ts";
import type { ProgramRequest } from "../open-program.ts";
import type { ComputeThreadData } from "./compute-thread.ts";
import type { ExchangeThreadData, JoinRequest } from "./exchange-thread.ts";

export interface WorkerThreads {
  readonly compute: Compute;
  readonly exchange: Exchange;
  /** Where the exchange thread listens. */
  readonly address: string;
  readonly info: ComputeInfo;
  stop(): Promise<void>;
}

export interface WorkerThreadsOptions {
  readonly request: ProgramRequest;
  readonly shards: number;
  readonly listen: string;
  readonly connectMs: number;
  readonly say: (line: string) => void;
  readonly onStep: (report: StepReport) => void;
  readonly onBroken: (broken: { generation: number; rank: number; reason: string }) => void;
  readonly onFailure: (error: Error) => void;
}

export async function startWorkerThreads(options: WorkerThreadsOptions): Promise<WorkerThreads> {
  const { request, shards, listen, connectMs, say, onStep, onBroken, onFailure } = options;
  const { port1, port2 } = new MessageChannel();
  let provide: StateProvider = () => Promise.resolve("this worker has no state yet");
  const exchangeData: ExchangeThreadData = { listen, connectMs, shards, compute: port1 };
  const exchangeThread = startThread(
    new URL("./exchange-thread.ts", import.meta.url),
    exchangeData,
    { broken: onBroken, provideState: (wanted: StateRequest) => provide(wanted) },
    onFailure,
    [port1],
  );
  const computeData: ComputeThreadData = { request, shards, exchange: port2 };
  const computeThread = startThread(
    new URL("./compute-thread.ts", import.meta.url),
    computeData,
    { stepped: onStep, say },
    onFailure,
    [port2],
  );
  const stop = async () => {
    await exchangeThread.call("close").catch(() => undefined);
    await Promise.all([exchangeThread.stop(), computeThread.stop()]);
  };
  try {
    const address = await exchangeThread.call<string>("listen");
    const info = await computeThread.call<ComputeInfo>("open");
    const exchange = exchangeOf(exchangeThread, info, (provider) => {
      provide = provider;
    });
    return { compute: computeOf(computeThread), exchange, address, info, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function computeOf(thread: RunningThread): Compute {
  return {
    open: () => thread.call<ComputeInfo>("open"),
    initialize: (place) => thread.call("initialize", place),
    restore: (state) => thread.call("restore", state),
    snapshot: () => thread.call<StateSnapshot>("snapshot"),
    run: (assignment) => thread.call<RunOutcome>("run", assignment),
    freeze: () => thread.call("freeze"),
    voteToStop: () => thread.call("voteToStop"),
  };
}

function exchangeOf(thread: RunningThread, info: ComputeInfo, provideBy: (provider: StateProvider) => void): Exchange {
  return {
    join: (membership) => {
      const request: JoinRequest = { membership, values: info.weightCount, statistics: info.statisticsCount };
      return thread.call("join", request);
    },
    leave: () => thread.call("leave"),
    serveState(provider) {
      provideBy(provider);
      thread.tell("serveState");
    },
    async copyState(from, request, signal) {
      const cancel = () => thread.tell("cancelCopy");
      signal.addEventListener("abort", cancel);
      try {
        return await thread.call<StateSnapshot>("copyState", { from, request });
      } finally {
        signal.removeEventListener("abort", cancel);
      }
    },
    close: () => thread.call("close"),
  };
}
