/** The thread that owns the state and computes: engine, job file, data and trainer, served over one channel. */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { systemClock } from "../../adapters/system/clock.ts";
import { type Channel, Moved, openChannel } from "../../adapters/system/thread-channel.ts";
import type { Assignment, ComputeInfo, Reducer, RunOutcome, StepReport } from "../../ports/compute.ts";
import type { StateSnapshot } from "../../ports/transport.ts";
import { Trainer } from "../../runtime/trainer.ts";
import { fingerprintOf, type OpenedProgram, openProgram, type ProgramRequest } from "../open-program.ts";

export interface ComputeThreadData {
  readonly request: ProgramRequest;
  readonly shards: number;
  /** Leads to the exchange thread. */
  readonly exchange: MessagePort;
}

const data = (workerData as { data: ComputeThreadData }).data; // what start-worker-threads.ts put there
const exchange: Channel = openChannel(data.exchange, {});
let trainer: Trainer | null = null;
/** Ends the reduction under way as aborted; null when nothing is being reduced. */
let abortReduction: (() => void) | null = null;
let frozen = false;
let reportedAtMs = 0;
const reportEveryMs = 100;

const reducer: Reducer = {
  async reduce(round, own, into) {
    if (frozen) return "aborted";
    const aborted = new Promise<"aborted">((resolve) => {
      abortReduction = () => resolve("aborted");
    });
    const reduced = exchange.call<void>("reduce", { round, own, into }).then(() => "reduced" as const);
    // A reduction that is given up is answered late or never; its answer means nothing any more.
    reduced.catch(() => undefined);
    const outcome = await Promise.race([aborted, reduced]);
    abortReduction = null;
    // Freezing wins over an answer that is already there: nothing is applied after it.
    return frozen ? "aborted" : outcome;
  },
};

const agent = openChannel(parentPort!, {
  async open(): Promise<ComputeInfo> {
    const opened = await openProgram(data.request, (line) => agent.tell("say", line));
    trainer = new Trainer({
      program: opened.program,
      job: opened.job,
      data: opened.data,
      shards: data.shards,
      clock: systemClock,
      onStep: report,
    });
    return describe(opened, trainer);
  },
  initialize: (place: { lineage: number; era: number }) => trainer!.initialize(place),
  restore: (state: StateSnapshot) => trainer!.restore(state),
  snapshot: () => {
    const state = trainer!.snapshot();
    return new Moved(state, [state.values.buffer as ArrayBuffer]);
  },
  async run(assignment: Assignment): Promise<RunOutcome> {
    frozen = false;
    return trainer!.run(assignment, reducer);
  },
  freeze() {
    frozen = true;
    abortReduction?.();
  },
  voteToStop: () => trainer!.voteToStop(),
});

function report(step: StepReport): void {
  const now = systemClock.monotonicMs();
  if (now - reportedAtMs < reportEveryMs) return;
  reportedAtMs = now;
  const { step: n, epoch, stepInEpoch } = step.progress;
  agent.tell("stepped", { ...step, progress: { step: n, epoch, stepInEpoch } });
}

function describe(opened: OpenedProgram, { stepsPerEpoch, statisticsCount }: Trainer): ComputeInfo {
  const { engine, program, data: prepared } = opened;
  return {
    fingerprint: fingerprintOf(opened, data.shards),
    weightCount: program.weightCount,
    slotNames: program.slotNames,
    trainableCount: program.trainableCount,
    statisticsCount,
    parameters: program.parameters.map(({ name, shape, size, offset }) => ({ name, shape, size, offset })),
    preprocessing: prepared.preprocessing,
    trainingSamples: prepared.trainingSamples,
    validationSamples: prepared.validationSamples,
    stepsPerEpoch,
    engine: engine.description.library,
  };
}
