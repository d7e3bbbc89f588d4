/** The thread that owns the state and computes: engine, job file, data and trainer, served over one channel. */
import { availableParallelism, loadavg } from "node:os";
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { systemClock } from "../../adapters/system/clock.ts";
import { memoryInUse, memoryLimit } from "../../adapters/system/memory.ts";
import { startThread } from "../../adapters/system/thread.ts";
import { type Channel, Moved, openChannel } from "../../adapters/system/thread-channel.ts";
import { loadTensorFlow } from "../../adapters/tfjs/open-engine.ts";
import { showsInOrder } from "../../adapters/tfjs/output-rows.ts";
import { topologyOf } from "../../adapters/tfjs/topology.ts";
import { Arena } from "../../adapters/wasm/arena.ts";
import { bucketLayout } from "../../core/bucket-layout.ts";
import { assert, messageOf } from "../../core/errors.ts";
import { decodeJson, encodeJson } from "../../core/json.ts";
import { checkMemory, memorySentence } from "../../core/memory-need.ts";
import { plainMemory } from "../../core/row-memory.ts";
import { areSameSettings, type JobSettings } from "../../core/settings.ts";
import type { Assignment, ComputeInfo, GenerationStep, StepReport, StepTiming } from "../../ports/compute.ts";
import type { StateSnapshot } from "../../ports/transport.ts";
import { BatchesAhead, type BatchThread } from "../../runtime/batches-ahead.ts";
import { FreezableCompute, type GenerationOpening } from "../../runtime/freezable-compute.ts";
import { reductionSizeOf } from "../../runtime/peer-exchange.ts";
import { Trainer } from "../../runtime/trainer.ts";
import {
  type EngineRequest,
  fingerprintOf,
  type JobRequest,
  memoryOf,
  type OpenedProgram,
  openJob,
  openProgram,
} from "../open-program.ts";
import type { InputThreadData } from "./input-thread.ts";
import { sentOpening, sentWork } from "./sent-rows.ts";

/** Longer than any batch takes that is made in a thread that lives. */
const batchPatienceMs = 10_000;

/** What `gameday` does to a worker from inside: its computation never ends, or a bit of its weights is another. */
export type ComputeFault = "hang" | "flip-bit";

export interface ComputeThreadData {
  readonly job: JobRequest;
  /** Leads to the exchange thread. */
  readonly exchange: MessagePort;
  /** Where both threads have their rows; null where it cannot be had. */
  readonly rows: WebAssembly.Memory | null;
}

/** What a worker knows once it has found its run. */
export interface ComputeRequest {
  readonly engine: EngineRequest;
  /** What the run was told beside the job file; the job is opened again where that is not what was expected. */
  readonly settings: JobSettings;
  /** Instead of the job file's; null: those. */
  readonly epochs: number | null;
  readonly shards: number;
  /** The largest world that the run may have. */
  readonly mostWorkers: number;
  /** How far apart its step reports are at least; the first step of every run is reported whatever this says. */
  readonly reportEveryMs: number;
  readonly keepGradients: boolean;
}

const data = (workerData as { data: ComputeThreadData }).data; // what start-worker-threads.ts put there
const exchange: Channel = openChannel(data.exchange, {});
const arena = data.rows && new Arena(data.rows);
let compute: FreezableCompute | null = null;
let generation = 0;
let reportEveryMs = 0;
let reportedAtMs = Number.NEGATIVE_INFINITY;
/** Of the steps since the last report. */
let timings: StepTiming[] = [];

// While the main thread finds the run, and before the job file.
loadTensorFlow();
const opening = openJob(data.job);
opening.catch(() => undefined); // `open` says it

