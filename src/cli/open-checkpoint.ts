/** A checkpoint's model, ready to evaluate, predict or be exported. */
import { resolve } from "node:path";
import { engineEnvironment } from "../adapters/tfjs/engine-environment.ts";
import { prepareEngine } from "../adapters/tfjs/prepare-engine.ts";
import { areSameSettings, settingsIn } from "../core/settings.ts";
import type { Job } from "../core/job.ts";
import { encodeJson } from "../core/json.ts";
import { bindMaps, outputShape, type Preprocessing } from "../core/transforms.ts";
import { asInCheckpoint } from "../core/weight-names.ts";
import type { CheckpointContent } from "../ports/checkpoint-storage.ts";
import { contentToWeights, preprocessingOf } from "../runtime/state.ts";
import type { Arguments } from "./command.ts";
import { applyEnvironment, shared, wishOf } from "./common.ts";
import { type FoundCheckpoints, findCheckpoints, resolveCheckpoint } from "./find-checkpoints.ts";
import { type OpenedModel, openModel } from "./open-program.ts";

/** The options that say what computes. */
export const computing = {
  engine: shared.engine,
  device: shared.device,
  threads: { value: "N", help: "compute threads (default: as in the run, or 1)" },
};

export interface ChosenCheckpoints {
  readonly found: FoundCheckpoints;
  readonly ids: readonly string[];
}

/** The checkpoints of --checkpoint; without it `best`, or `latest` where nothing is best. */
export async function chooseCheckpoints(
  args: Arguments,
  jobFile: string,
  words: readonly string[],
): Promise<ChosenCheckpoints> {
  const isPlain = words.length > 0 && words.every((word) => word !== "best" && word !== "latest");
  // An id in a folder says it all.
  const found = await findCheckpoints(args, isPlain && args.text("checkpoints") !== undefined ? null : jobFile);
  if (words.length > 0) return { found, ids: words.map((word) => resolveCheckpoint(found, word)) };
  const hasBest = !found.etcd || Boolean(found.etcd.pointers.best);
  if (!hasBest) process.stderr.write("No checkpoint is the best one yet; latest is taken.\n");
  return { found, ids: [resolveCheckpoint(found, hasBest ? "best" : "latest")] };
}

export interface OpenedCheckpoint extends OpenedModel {
  readonly content: CheckpointContent;
  readonly preprocessing: Preprocessing;
}

/** Opens the job's model, as it was trained with the settings that the checkpoint tells of, with the checkpoint's weights. */
export async function openCheckpoint(
  args: Arguments,
  jobFile: string,
  { etcd }: Pick<FoundCheckpoints, "etcd">,
  content: CheckpointContent,
  before: Pick<OpenedCheckpoint, "engine"> | null = null,
): Promise<OpenedCheckpoint> {
  const threads = args.whole("threads", 1) ?? etcd?.record.threads ?? 1;
  const choice = await prepareEngine(wishOf(args), (line) => void process.stderr.write(`${line}\n`));
  applyEnvironment(engineEnvironment(choice, { threads, gpuIndex: choice.device === "gpu" ? 0 : null }));
  const settings = settingsIn(content.manifest.fingerprint);
  const request = {
    jobPath: resolve(jobFile),
    settings,
    choice,
    threads,
    mayFallBack: args.text("engine") === undefined,
  };
  const names = content.weights.map(({ name }) => name);
  const nameWeights = asInCheckpoint(content.manifest.id, names);
  const opened = await openModel(request, preprocessingOf(content), before && { engine: before.engine, nameWeights });
  useCheckpoint(opened, content);
  return { ...opened, content, preprocessing: preprocessingFor(opened.job, content) };
}

/** The same model with another checkpoint's weights; opened anew where that was trained with other settings, or on samples of other shapes. */
export async function withCheckpoint(
  opened: OpenedCheckpoint,
  content: CheckpointContent,
  open: (content: CheckpointContent) => Promise<OpenedCheckpoint>,
): Promise<OpenedCheckpoint> {
  const [own, others] = [opened.content, content].map(({ manifest }) => settingsIn(manifest.fingerprint));
  const [shapes, otherShapes] = [opened.preprocessing, preprocessingOf(content)].map(({ features, label }) =>
    encodeJson([outputShape(features), outputShape(label)]),
  );
  if (!areSameSettings(own!, others!) || shapes !== otherShapes) return open(content);
  useCheckpoint(opened, content);
  return { ...opened, content, preprocessing: preprocessingFor(opened.job, content) };
}

/** What is done to samples before they go into the model: as the checkpoint says, and by the functions that only the job file has. */
function preprocessingFor({ preprocess }: Job, content: CheckpointContent): Preprocessing {
  const { features, label, ...columns } = preprocessingOf(content);
  return { features: bindMaps(features, preprocess.features), label: bindMaps(label, preprocess.label), ...columns };
}

/** Puts a checkpoint's weights into the model; refuses one that was made by another model. */
function useCheckpoint({ program }: Pick<OpenedModel, "program">, content: CheckpointContent): void {
  program.load(contentToWeights(content, program));
  program.useWeights();
}
