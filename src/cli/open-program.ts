/** Job file, data, engine and model, opened as every process that computes needs them. */
import { createHash } from "node:crypto";
import { openDataset } from "../adapters/data/open-dataset.ts";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { instructionSets } from "../adapters/system/processor.ts";
import { numericsDigest } from "../adapters/tfjs/numerics.ts";
import { oneDnnSetting, openEngine } from "../adapters/tfjs/open-engine.ts";
import type { EngineChoice } from "../adapters/tfjs/prepare-engine.ts";
import { graphDigest, probeKernels } from "../adapters/tfjs/probe.ts";
import { LockstepError } from "../core/errors.ts";
import type { Fingerprint } from "../core/fingerprint.ts";
import type { Job } from "../core/job.ts";
import { jobFields } from "../core/job-fields.ts";
import { encodeJson } from "../core/json.ts";
import { arithmeticVersion } from "../core/limits.ts";
import { RandomStream } from "../core/random.ts";
import type { Engine } from "../ports/engine.ts";
import { PreparedData } from "../runtime/prepared-data.ts";
import { type Batch, TrainingProgram } from "../runtime/training-program.ts";

export interface ProgramRequest {
  readonly jobPath: string;
  /** Where relative data paths lead. */
  readonly dataDirectory: string;
  readonly choice: EngineChoice;
  /** Whether an engine that lacks a kernel may be replaced by one that has it. */
  readonly mayFallBack: boolean;
  readonly threads: number;
  /** Instead of the job file's; null: those. */
  readonly epochs: number | null;
}

export interface OpenedProgram {
  readonly job: Job;
  readonly data: PreparedData;
  readonly engine: Engine;
  readonly program: TrainingProgram;
  /** "sha256:…" over the job file's text and that of what it imports. */
  readonly sourceDigest: string;
  /** The engine that is used in the end. */
  readonly choice: EngineChoice;
}

export async function openProgram(request: ProgramRequest, say: (line: string) => void): Promise<OpenedProgram> {
  const { job: written, digest: sourceDigest } = await loadJob(request.jobPath);
  const job = { ...written, epochs: request.epochs ?? written.epochs };
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
    return { job, data, engine, program: new TrainingProgram(engine, job, data.shapes), sourceDigest, choice };
  }
}

/** Takes one step's gradients on one sample, to find a missing kernel before the first step instead of in it. */
function probe(opened: OpenedProgram): string | null {
  return probeKernels(opened.engine, () => stepOn(opened, opened.data.training(Uint32Array.of(0))));
}

/** What must be equal on every node that trains this, and what may differ at a price: see core/fingerprint.ts. */
export function fingerprintOf(opened: OpenedProgram, shards: number): Fingerprint {
  const { job, data, engine, sourceDigest } = opened;
  const { kind, library, device, gpu, threads, step, architecture } = engine.description;
  const native = kind === "native";
  return {
    ...jobFields(job),
    "job.graph": graphDigest(engine, () => stepOn(opened, zerosFor(data))),
    "data.digest": data.digest,
    "data.preprocessing": `sha256:${createHash("sha256").update(encodeJson(data.preprocessing)).digest("hex")}`,
    "engine.kind": kind,
    "engine.library": library,
    "engine.device": device,
    "engine.architecture": architecture,
    "engine.step": step,
    "engine.threads": String(threads),
    shards: String(shards),
    wire: "float32",
    arithmetic: String(arithmeticVersion),
    "source.job": sourceDigest,
    // Without native code the bits are those of JavaScript and WebAssembly, which are the same everywhere.
    "node.instructions": native ? instructionSets() : "any",
    "node.onednn": native ? oneDnnSetting : "none",
    "node.gpu": gpu ?? "none",
    "node.numerics": numericsDigest(engine),
  };
}

/** One sample of zeros: what is computed is asked for, and the data has its own digest. */
function zerosFor(data: PreparedData): Batch {
  const { features, label } = data.training(Uint32Array.of(0));
  return { count: 1, features: new Float32Array(features.length), label: new Float32Array(label.length) };
}

function stepOn({ program }: OpenedProgram, batch: Batch): void {
  const row = new Float32Array(program.weightCount);
  const sums = new Float64Array(program.sumNames.length);
  program.gradients(batch, new RandomStream(0, "step"), row, sums);
}
