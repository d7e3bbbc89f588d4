/** Runs a step once before anything depends on it: does the engine have every kernel, and what is it that is run? */
import { createHash } from "node:crypto";
import { LockstepError, messageOf } from "../../core/errors.ts";
import type { Engine } from "../../ports/engine.ts";

/**
 * Runs what a step would run, and returns the name of the first kernel that this engine lacks, or null. What `run` makes
 * is disposed of; any other error is passed on.
 */
export function probeKernels(engine: Engine, run: () => void): string | null {
  try {
    engine.tf.tidy(() => run());
    return null;
  } catch (error) {
    // TensorFlow.js has no other sign of it than the message; a step of a model says what was thrown in it as the cause.
    const thrown = error instanceof LockstepError ? (error.cause ?? error) : error;
    const missing = /^Kernel '(\w+)' not registered for backend/.exec(messageOf(thrown))?.[1];
    if (missing === undefined) throw error;
    return missing;
  }
}

/**
 * "sha256:…" over the graph that `run` computes: each kernel with its attributes and its inputs' shapes and types, and
 * the values of all constants, in the order in which they come. Two job files whose text differs train the same if, and
 * only if, their graphs are equal; a model's configuration alone would miss what a layer of the job's own does.
 */
export function graphDigest(engine: Engine, run: () => void): string {
  const hash = createHash("sha256");
  const note = (...parts: unknown[]) => hash.update(`${JSON.stringify(parts)}\n`);
  const tfjs = engine.tf.engine();
  const { runKernel, makeTensor } = tfjs;
  const watched = {
    runKernel(name: string, inputs: Record<string, unknown>, attributes?: object) {
      const shapes = Object.entries(inputs).map(([input, value]) => [
        input,
        ...[value].flat().map((tensor) => tensorType(tensor)),
      ]);
      note(name, shapes, attributes ?? {});
      return Reflect.apply(runKernel, tfjs, [name, inputs, attributes]) as unknown;
    },
    makeTensor(values: ArrayLike<unknown>, shape: number[], type?: string, ...rest: unknown[]) {
      note(Array.from(values), shape, type);
      return Reflect.apply(makeTensor, tfjs, [values, shape, type, ...rest]) as unknown;
    },
  };
  // The engine's own methods hide behind these for as long as `run` takes; nothing else runs in this thread meanwhile.
  Object.assign(tfjs, watched);
  try {
    engine.tf.tidy(() => run());
  } finally {
    for (const name of Object.keys(watched)) Reflect.deleteProperty(tfjs, name);
  }
  return `sha256:${hash.digest("hex")}`;
}

function tensorType(value: unknown): unknown {
  const { shape, dtype } = (value ?? {}) as { shape?: unknown; dtype?: unknown }; // a kernel may have optional inputs
  return [shape ?? null, dtype ?? null];
}
