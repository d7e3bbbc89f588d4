/** Weights in a file of Keras, named as TensorFlow.js names them. */
import type { GivenLayer } from "../../core/keras-names.ts";
import type { NamedTensor } from "../../ports/checkpoint-storage.ts";
import { startThread } from "../system/thread.ts";

export interface KerasWeights {
  readonly tensors: readonly NamedTensor[];
  readonly unnamed: readonly string[];
  readonly layers: readonly GivenLayer[];
}

/** Their memory is shared between threads. Rejects with "invalid-data", and a sentence about the file. */
export async function readKerasWeights(path: string): Promise<KerasWeights> {
  const thread = startThread(new URL("./keras-thread.ts", import.meta.url), null, {}, () => {});
  try {
    return await thread.call<KerasWeights>("read", path);
  } finally {
    await thread.stop();
  }
}
