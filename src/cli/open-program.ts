/** Job file, data, engine and model, opened as every process that computes needs them. */
import { createHash } from "node:crypto";
import { openJobData } from "../adapters/data/open-job-data.ts";
import { type InitialWeights, readInitialWeights } from "../adapters/fs/initial-weights.ts";
import { describeJobError } from "../adapters/job-file/failure.ts";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { memoryInUse } from "../adapters/system/memory.ts";
import { instructionSets } from "../adapters/system/processor.ts";
import { oneDnnSetting } from "../adapters/tfjs/engine-environment.ts";
import { numericsDigest } from "../adapters/tfjs/numerics.ts";
import { loadTensorFlow, openEngine } from "../adapters/tfjs/open-engine.ts";
import type { EngineChoice } from "../adapters/tfjs/prepare-engine.ts";
import { graphDigest, probeKernels } from "../adapters/tfjs/probe.ts";
import { LockstepError } from "../core/errors.ts";
import type { Fingerprint } from "../core/fingerprint.ts";
import type { Job } from "../core/job.ts";
import { jobFields } from "../core/job-fields.ts";
import { encodeJson } from "../core/json.ts";
import { arithmeticVersion } from "../core/limits.ts";
import { type MemoryPart, type MemorySizes, memoryParts } from "../core/memory-need.ts";
import { RandomStream } from "../core/random.ts";
import { type JobSettings, toldSettings } from "../core/settings.ts";
import { outputShape, type Preprocessing, sizeOf } from "../core/transforms.ts";
import { asBuiltBefore, type NameWeights } from "../core/weight-names.ts";
import type { DataPlace } from "../ports/dataset.ts";
import type { Engine } from "../ports/engine.ts";
import { PreparedData } from "../runtime/prepared-data.ts";
import { type Batch, TrainingProgram } from "../runtime/training-program.ts";

export interface JobRequest {
  readonly jobPath: string;
  /** What is said beside the job file. */
  readonly settings: JobSettings;
  readonly data: DataPlace;
}

export interface EngineRequest {
  readonly choice: EngineChoice;
  /** Whether an engine that lacks a kernel may be replaced by one that has it. */
  readonly mayFallBack: boolean;
  readonly threads: number;
}

export interface ProgramRequest extends JobRequest, EngineRequest {
  /** Instead of the job file's; null: those. */
  readonly epochs: number | null;
}

export interface OpenedJob {
  readonly job: Job;
  readonly data: PreparedData;
  /** "sha256:…" over the job file's text and that of what it imports. */
  readonly sourceDigest: string;
  /** Null where all weights are drawn. */
  readonly initialWeights: InitialWeights | null;
}

/** Of what this process has opened before: the engine, and what the weights of a model are called that is not its first. */
interface BuiltBefore {
  readonly engine: Engine;
  readonly nameWeights: NameWeights;
}

/** A job's model for samples that are pre-processed as a checkpoint says. */
export interface OpenedModel {
  readonly job: Job;
  readonly engine: Engine;
  readonly program: TrainingProgram;
}

export interface OpenedProgram extends OpenedJob {
  readonly engine: Engine;
  readonly program: TrainingProgram;
  /** The engine that is used in the end. */
  readonly choice: EngineChoice;
}

/** What needs no engine. */
export async function openJob({ jobPath, settings, data: place }: JobRequest): Promise<OpenedJob> {
  const { job, digest: sourceDigest } = await loadJob(jobPath, settings);
  const data = new PreparedData(await openJobData(job, place), job);
  const initialWeights =
    job.initialWeights === null ? null : await readInitialWeights(job.initialWeights, place.directory);
  return { job, data, sourceDigest, initialWeights };
}

/**
 * Opens what can evaluate and predict: it needs no training data, since a checkpoint knows what was learned from it.
 * @param before null where this process has opened no model yet
 */
export async function openModel(
  { jobPath, settings, ...request }: EngineRequest & Pick<JobRequest, "jobPath" | "settings">,
  { features, label }: Preprocessing,
  before: BuiltBefore | null,
): Promise<OpenedModel> {
  loadTensorFlow();
  const { job } = await loadJob(jobPath, settings);
  const shapes = { features: outputShape(features), label: outputShape(label) };
  const openWith = (engine: Engine, nameWeights: NameWeights | null) => ({
    ...{ job, engine },
    program: new TrainingProgram(engine, job, shapes, nameWeights),
  });
  const engineOf = (choice: EngineChoice) => openEngine(choice, { threads: request.threads });
  try {
    const first = openWith(before?.engine ?? (await engineOf(request.choice)), before?.nameWeights ?? null);
    const { engine, program } = first;
    const sample = {
      count: 1,
      features: new Float32Array(sizeOf(shapes.features)),
      label: new Float32Array(sizeOf(shapes.label)),
    };
    const missing = probeKernels(engine, () => program.trace(sample, new RandomStream(0, "step")));
    if (missing === null) return first;
    if (!request.mayFallBack || request.choice.kind !== "wasm") throw lacks(request.choice.kind, missing);
    return openWith(await engineOf({ ...request.choice, kind: "cpu" }), asBefore(program));
  } catch (error) {
    throw describeJobError(error, jobPath);
  }
}

