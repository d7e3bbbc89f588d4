/**
 * `Math.random` as something that belongs to whoever computes: while a function runs, every number comes from a stream of
 * the job's own. TensorFlow.js takes its randomness (initial weights, dropout masks, unseeded ops) from there, and so may
 * job files: so all of it becomes a function of the stream's name. It is replaced once and for all, so that a job file
 * that keeps the function (`const { random } = Math`) keeps one that asks anew, at every call, whose turn it is.
 */
import type { RandomStream } from "../core/random.ts";

const unseeded = Math.random;
let current: RandomStream | null = null;
Math.random = () => (current === null ? unseeded() : current.nextFloat());

export function seeded<T>(stream: RandomStream, run: () => T): T {
  const before = current;
  current = stream;
  try {
    return run();
  } finally {
    current = before;
  }
}

/** The same for what takes time; nothing else in the thread may want random numbers meanwhile. */
export async function seededWhile<T>(stream: RandomStream, run: () => Promise<T>): Promise<T> {
  const before = current;
  current = stream;
  try {
    return await run();
  } finally {
    current = before;
  }
}
