/** Job file, data, engine and model, opened as every process that computes needs them. */

import { openDataset } from "../adapters/data/open-dataset.ts";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { openEngine, probeKernels } from "../adapters/tfjs/open-engine.ts";
import type { EngineChoice } from "../adapters/tfjs/prepare-engine.ts";
import { LockstepError } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import { RandomStream } from "../core/random.ts";
import type { Engine } from "../ports/engine.ts";
import { PreparedData } from "../runtime/prepared-data.ts";
import { TrainingProgram } from "../runtime/training-program.ts";

export interface ProgramRequest {
  readonly jobPath: string;
  /** Where relative data paths lead. */
  readonly dataDirectory: string;
  readonly choice: EngineChoice;
  /** Whether an engine that lacks a kernel may be replaced by one that has it. */
  readonly mayFallBack: boolean;
  readonly threads: number;
}

export interface OpenedProgram {
  readonly job: Job;
  readonly data: PreparedData;
  readonly engine: Engine;
  readonly program: TrainingProgram;
  /** The engine that is used in the end. */
  readonly choice: EngineChoice;
}

export async function openProgram(request: ProgramRequest, say: (line: string) => void): Promise<OpenedProgram> {
  const { job } = await loadJob(request.jobPath);
  const dataset = await openDataset(job.data, request.dataDirectory);
  const data = new PreparedData(dataset, job);
  const first = await openWith(request.choice);
  const missing = probe(first);
  if (missing === null) return first;
  if (!request.mayFallBack || request.choice.kind !== "wasm") {
    throw new LockstepError(
      "engine-unavailable",
      `The engine "${request.choice.kind}" cannot train this model: it lacks ${missing}.`,
      {
        hint: "Choose another with --engine, or leave it out.",
      },
    );
  }
  say(
    `The WebAssembly engine lacks ${missing}, which this model needs; the pure JavaScript engine trains it instead, slowly.`,
  );
  return openWith({ ...request.choice, kind: "cpu" });

  async function openWith(choice: EngineChoice): Promise<OpenedProgram> {
    const engine = await openEngine(choice, { threads: request.threads });
    return { job, data, engine, program: new TrainingProgram(engine, job, data.shapes), choice };
  }
}

/** Takes one step's gradients on one sample, to find a missing kernel before the first step instead of in it. */
function probe({ engine, program, data }: OpenedProgram): string | null {
  const row = new Float32Array(program.weightCount);
  const sums = new Float64Array(program.sumNames.length);
  return probeKernels(engine, () =>
    program.gradients(data.training(Uint32Array.of(0)), new RandomStream(0, "step"), row, sums),
  );
}
