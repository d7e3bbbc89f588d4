/** A checkpoint's folder, read for a program that uses what was trained. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { LockstepError } from "../../core/errors.ts";
import type { DecodeLabel } from "../../core/job.ts";
import { isPlainName, parseManifest } from "../../core/manifest.ts";
import { labelDecoder, textEncoder } from "../../core/prediction.ts";
import { applyTransforms, outputShape, type Preprocessing, sizeOf } from "../../core/transforms.ts";
import type { Manifest } from "../../core/manifest.ts";
import type { CheckpointStorage, NamedTensor } from "../../ports/checkpoint-storage.ts";
import type { LayersModel, TensorFlow } from "../../ports/engine.ts";
import type { Log } from "../../ports/log.ts";
import { isS3Location } from "../s3/location.ts";
import { manifestName } from "./checkpoint-reader.ts";
import { openDirectoryStorage } from "./checkpoint-storage.ts";

export interface LoadedCheckpoint {
  /** Of which job, run and state it is, with digests, metrics and the reasons why it is only equivalent, if it is. */
  readonly manifest: Omit<Manifest, "files">;
  /** In the order of the model's own weights. */
  readonly weights: readonly NamedTensor[];
  /** Rows of raw values, as the training data has them, as the model's input: the checkpoint's pre-processing. */
  encodeFeatures(rows: readonly (readonly number[])[]): { readonly values: Float32Array; readonly shape: number[] };
  /** A text as raw values, of any length: its characters, or its pieces where the job's text has `tokens`. */
  encodeText(text: string): number[];
  /** The value of the label that an output index stands for; `decodeLabel<string>(i)` of a category. */
  readonly decodeLabel: DecodeLabel;
}

/** A model of the same layers, and the TensorFlow.js that it was made with. */
export interface LoadIntoModel {
  readonly tf: TensorFlow;
  readonly model: LayersModel;
}

/** `folder` may be a URL in object storage too. Verifies size and SHA-256 of every file before it gives anything, or puts the weights into a model. */
export async function loadCheckpointFolder(folder: string, into: LoadIntoModel | null): Promise<LoadedCheckpoint> {
  const { storage, id } = await placeOf(folder);
  const { manifest, weights, state } = await storage.load(id);
  const { preprocessing } = state as { preprocessing: Preprocessing }; // as lockstep wrote it: its hash is right
  const { features } = preprocessing;
  if (into) fill(into, weights, id);
  return {
    manifest,
    // Without the optimizer's, whose memory they lie in, and which threads share.
    weights: weights.map(({ name, shape, values }) => ({ name, shape, values: values.slice() })),
    encodeText: textEncoder(preprocessing.columns),
    decodeLabel: labelDecoder(preprocessing),
    encodeFeatures(rows) {
      const width = sizeOf(features.shape);
      const wrong = rows.findIndex((row) => row.length !== width);
      if (wrong >= 0) {
        throw new LockstepError("usage", `Row ${wrong} has ${rows[wrong]!.length} values; the model takes ${width}.`);
      }
      const values = applyTransforms(features, Float32Array.from(rows.flat()), rows.length);
      return { values, shape: [rows.length, ...outputShape(features)] };
    },
  };
}

/** `folder` as a path, or as a URL in object storage. */
async function placeOf(folder: string): Promise<{ storage: CheckpointStorage; id: string }> {
  if (isS3Location(folder)) {
    const [, place = "", id = ""] = /^(s3:\/\/[^/]+.*?)\/+([^/]+)\/*$/i.exec(folder) ?? [];
    // Its library is loaded by whoever needs it, and by nobody else.
    const { openS3Storage } = await import("../s3/checkpoint-storage.ts");
    if (isPlainName(id)) return { storage: await openS3Storage(place, silent), id };
    throw new LockstepError(
      "usage",
      `${JSON.stringify(folder)} is no checkpoint in object storage; s3://BUCKET/PREFIX/ID was expected.`,
    );
  }
  const directory = resolve(folder);
  const id = basename(directory);
  if (isPlainName(id) && existsSync(join(directory, manifestName))) {
    const storage = await openDirectoryStorage(dirname(directory), silent);
    await refuseOtherName(directory, id);
    return { storage, id };
  }
  throw new LockstepError("usage", `There is no checkpoint ${directory}; a folder with a manifest.json was expected.`, {
    hint: "`lockstep checkpoints list` shows the checkpoints of a run, and where they are.",
  });
}

/** A checkpoint's folder has its name: one that was copied under another is not damaged. */
async function refuseOtherName(directory: string, name: string): Promise<void> {
  const id = idIn(await readFile(join(directory, manifestName), "utf8"));
  if (id === null || id === name) return;
  throw new LockstepError("usage", `The folder ${directory} holds the checkpoint ${id}, under another name.`, {
    hint: `Call the folder ${id} again; the one around it may be called whatever you like.`,
  });
}

/** Null: it is damaged, which whoever reads the checkpoint says. */
function idIn(manifest: string): string | null {
  try {
    return parseManifest(manifest).id;
  } catch {
    return null;
  }
}

/** By position: names have numbers in them that depend on how many layers a process has made. All weights, or none. */
function fill({ tf, model }: LoadIntoModel, weights: readonly NamedTensor[], id: string): void {
  const misfit = (what: string) =>
    new LockstepError("incompatible", `The checkpoint ${id} does not fit the model: ${what}.`, {
      hint: "Make the model as the job file does.",
    });
  if (weights.length !== model.weights.length) {
    throw misfit(`it has ${weights.length} weights, and the model ${model.weights.length}`);
  }
  for (const [i, { name, shape }] of weights.entries()) {
    const weight = model.weights[i]!;
    if (weight.shape.join() !== shape.join()) {
      throw misfit(`${name} has the shape [${shape.join(", ")}], and ${weight.name} [${weight.shape.join(", ")}]`);
    }
  }
  const tensors = weights.map(({ values, shape }) => tf.tensor(values, [...shape]));
  model.setWeights(tensors);
  tf.dispose(tensors);
}

/** What is wrong is thrown. */
const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, with: () => silent };
