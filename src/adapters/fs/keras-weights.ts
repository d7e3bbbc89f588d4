/** Weights in a file of Keras, named as TensorFlow.js names them. */
import { LockstepError } from "../../core/errors.ts";
import type { GivenLayer } from "../../core/keras-names.ts";
import type { NamedTensor } from "../../ports/checkpoint-storage.ts";
import { type RunningThread, startThread } from "../system/thread.ts";

export interface KerasWeights {
  readonly tensors: readonly NamedTensor[];
  readonly unnamed: readonly string[];
  readonly layers: readonly GivenLayer[];
}

/**
 * HDF5 asks for the next bytes of a file within milliseconds, or has read it. Damage can lead it round in circles for ever (an
 * object of a heap that has no length is followed by itself).
 */
const longestWithoutReadMs = 30_000;
const looks = 10;

/** Their memory is shared between threads. Rejects with "invalid-data", and a sentence about the file. */
export async function readKerasWeights(path: string, patienceMs = longestWithoutReadMs): Promise<KerasWeights> {
  const reads = new Int32Array(new SharedArrayBuffer(4));
  const thread = startThread(new URL("./keras-thread.ts", import.meta.url), reads, {}, () => {});
  const watch = failWithoutReads(thread, reads, patienceMs);
  try {
    return await thread.call<KerasWeights>("read", path);
  } finally {
    clearInterval(watch);
    await thread.stop();
  }
}

/** Counts its own looks and no time, so that a process that was stopped for a while has lost nothing. */
function failWithoutReads(thread: RunningThread, reads: Int32Array, patienceMs: number): NodeJS.Timeout {
  let seen = 0;
  let still = 0;
  return setInterval(() => {
    const now = Atomics.load(reads, 0);
    still = now === seen && now > 0 ? still + 1 : 0; // until its first read the thread is starting
    seen = now;
    if (still < looks) return;
    thread.fail(new LockstepError("invalid-data", "it is damaged: it leads HDF5 round in circles."));
  }, patienceMs / looks);
}
