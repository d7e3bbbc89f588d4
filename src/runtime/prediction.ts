/** A model's outputs for raw rows: the pre-processing of a checkpoint, then the model with its weights. */
import { LockstepError } from "../core/errors.ts";
import { RandomStream } from "../core/random.ts";
import { applyTransforms, type FittedTransforms, outputShape } from "../core/transforms.ts";
import type { Engine, LayersModel, Tensor } from "../ports/engine.ts";
import { seeded } from "../ports/seeded.ts";

export interface Predictor {
  /** How many numbers the model makes of one row. */
  readonly outputs: number;
  /** Rows one after the other, and the outputs in the same order. */
  predict(rows: Float32Array, count: number): Float32Array;
}

/** `model` has the weights already. The first rows decide how many outputs there are, so it is tried on one of zeros. */
export function openPredictor(engine: Engine, model: LayersModel, features: FittedTransforms, seed: number): Predictor {
  const { tf } = engine;
  const shape = outputShape(features);
  let number = 0;
  const outputsOf = (prepared: Float32Array, count: number): Float32Array =>
    tf.tidy(() => {
      const input = tf.tensor(prepared, [count, ...shape]);
      // A layer of the job's own may draw: what it draws is a function of the seed and the batch.
      const random = new RandomStream(seed, "evaluation", 0, 0, number++);
      const output = seeded(random, () => model.apply(input) as Tensor); // one output, one tensor
      return output.dataSync<"float32">().slice();
    });
  const outputs = outputsOf(new Float32Array(shape.reduce((size, side) => size * side, 1)), 1).length;
  number = 0;
  return {
    outputs,
    predict(rows, count) {
      const made = outputsOf(applyTransforms(features, rows, count), count);
      if (made.length === count * outputs) return made;
      throw new LockstepError(
        "invalid-job",
        `The model makes ${made.length} numbers of ${count} rows, and ${outputs} of one; as many for each were expected.`,
      );
    },
  };
}