const agent = openChannel(parentPort!, {
  async open({ engine, settings, epochs, shards, mostWorkers, ...request }: ComputeRequest): Promise<ComputeInfo> {
    reportEveryMs = request.reportEveryMs;
    const say = (line: string) => agent.tell("say", line);
    const job: JobRequest = { ...data.job, settings };
    const isExpected = areSameSettings(settings, data.job.settings);
    const opened = await openProgram({ ...job, ...engine, epochs }, say, isExpected ? opening : openJob(job));
    const memory = memoryOf(opened.program, { shards, mostWorkers });
    checkMemory(memory, memoryLimit());
    agent.tell("note", memorySentence(memory));
    const trainer = new Trainer({
      program: opened.program,
      job: opened.job,
      data: opened.data,
      shards,
      memory: arena ?? plainMemory,
      clock: systemClock,
      keepGradients: request.keepGradients,
      ahead: new BatchesAhead({
        data: opened.data,
        mostSamples: Math.ceil(opened.job.batchSize / shards),
        start: (inputPart) => startInput(job, opened.data.digest, inputPart),
        patienceMs: batchPatienceMs,
      }),
      onStep: report,
    });
    const info = describe(opened, trainer, shards);
    const size = reductionSizeOf(info, shards);
    compute = new FreezableCompute(trainer, {
      reduce: (work) => exchange.call("reduce", sentWork(work, arena)),
      // What is one bucket is there when all of it is.
      ...(tellsEarly(opened.engine) &&
        bucketLayout(size.values, size.statistics).buckets.length > 2 && {
          open: (opening: GenerationOpening) => exchange.tell("openRound", sentOpening(opening, arena)),
        }),
      computes: (generation, computing) => exchange.tell("computes", { generation, computing }),
    });
    trainer.prepare();
    const { notRecorded } = opened.engine.description;
    if (notRecorded !== null) say(`Steps run one op at a time, and not as a graph, which is slower: ${notRecorded}.`);
    return info;
  },
  initialize: (place: { lineage: number; era: number }) => opened().initialize(place),
  restore: (state: StateSnapshot) => opened().restore(state),
  async snapshot(into?: Float32Array) {
    const state = await opened().snapshot(into);
    if (into) return state; // the agent has that memory already
    return new Moved(state, [state.values.buffer as ArrayBuffer]);
  },
  async run(assignment: Assignment) {
    generation = assignment.generation;
    reportedAtMs = Number.NEGATIVE_INFINITY;
    try {
      return await opened().run(assignment);
    } finally {
      tellTimings();
    }
  },
  freeze: () => opened().freeze(),
  voteToStop: () => opened().voteToStop(),
  voteToSave: () => opened().voteToSave(),
  gradient: (step: number) => opened().gradient(step),
  async breakOnPurpose(fault: ComputeFault) {
    agent.tell("say", `broken on purpose: ${fault}`);
    if (fault === "hang") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    else await opened().restore(withFlippedBit(await opened().snapshot()));
  },
});

/** Whether it is said of gradients that they are there before the step's end; a GPU's are fetched then. */
function tellsEarly({ description: { step, device } }: OpenedProgram["engine"]): boolean {
  return step === "recorded" && device === "cpu" && showsInOrder;
}

/** One bit in the middle of the first weight: a value of the same size that is another. */
function withFlippedBit(state: StateSnapshot): StateSnapshot {
  const values = Float32Array.from(state.values);
  new Uint32Array(values.buffer)[0]! ^= 1 << 20;
  return { ...state, values };
}

function opened(): FreezableCompute {
  assert(compute !== null, "the compute thread is opened before it is used");
  return compute;
}

/** A thread with the job and its data of its own; null while there is no processor, or no memory, for that. */
function startInput(job: JobRequest, digest: string, inputPart: number): BatchThread | null {
  // What the data take of it is not known; all of it is certainly more.
  const hasMemory = 2 * memoryInUse() < memoryLimit().bytes;
  if (!hasMemory || loadavg()[0]! >= availableParallelism()) return null;
  const share = `getting batches takes ${Math.round(100 * inputPart)} % of a step`;
  agent.tell("note", `${share}: a thread prepares them ahead from now on, with the data a second time`);
  let isOpen = false;
  const given = (why: string) => {
    isOpen = false;
    agent.tell("note", `batches are not prepared ahead any more: ${why}`);
  };
  const data: InputThreadData = { job };
  const thread = startThread(
    new URL("./input-thread.ts", import.meta.url),
    data,
    {
      opened(found: string) {
        if (found === digest) isOpen = true;
        else given("the data have changed");
      },
    },
    (error) => given(messageOf(error)),
  );
  return {
    get isOpen() {
      return isOpen;
    },
    prepare: (request) => thread.tell("prepare", request),
    stop: () => void thread.stop(),
  };
}

function report(step: StepReport): void {
  const { samples, stepMs, pausedMs, phases } = step;
  const endedAtMs = systemClock.wallMs();
  const place = { step: step.progress.step, epoch: step.progress.epoch };
  timings.push({ generation, ...place, endedAtMs, samples, stepMs, pausedMs, phases });
  const now = systemClock.monotonicMs();
  if (now - reportedAtMs < reportEveryMs) return;
  reportedAtMs = now;
  tellTimings();
  const { step: n, epoch, stepInEpoch } = step.progress;
  const report: GenerationStep = { ...step, generation, progress: { step: n, epoch, stepInEpoch } };
  agent.tell("stepped", report);
}

function tellTimings(): void {
  if (timings.length > 0) agent.tell("timed", timings);
  timings = [];
}

function describe(opened: OpenedProgram, trainer: Trainer, shards: number): ComputeInfo {
  const { stepsPerEpoch, statisticsCount } = trainer;
  const { engine, program, data: prepared } = opened;
  return {
    fingerprint: fingerprintOf(opened, shards),
    weightCount: program.weightCount,
    slotNames: program.slotNames,
    trainableCount: program.trainableCount,
    reducedCount: program.reducedCount,
    wire: opened.job.wire,
    statisticsCount,
    parameters: program.parameters.map(({ name, shape, size, offset }) => ({ name, shape, size, offset })),
    // Without the functions of a map(), which cannot leave this thread, and are in no checkpoint.
    preprocessing: decodeJson(encodeJson(prepared.preprocessing)),
    trainingSamples: prepared.trainingSamples,
    validationSamples: prepared.validationSamples,
    stepsPerEpoch,
    engine: engine.description.library,
    topology: topologyOf(program.model),
  };
}
