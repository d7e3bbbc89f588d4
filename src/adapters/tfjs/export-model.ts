/** A model as the files that `tf.loadLayersModel` opens, in a browser and in Node: model.json and weight shards. */
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { LayersModel, TensorFlow } from "../../ports/engine.ts";

/** What browsers cache well, and what TensorFlow.js' own converter makes. */
const shardSizeBytes = 4 * 1024 * 1024;

export interface ExportedFile {
  readonly name: string;
  readonly sizeBytes: number;
}

/**
 * Writes into a folder that must not be there yet, and that is there only once it is whole. `metadata` is what
 * `model.getUserDefinedMetadata()` gives whoever loads it; JSON.
 */
export async function exportModel(
  tf: TensorFlow,
  model: LayersModel,
  directory: string,
  metadata: Readonly<Record<string, unknown>>,
): Promise<readonly ExportedFile[]> {
  model.setUserDefinedMetadata({ ...metadata });
  const contents = await filesOf(tf, model);
  const staged = `${directory}.${process.pid}.partial`;
  try {
    await mkdir(staged, { recursive: true });
    for (const [name, bytes] of contents) await writeFile(join(staged, name), bytes, { flag: "wx" });
    await rename(staged, directory);
  } catch (error) {
    await rm(staged, { recursive: true, force: true });
    throw error;
  }
  return contents.map(([name, bytes]) => ({ name, sizeBytes: bytes.length }));
}

async function filesOf(tf: TensorFlow, model: LayersModel): Promise<readonly (readonly [string, Uint8Array])[]> {
  let files: readonly (readonly [string, Uint8Array])[] = [];
  const handler = tf.io.withSaveHandler(async (artifacts) => {
    const { modelTopology, weightSpecs, weightData, userDefinedMetadata, generatedBy, format } = artifacts;
    const bytes = new Uint8Array(tf.io.CompositeArrayBuffer.join(weightData));
    const count = Math.max(1, Math.ceil(bytes.length / shardSizeBytes));
    const shards = Array.from({ length: count }, (_, i) => {
      const name = `group1-shard${i + 1}of${count}.bin`;
      return [name, bytes.subarray(i * shardSizeBytes, (i + 1) * shardSizeBytes)] as const;
    });
    const description = {
      ...{ format, generatedBy, convertedBy: null, modelTopology, userDefinedMetadata },
      weightsManifest: [{ paths: shards.map(([name]) => name), weights: weightSpecs }],
    };
    files = [["model.json", new TextEncoder().encode(JSON.stringify(description))], ...shards];
    return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: "JSON" as const } };
  });
  await model.save(handler);
  return files;
}
