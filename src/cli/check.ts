/** `lockstep check`: everything that can be known before training, found out without starting anything. */
import { dirname, resolve } from "node:path";
import { openDataset } from "../adapters/data/open-dataset.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { memoryLimit } from "../adapters/system/memory.ts";
import { engineEnvironment } from "../adapters/tfjs/engine-environment.ts";
import { prepareEngine } from "../adapters/tfjs/prepare-engine.ts";
import { knownOf } from "../core/columns.ts";
import { CheckpointError } from "../core/manifest.ts";
import { LockstepError } from "../core/errors.ts";
import { checkMemory, memorySentence } from "../core/memory-need.ts";
import { type LayerSummary, modelSummary } from "../core/model-summary.ts";
import { formatCount, formatValue } from "../core/number-format.ts";
import { stepsPerEpoch } from "../core/sampler.ts";
import { settingsText } from "../core/settings.ts";
import { plural } from "../core/summary-table.ts";
import { shapeDifference } from "../core/transforms.ts";
import { fitSentence } from "../runtime/begin-with.ts";
import { type TrialStep, trialSteps } from "../runtime/trial-steps.ts";
import { contentToSnapshot } from "../runtime/state.ts";
import type { Arguments, Command } from "./command.ts";
import { applyEnvironment, dataPlaceOf, processLog, settingsOf, shared, wishOf } from "./common.ts";
import type { Checked } from "./launch.ts";
import { memoryOf, type OpenedProgram, openProgram } from "./open-program.ts";
import { openPlace } from "./open-storage.ts";

export const check: Command = {
  name: "check",
  summary: "Check a job: open its data, its model and the engine, and train two steps; starts nothing, keeps nothing.",
  argument: { name: "JOB.ts", help: "the job file" },
  options: {
    set: shared.set,
    param: shared.param,
    data: shared.data,
    "data-memory": shared.dataMemory,
    engine: shared.engine,
    device: shared.device,
    shards: { value: "S", help: "logical shards of every batch (default: 1)" },
    workers: { value: "W", help: "workers that share this machine's memory (default: 1)" },
    checkpoints: { value: "DIR|URL", help: "where the checkpoint of --checkpoint is" },
    checkpoint: { value: "ID", help: "see that the model and its optimizer can go on from it" },
    "fall-back": { value: null, help: "take another engine where the one named lacks a kernel" },
  },
  run: runCheck,
};

function layersOf({ program: { model } }: OpenedProgram): readonly LayerSummary[] {
  const sizeOf = (weights: readonly { readonly shape: readonly (number | null)[] }[]) =>
    weights.reduce((sum, { shape }) => sum + shape.reduce<number>((product, size) => product * (size ?? 1), 1), 0);
  return model.layers.map((layer) => ({
    name: layer.name,
    kind: layer.getClassName(),
    // Of several outputs it is a list of shapes.
    outputShape: [layer.outputShape].flat().some(Array.isArray)
      ? (layer.outputShape as (number | null)[][])[0]!
      : (layer.outputShape as (number | null)[]),
    weights: sizeOf(layer.weights),
    trainable: sizeOf(layer.trainableWeights),
  }));
}

function trialSentence(steps: readonly TrialStep[]): string {
  const last = steps.at(-1)!; // there is one: see trialSteps
  const values = Object.entries(last.metrics).map(([name, value]) => `${name} ${formatValue(value)}`);
  const took = steps.map(({ stepMs }) => `${stepMs.toFixed(stepMs < 10 ? 1 : 0)} ms`).join(" and ");
  return `Trained ${plural(steps.length, "step")} here, in ${took} alone on one thread: ${values.join(", ")}. Nothing is kept of it.`;
}

