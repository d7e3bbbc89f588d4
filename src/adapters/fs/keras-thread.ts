/** A thread that reads one file of Keras, and ends: see hdf5-file.ts. */
import { closeSync, fstatSync, openSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { parseModelConfig } from "../../core/keras-layers.ts";
import { type FileGroup, kerasNames } from "../../core/keras-names.ts";
import { openChannel } from "../system/thread-channel.ts";
import { type ByteWindow, fileWindow } from "./byte-window.ts";
import { Hdf5File } from "./hdf5-file.ts";
import { openKerasArchive } from "./keras-archive.ts";
import type { KerasWeights } from "./keras-weights.ts";

/** How often it has read from the file: see keras-weights.ts. */
const reads = (workerData as { data: Int32Array }).data; // what keras-weights.ts put there

openChannel(parentPort!, {
  async read(path: string): Promise<KerasWeights> {
    const descriptor = openSync(path, "r");
    try {
      return await weightsIn(descriptor);
    } catch (error) {
      throw new LockstepError("invalid-data", messageOf(error), { cause: error });
    } finally {
      closeSync(descriptor);
    }
  },
});

async function weightsIn(descriptor: number): Promise<KerasWeights> {
  const bytes = counted(fileWindow(descriptor, fstatSync(descriptor).size));
  // Either may have the other's name.
  const archive = openKerasArchive(bytes);
  const file = await Hdf5File.open(archive?.weights ?? bytes);
  const root = file.groups();
  const config = archive === null ? textOf(root, "model_config") : archive.config;
  const version = archive === null ? versionOf(root) : /"keras_version":\s*"([\d.]+)/.exec(archive.metadata ?? "")?.[1];
  const model = config === null ? null : parseModelConfig(config);
  const { weights, unnamed, layers } = kerasNames({ root, model, version: version ?? "" });
  const tensors = weights.map(({ path, name }) => ({ name, ...file.read(path) }));
  return { tensors, unnamed, layers };
}

function counted({ sizeBytes, read }: ByteWindow): ByteWindow {
  return {
    sizeBytes,
    read(into, at) {
      Atomics.add(reads, 0, 1);
      return read(into, at);
    },
  };
}

function versionOf(root: FileGroup): string {
  return textOf(root.groups.get("model_weights") ?? root, "keras_version") ?? "";
}

function textOf({ texts }: FileGroup, name: string): string | null {
  const text = texts.get(name);
  return typeof text === "string" ? text : null;
}
