/** `lockstep checkpoints export`: a checkpoint's model for other programs. */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { exportTensors } from "../../adapters/fs/export-tensors.ts";
import { exportModel } from "../../adapters/tfjs/export-model.ts";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { mapsIn, type Preprocessing } from "../../core/transforms.ts";
import { preprocessingOf } from "../../runtime/state.ts";
import { formatBytes, formatCount } from "../../core/number-format.ts";
import type { Arguments, Command } from "../command.ts";
import {
  type FoundCheckpoints,
  findCheckpoints,
  resolveCheckpoint,
  whichCheckpoints,
  wordsOf,
} from "../find-checkpoints.ts";
import { computing, openCheckpoint } from "../open-checkpoint.ts";
import { described, tensorMetadata } from "./described.ts";

const formats = ["tfjs", "safetensors"] as const;

export const exportCheckpoint: Command = {
  name: "checkpoints export",
  summary: "Write a checkpoint's model for TensorFlow.js in browsers and Node, or its weights for Python.",
  argument: {
    name: "[JOB.ts] ID",
    help: "the job file, which tfjs needs for the model; and the checkpoint: best, latest, an id or a part of it",
    most: 2,
  },
  options: {
    to: { value: "FORMAT", help: "tfjs: model.json and weight shards; safetensors: one file with the weights" },
    output: { value: "PATH", help: "the folder (tfjs) or file (safetensors) to make (default: named after the id)" },
    ...whichCheckpoints,
    ...computing,
  },
  details: `Examples:
  lockstep checkpoints export digits.ts best --to tfjs --output public/model
  lockstep checkpoints export best --job digits --to safetensors --output digits.safetensors

tf.loadLayersModel("https://…/model.json") opens the first; model.getUserDefinedMetadata() then tells which checkpoint it
was, and what to do to raw values before they go in. safetensors.numpy.load_file("digits.safetensors") opens the second.
Every hash is verified first, and nothing that is there is written over.`,
  run: runExport,
};

async function runExport(args: Arguments): Promise<number> {
  const { jobFile, ids } = wordsOf(args);
  const format = args.oneOf("to", formats);
  if (format === undefined) {
    throw new LockstepError("usage", "--to is missing: to which format, tfjs or safetensors?");
  }
  const [word] = ids;
  if (word === undefined || ids.length > 1) {
    throw new LockstepError("usage", "Which checkpoint? One was expected: best, latest, an id, or a part of one.", {
      hint: "`lockstep checkpoints list` tells which there are.",
    });
  }
  if (format === "tfjs" && jobFile === null) {
    throw new LockstepError(
      "usage",
      "--to tfjs needs the job file: the model's layers are in it, and not in checkpoints.",
      {
        hint: `As in \`lockstep checkpoints export JOB.ts ${word} --to tfjs\`.`,
      },
    );
  }
  const found = await findCheckpoints(args, jobFile);
  const id = resolveCheckpoint(found, word);
  const path = resolve(args.text("output") ?? (format === "tfjs" ? `${id}-tfjs` : `${id}.safetensors`));
  if (existsSync(path)) {
    throw new LockstepError("usage", `${path} is there already; nothing is written over.`, {
      hint: "Give another --output, or remove it first.",
    });
  }
  const lines = format === "tfjs" ? await toTfjs(args, jobFile!, found, id, path) : await toTensors(found, id, path);
  process.stdout.write(`${lines.join("\n")}\n`);
  return 0;
}

async function toTfjs(
  args: Arguments,
  jobFile: string,
  found: FoundCheckpoints,
  id: string,
  path: string,
): Promise<string[]> {
  const { engine, program, content } = await openCheckpoint(args, jobFile, found, await found.load(id));
  const preprocessing = preprocessingOf(content);
  const metadata = { lockstep: { ...described(content), preprocessing } };
  const files = await writing(path, () => exportModel(engine.tf, program.model, path, metadata));
  const size = formatBytes(files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
  return [
    `${id}: ${formatCount(program.weightCount)} weights, ${size}, in ${join(path, "model.json")}`,
    ...notCarried(preprocessing),
  ];
}

async function toTensors({ load }: FoundCheckpoints, id: string, path: string): Promise<string[]> {
  const content = await load(id);
  const sizeBytes = await writing(path, () => exportTensors(path, content.weights, tensorMetadata(content)));
  return [
    `${id}: ${formatCount(content.weights.length)} tensors, ${formatBytes(sizeBytes)}, in ${path}`,
    ...notCarried(preprocessingOf(content)),
  ];
}

/** What whoever uses the export has to do by themselves. */
function notCarried({ features, label }: Preprocessing): string[] {
  const count = mapsIn(features).length + mapsIn(label).length;
  if (count === 0) return [];
  return [
    `Not in it: ${count === 1 ? "the function of a map()" : `the functions of ${count} map()s`}, of which the metadata has the text; call ${count === 1 ? "it" : "them"} before the values go into the model.`,
  ];
}

async function writing<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    await mkdir(dirname(path), { recursive: true });
    return await write();
  } catch (error) {
    if (error instanceof LockstepError) throw error;
    throw new LockstepError("usage", `${path} cannot be written: ${messageOf(error)}.`, {
      hint: "Give another --output.",
      cause: error,
    });
  }
}
