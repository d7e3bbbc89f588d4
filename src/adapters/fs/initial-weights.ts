/** Weights that a job begins with: a checkpoint's, those of a TensorFlow.js model, a safetensors file's, or those of a file of Keras. */
import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { LockstepError, messageOf } from "../../core/errors.ts";
import type { GivenLayer } from "../../core/keras-names.ts";
import { dataSizeBytes, decodeHeader, decodeHeaderSize, lengthSizeBytes } from "../../core/safetensors.ts";
import type { NamedTensor } from "../../ports/checkpoint-storage.ts";
import { dataFiles } from "../data/data-files.ts";
import { isS3Location } from "../s3/location.ts";
import { type KerasWeights, readKerasWeights } from "./keras-weights.ts";
import { loadCheckpointFolder } from "./load-checkpoint.ts";
import { tensorsAt } from "./tensor-file.ts";

export interface InitialWeights {
  /** As the job file names it. */
  readonly path: string;
  /** "sha256:…" over names, shapes and values, in whatever form they came. */
  readonly digest: string;
  readonly tensors: readonly NamedTensor[];
  /** What else the file says: of Keras' alone. */
  readonly unnamed: readonly string[];
  readonly layers: readonly GivenLayer[];
}

/** @param baseDirectory where a relative path leads from: the data's */
export async function readInitialWeights(path: string, baseDirectory: string): Promise<InitialWeights> {
  const place = isS3Location(path) ? path : resolve(baseDirectory, path);
  const { tensors: read, unnamed = [], layers = [] } = await readTensors(place);
  const tensors = [...read].sort((a, b) => (a.name < b.name ? -1 : 1));
  const hash = createHash("sha256");
  for (const { name, shape, values } of tensors) {
    hash.update(`${JSON.stringify([name, shape])}\n`);
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  return { path, digest: `sha256:${hash.digest("hex")}`, tensors, unnamed, layers };
}

type Given = Pick<KerasWeights, "tensors"> & Partial<KerasWeights>;

async function readTensors(place: string): Promise<Given> {
  if (await isFolder(place)) return { tensors: (await loadCheckpointFolder(place, null)).weights };
  const file = await localFile(place);
  try {
    if (/\.(h5|hdf5|keras)$/i.test(place)) return await readKerasWeights(file);
    return { tensors: /\.json$/i.test(place) ? await ofModelJson(place) : ofSafetensors(await readFile(file)) };
  } catch (cause) {
    throw new LockstepError("invalid-data", `initialWeights: ${place} cannot be read: ${messageOf(cause)}`, {
      hint: "Expected are a checkpoint's folder, a model.json of TensorFlow.js, a .h5 or .keras file of Keras, or a safetensors file, of float32.",
      cause,
    });
  }
}

/** In object storage the name tells: checkpoints' have no such endings. */
async function isFolder(place: string): Promise<boolean> {
  if (isS3Location(place)) return !/\.(h5|hdf5|keras|json|safetensors)$/i.test(place);
  const found = await stat(place).catch(() => null);
  if (found) return found.isDirectory();
  throw new LockstepError("invalid-data", `initialWeights: there is no ${place}.`, {
    hint: "Paths are relative to --data; without it, to the folder data beside the job file, or to the job file's own.",
  });
}

/** A file, or a copy of an object in the cache. */
async function localFile(place: string): Promise<string> {
  if (!isS3Location(place)) return place;
  const [fetched, ...others] = await dataFiles([place], "."); // one or more, or an error
  if (others.length === 0) return fetched!.path;
  throw new LockstepError(
    "invalid-data",
    `initialWeights: ${place} matches ${1 + others.length} objects; expected one.`,
    {
      hint: "Name the object.",
    },
  );
}

function ofSafetensors(file: Uint8Array): readonly NamedTensor[] {
  const headerSize = decodeHeaderSize(file, file.length);
  const begin = lengthSizeBytes + headerSize;
  const { tensors } = decodeHeader(file.subarray(lengthSizeBytes, begin), file.length - begin);
  return tensorsAt(tensors, floatsOf(file.subarray(begin)).buffer, 0);
}

interface ModelJson {
  readonly weightsManifest?: readonly {
    readonly paths: readonly string[];
    readonly weights: readonly {
      readonly name: string;
      readonly shape: readonly number[];
      readonly dtype: string;
      readonly quantization?: unknown;
    }[];
  }[];
}

async function ofModelJson(place: string): Promise<readonly NamedTensor[]> {
  const beside = (name: string) =>
    isS3Location(place) ? `${place.slice(0, place.lastIndexOf("/"))}/${name}` : resolve(dirname(place), name);
  const { weightsManifest } = JSON.parse(await readFile(await localFile(place), "utf8")) as ModelJson; // as far as it is one
  if (!Array.isArray(weightsManifest)) throw new Error("it has no weightsManifest.");
  const tensors: NamedTensor[] = [];
  for (const { paths, weights } of weightsManifest as NonNullable<ModelJson["weightsManifest"]>) {
    const parts = await Promise.all(paths.map(async (path) => readFile(await localFile(beside(path)))));
    const bytes = Buffer.concat(parts);
    let at = 0;
    for (const { name, shape, dtype, quantization } of weights) {
      if (dtype !== "float32" || quantization !== undefined) {
        throw new Error(`its weight ${name} is ${quantization ? "quantized" : dtype}, and no float32.`);
      }
      const end = at + dataSizeBytes(shape);
      if (end > bytes.length) throw new Error(`${paths.join(", ")} end before the weight ${name} does.`);
      tensors.push({ name, shape, values: floatsOf(bytes.subarray(at, end)) });
      at = end;
    }
    if (at !== bytes.length) throw new Error(`${paths.join(", ")} have ${bytes.length} bytes for ${at} of weights.`);
  }
  return tensors;
}

/** A copy, since bytes in a file lie at any place. */
function floatsOf(bytes: Uint8Array): Float32Array<ArrayBuffer> {
  return new Float32Array(new Uint8Array(bytes).buffer);
}
