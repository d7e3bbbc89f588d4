/**
 * TensorFlow.js makes its random tensors element by element in JavaScript, dropout's masks among them. During a step of
 * the native engine they come from TensorFlow's stateless random ops instead: each is a function of a seed of 64 bits,
 * on every number of threads, and the seed is drawn from `Math.random`, which belongs to the step. The one kernel that
 * keeps a generator between calls, that of `tf.multinomial`, is replaced by a stateless one for good; whatever else keeps
 * one is refused.
 */
import { createRequire } from "node:module";
import type { DataType, Rank, ShapeMap } from "@tensorflow/tfjs";
import { LockstepError, messageOf } from "../../core/errors.ts";
import type { Tensor, TensorFlow } from "../../ports/engine.ts";
import type { GraphBackend, OpAttribute } from "./graph.ts";

/** What of the Node backend is needed to run an op that TensorFlow.js does not know. */
export type OpRunner = Pick<GraphBackend, "binding" | "executeSingleOutput" | "executeMultipleOutputs">;

/** The functions that are replaced: those by which layers and job files ask for random tensors. */
type RandomFunctions = Pick<TensorFlow, "dropout" | "randomUniform" | "randomNormal" | "truncatedNormal">;

const require = createRequire(import.meta.url);
// The module whose exports the layers look up at every call; the namespace that job files are given reads through it.
const core = require("@tensorflow/tfjs-core") as RandomFunctions;

/**
 * TensorFlow's ops that draw from a generator of their own, which outlives the call: what they give depends on all that
 * this process has drawn before. None of TensorFlow.js' own kernels runs one any more, but a job may name one.
 */
const statefulRandomOp =
  /^(?:Multinomial|(?:Parameterized)?TruncatedNormal|Random(?!GammaGrad$|IndexShuffle$).*|Stateful.*|Rng.*|NonDeterministicInts|SampleDistortedBoundingBox.*|Fractional(?:Max|Avg)Pool|.*CandidateSampler)$/;

/**
 * Makes this thread's native backend free of random numbers that no stream of the job's has given, and has its errors say
 * which op failed and why, instead of a number. Once a backend.
 */
export function withoutStatefulRandom(tf: TensorFlow, backendName: string, backend: OpRunner): void {
  const { executeSingleOutput, executeMultipleOutputs } = backend;
  const checked =
    <Words extends readonly [string, ...unknown[]], R>(execute: (...words: Words) => R) =>
    (...words: Words): R => {
      refuseStateful(words[0]);
      try {
        return Reflect.apply(execute, backend, words) as R;
      } catch (error) {
        const reason = /^Invalid TF_Status: \d+\s+Message: ([^\n]*)/.exec(messageOf(error))?.[1];
        if (reason === undefined) throw error;
        throw new Error(`TensorFlow's op ${words[0]} says: ${reason.replace(/\s*\[Op:\w*\]|\.$/g, "")}`, {
          cause: error,
        });
      }
    };
  Object.assign(backend, {
    executeSingleOutput: checked(executeSingleOutput),
    executeMultipleOutputs: checked(executeMultipleOutputs),
  } satisfies Partial<OpRunner>);
  tf.unregisterKernel("Multinomial", backendName);
  tf.registerKernel({
    kernelName: "Multinomial",
    backendName,
    kernelFunc: ({ inputs, attrs }) =>
      // What `tf.multinomial` gives its kernel.
      multinomial(tf, backend, inputs.logits as Tensor, attrs as unknown as MultinomialAttributes),
  });
}

function refuseStateful(op: string): void {
  if (!statefulRandomOp.test(op)) return;
  throw new LockstepError(
    "invalid-job",
    `The model runs TensorFlow's op ${op}, whose random numbers depend on what its process has drawn before.`,
    { hint: "Use tf.randomUniform, tf.randomNormal, tf.truncatedNormal, tf.multinomial or tf.dropout." },
  );
}

interface MultinomialAttributes {
  readonly numSamples: number;
  /** The caller's own, or a number below 1 that TensorFlow.js has drawn. */
  readonly seed: number;
  /** Probabilities are given, not their logarithms. */
  readonly normalized: boolean;
}

function multinomial(tf: TensorFlow, backend: OpRunner, given: Tensor, attributes: MultinomialAttributes): Tensor {
  const { numSamples, seed, normalized } = attributes;
  const { TF_ATTR_TYPE, TF_FLOAT, TF_INT32 } = backend.binding;
  const type = (name: string, value: number): OpAttribute => ({ name, type: TF_ATTR_TYPE, value });
  return tf.tidy(() => {
    const values = given.toFloat();
    const own = Number.isInteger(seed) ? seed : 0;
    return backend.executeSingleOutput(
      "StatelessMultinomial",
      [type("T", TF_FLOAT), type("Tseed", TF_INT32), type("output_dtype", TF_INT32)],
      [normalized ? values.log() : values, tf.scalar(numSamples, "int32"), seedTensor(tf, own)],
    );
  });
}

