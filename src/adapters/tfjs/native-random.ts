/**
 * TensorFlow.js makes its random tensors element by element in JavaScript, dropout's masks among them. During a step of
 * the native engine they come from TensorFlow's stateless random ops instead: each is a function of a seed of 64 bits,
 * on every number of threads, and the seed is drawn from `Math.random`, which belongs to the step.
 */
import { createRequire } from "node:module";
import type { DataType, Rank, ShapeMap } from "@tensorflow/tfjs";
import type { Tensor, TensorFlow } from "../../ports/engine.ts";

/** What of the Node backend is needed to run an op that TensorFlow.js does not know. */
interface OpRunner {
  readonly binding: { readonly TF_ATTR_TYPE: number; readonly TF_FLOAT: number; readonly TF_INT32: number };
  executeSingleOutput(name: string, attributes: readonly OpAttribute[], inputs: readonly Tensor[]): Tensor;
}

interface OpAttribute {
  readonly name: string;
  readonly type: number;
  readonly value: number;
}

/** The functions that are replaced: those by which layers and job files ask for random tensors. */
type RandomFunctions = Pick<TensorFlow, "dropout" | "randomUniform" | "randomNormal" | "truncatedNormal">;

const require = createRequire(import.meta.url);
// The module whose exports the layers look up at every call; the namespace that job files are given reads through it.
const core = require("@tensorflow/tfjs-core") as RandomFunctions;

/** Runs `compute` with native random tensors. Nothing else runs in this thread meanwhile. */
export function withNativeRandom<T>(tf: TensorFlow, compute: () => T): T {
  const { dropout, randomUniform, randomNormal, truncatedNormal } = core;
  Object.assign(core, nativeFunctions(tf, { dropout, randomUniform, randomNormal, truncatedNormal }));
  try {
    return compute();
  } finally {
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
      // A layer's own seed tells its numbers from another layer's; the same ones in every step it must not give.
      const words = [draw32() ^ (seed ?? 0), draw32()];
      return backend.executeSingleOutput(
        op,
        [type("dtype", TF_FLOAT), type("T", TF_INT32), type("Tseed", TF_INT32)],
        [tf.tensor1d([...shape], "int32"), tf.tensor1d(words, "int32")],
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

/** 32 random bits as a signed number. */
function draw32(): number {
  return Math.floor(Math.random() * 0x1_0000_0000) | 0;
}