async function runCheck(args: Arguments): Promise<number> {
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const choice = await prepareEngine(wishOf(args), say);
  applyEnvironment(engineEnvironment(choice, { threads: 1, gpuIndex: choice.device === "gpu" ? 0 : null }));
  const place = dataPlaceOf(args, dirname(resolve(args.argument)));
  const notices: string[] = [];
  const jobPath = resolve(args.argument);
  const opened = await openProgram(
    {
      jobPath,
      settings: settingsOf(args),
      data: place,
      choice,
      mayFallBack: args.flag("fall-back") || args.text("engine") === undefined,
      threads: 1,
      epochs: null,
    },
    (line) => notices.push(line),
  );
  const { job, data, program, engine } = opened;
  const shards = args.whole("shards", 1) ?? 1;
  if (data.trainingSamples < shards) {
    throw new LockstepError(
      "invalid-data",
      `There are ${data.trainingSamples} training samples for ${shards} shards; every shard needs at least one.`,
      {
        hint: "Use fewer shards or workers, or more data.",
      },
    );
  }
  if (job.batchSize < shards) {
    throw new LockstepError(
      "invalid-job",
      `batchSize is ${job.batchSize}, fewer than the ${shards} shards that share a batch.`,
      {
        hint: `Use a batchSize of at least ${shards}, or fewer shards or workers.`,
      },
    );
  }
  const memory = memoryOf(program, { shards, mostWorkers: shards });
  checkMemory(memory, memoryLimit(), args.whole("workers", 1) ?? 1);
  if (job.test) await checkTest();
  const [directory, id] = [args.text("checkpoints"), args.text("checkpoint")];
  if (directory !== undefined && id !== undefined) {
    const storage = await openPlace(directory, processLog(args));
    const content = await storage.load(id).catch((error: unknown) => {
      // Whoever goes on from it waits for it, or finds that it is gone.
      if (error instanceof CheckpointError && error.problem !== "corrupt") return null;
      throw error;
    });
    if (content) contentToSnapshot(content, program);
  }
  // What an error of measurements would make of classes is nothing to say.
  const lacking = /rossentropy$/.test(job.loss) ? data.lackingClasses() : null;
  const steps = stepsPerEpoch(data.trainingSamples, job.batchSize);
  const lines = [
    ...notices,
    `Data: ${formatCount(data.trainingSamples)} training and ${formatCount(data.validationSamples)} validation samples. Model: ${formatCount(program.weightCount)} weights. ${formatCount(steps)} steps an epoch. Engine: ${engine.description.library} on ${engine.description.gpu ?? engine.description.device}.${
      engine.description.notRecorded === null
        ? ""
        : ` Steps run one op at a time, and not as a graph: ${engine.description.notRecorded}.`
    }`,
    ...(program.fit === null ? [] : [fitSentence(job.initialWeights!, program.fit)]),
    memorySentence(memory),
    ...(lacking === null ? [] : [lacking]),
  ];
  const checked: Checked & { event: string } = {
    event: "checked",
    engine: opened.choice.kind,
    trainingSamples: data.trainingSamples,
    lines,
  };
  if (process.send) {
    process.send(checked);
    return 0;
  }
  const told = settingsText(job.settings);
  const head = [`${job.name}${told === null ? "" : ` with ${told}`}`, ...modelSummary(layersOf(opened)), ""];
  for (const line of [...head, ...lines]) process.stdout.write(`${line}\n`);
  process.stdout.write(`${trialSentence(await trialSteps({ program, job, data, shards, clock: systemClock }, 2))}\n`);
  return 0;

  async function checkTest(): Promise<void> {
    const test = await openDataset(job.test!, place.directory, {
      ...knownOf(data.preprocessing.columns),
      memoryBytes: place.memoryBytes,
    });
    const difference = shapeDifference(test, data.preprocessing);
    // What would be found once all training is done is found now.
    if (difference === null) return data.checkClasses(program.classNumbers, test);
    const { what, has, wants } = difference;
    throw new LockstepError("invalid-data", `The test data has ${has} ${what} a sample, the training data ${wants}.`, {
      hint: "Both files need the same columns.",
    });
  }
}