/** `opening` is the job, where somebody has begun to open it; null: it is opened here. */
export async function openProgram(
  request: ProgramRequest,
  say: (line: string) => void,
  opening: Promise<OpenedJob> | null = null,
): Promise<OpenedProgram> {
  loadTensorFlow();
  const { job: written, data, initialWeights, sourceDigest } = await (opening ?? openJob(request));
  const job = { ...written, epochs: request.epochs ?? written.epochs };
  const first = await openWith(request.choice, null);
  await data.checkClasses(first.program.classNumbers);
  const missing = ofTheJob(() => probe(first));
  if (missing === null) return first;
  if (!request.mayFallBack || request.choice.kind !== "wasm") {
    throw lacks(request.choice.kind, missing);
  }
  say(
    `The WebAssembly engine lacks ${missing}, which this model needs; the pure JavaScript engine trains it instead, slowly.`,
  );
  return openWith({ ...request.choice, kind: "cpu" }, asBefore(first.program));

  async function openWith(choice: EngineChoice, nameWeights: NameWeights | null): Promise<OpenedProgram> {
    const engine = await openEngine(choice, { threads: request.threads });
    const program = ofTheJob(() => new TrainingProgram(engine, job, data.shapes, nameWeights, initialWeights));
    return { job, data, initialWeights, engine, program, sourceDigest, choice };
  }

  /** Errors of the model name the job file, and the line where it was. */
  function ofTheJob<T>(run: () => T): T {
    try {
      return run();
    } catch (error) {
      throw describeJobError(error, request.jobPath);
    }
  }
}

/** What a worker with this program needs beside what this process has in use now. */
export function memoryOf(
  { valueCount, reducedCount, trainableCount, partEnds }: TrainingProgram,
  world: Pick<MemorySizes, "shards" | "mostWorkers">,
): readonly MemoryPart[] {
  return memoryParts({ inUseBytes: memoryInUse(), valueCount, reducedCount, trainableCount, partEnds, ...world });
}

/** For the same model, which has to be built a second time. */
function asBefore({ parameters }: TrainingProgram): NameWeights {
  return asBuiltBefore(parameters.map(({ name }) => name));
}

function lacks(kind: string, kernel: string): LockstepError {
  return new LockstepError(
    "engine-unavailable",
    `The engine "${kind}" cannot compute this model: it lacks ${kernel}.`,
    {
      hint: "Choose another with --engine, or leave it out.",
    },
  );
}

/** Takes one step's gradients and validates on one sample: what is missing is found before the first step, not in it. */
function probe(opened: OpenedProgram): string | null {
  const { engine, program, data } = opened;
  const sample = data.training(Uint32Array.of(0));
  const missing = probeKernels(engine, () => program.trace(sample, new RandomStream(1, "step")));
  // Twice, since an engine that records finds out so whether a step is the same every time.
  if (missing === null && engine.description.step === "recorded") program.trace(sample, new RandomStream(2, "step"));
  return missing;
}

/** What must be equal on every node that trains this, and what may differ at a price: see core/fingerprint.ts. */
export function fingerprintOf(opened: OpenedProgram, shards: number): Fingerprint {
  const { job, data, engine, program, sourceDigest } = opened;
  // First, as it may turn out then that the engine cannot record this model's steps.
  const graph = graphDigest(engine, () => program.trace(zerosFor(data), new RandomStream(0, "step")));
  const { kind, library, device, gpu, threads, step, architecture } = engine.description;
  const native = kind === "native";
  return {
    ...jobFields(job),
    ...(opened.initialWeights === null ? {} : { "job.initialWeights": opened.initialWeights.digest }),
    "job.graph": graph,
    "data.digest": data.digest,
    "data.preprocessing": `sha256:${createHash("sha256").update(encodeJson(data.preprocessing)).digest("hex")}`,
    "engine.kind": kind,
    "engine.library": library,
    "engine.device": device,
    "engine.architecture": architecture,
    "engine.step": step,
    "engine.threads": String(threads),
    shards: String(shards),
    arithmetic: String(arithmeticVersion),
    "source.job": sourceDigest,
    ...toldSettings(job.settings),
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