/** Makes the tensor of a seed's two words; `own` is what the layer itself says of it, which is in the words already. */
export type SeedSource = (own: number, words: number[]) => Tensor;

/** Of the step that runs now; null where its seeds are nobody's business. */
let seedSource: SeedSource | null = null;

function seedTensor(tf: TensorFlow, own: number): Tensor {
  const words = seedWords(own);
  return seedSource?.(own, words) ?? tf.tensor1d(words, "int32");
}

/** Runs `compute` with native random tensors. Nothing else runs in this thread meanwhile. */
export function withNativeRandom<T>(tf: TensorFlow, compute: () => T, source: SeedSource | null = null): T {
  const { dropout, randomUniform, randomNormal, truncatedNormal } = core;
  Object.assign(core, nativeFunctions(tf, { dropout, randomUniform, randomNormal, truncatedNormal }));
  const outer = seedSource;
  seedSource = source;
  try {
    return compute();
  } finally {
    seedSource = outer;
    Object.assign(core, { dropout, randomUniform, randomNormal, truncatedNormal });
  }
}

function nativeFunctions(tf: TensorFlow, original: RandomFunctions): RandomFunctions {
  // Opened by open-engine.ts with this backend, whose methods its package does not declare.
  const backend = tf.backend() as unknown as OpRunner;
  const draw = (op: string, shape: readonly number[], seed: number | undefined): Tensor =>
    tf.tidy(() => {
      const { TF_ATTR_TYPE, TF_FLOAT, TF_INT32 } = backend.binding;
      const type = (name: string, value: number): OpAttribute => ({ name, type: TF_ATTR_TYPE, value });
      return backend.executeSingleOutput(
        op,
        [type("dtype", TF_FLOAT), type("T", TF_INT32), type("Tseed", TF_INT32)],
        [tf.tensor1d([...shape], "int32"), seedTensor(tf, seed ?? 0)],
      );
    });
  const scaled = <R extends Rank>(drawn: Tensor, factor: number, offset: number, shape: ShapeMap[R]) =>
    tf.tidy(() => tf.reshape<R>(drawn.mul(factor).add(offset), shape));
  return {
    dropout(x, rate, noiseShape, seed) {
      return tf.tidy(() => {
        const tensor = tf.cast<Tensor>(x, "float32");
        if (!(rate > 0 && rate < 1)) return original.dropout(tensor, rate, noiseShape);
        const shape = tensor.shape.map((size, i) => noiseShape?.[i] ?? size);
        const uniform = draw("StatelessRandomUniform", shape, numberOf(seed));
        // Kept with the probability 1 − rate, and made larger by as much as is lost.
        return tensor.mul(
          uniform
            .greaterEqual(rate)
            .cast("float32")
            .div(1 - rate),
        );
      });
    },
    randomUniform<R extends Rank>(
      shape: ShapeMap[R],
      minimum = 0,
      maximum = 1,
      dtype?: DataType,
      seed?: number | string,
    ) {
      if (!isFloat(dtype)) return original.randomUniform<R>(shape, minimum, maximum, dtype, seed);
      return scaled<R>(draw("StatelessRandomUniform", shape, numberOf(seed)), maximum - minimum, minimum, shape);
    },
    randomNormal<R extends Rank>(
      shape: ShapeMap[R],
      mean = 0,
      deviation = 1,
      dtype?: "float32" | "int32",
      seed?: number,
    ) {
      if (!isFloat(dtype)) return original.randomNormal<R>(shape, mean, deviation, dtype, seed);
      return scaled<R>(draw("StatelessRandomNormal", shape, seed), deviation, mean, shape);
    },
    truncatedNormal<R extends Rank>(
      shape: ShapeMap[R],
      mean = 0,
      deviation = 1,
      dtype?: "float32" | "int32",
      seed?: number,
    ) {
      if (!isFloat(dtype)) return original.truncatedNormal<R>(shape, mean, deviation, dtype, seed);
      return scaled<R>(draw("StatelessTruncatedNormal", shape, seed), deviation, mean, shape);
    },
  };
}

function isFloat(dtype: DataType | undefined): boolean {
  return dtype === undefined || dtype === "float32";
}

function numberOf(seed: number | string | undefined): number | undefined {
  return seed === undefined ? undefined : Number(seed);
}

/**
 * 64 bits drawn from `Math.random`. A layer's own seed tells its numbers from another layer's; the same ones in every step it
 * must not give.
 */
export function seedWords(own: number): number[] {
  return [draw32() ^ own, draw32()];
}

/** 32 random bits as a signed number. */
function draw32(): number {
  return Math.floor(Math.random() * 0x1_0000_0000) | 0;
}
