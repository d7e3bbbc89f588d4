/**
 * Runs a function with every `Math.random` drawn from a stream of the job's own. TensorFlow.js takes its randomness
 * (initial weights, dropout masks, unseeded ops) from there, and so may job files: so all of it becomes a function of
 * the stream's name.
 */
import type { RandomStream } from "../core/random.ts";

export function seeded<T>(stream: RandomStream, run: () => T): T {
  const original = Math.random;
  Math.random = () => stream.nextFloat();
  try {
    return run();
  } finally {
    Math.random = original;
  }
}
