/** A model's outputs for raw rows: the pre-processing of a checkpoint, then the model with its weights. */
import { LockstepError } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import { RandomStream } from "../core/random.ts";
import { applyTransforms, type FittedTransforms, outputShape } from "../core/transforms.ts";
import type { Engine, LayersModel } from "../ports/engine.ts";
import { seeded } from "../ports/seeded.ts";
import { cutUp, inputParts, joinRows, outputNamesOf, outputsIn } from "./cut.ts";

export interface Predictor {
  /** The model's, and how many numbers each makes of one row. */
  readonly outputs: readonly { readonly name: string; readonly size: number }[];
  /** Rows one after the other, and the outputs in the same order. */
  predict(rows: Float32Array, count: number): Float32Array;
}

/** `model` has the weights already. The first rows decide how many outputs there are, so it is tried on one of zeros. */
export function openPredictor(
  engine: Engine,
  model: LayersModel,
  features: FittedTransforms,
  { seed, step }: Pick<Job, "seed" | "step">,
): Predictor {
  const { tf } = engine;
  const { length: inputs } = model.inputs;
  if (step !== null && inputs > 1) {
    throw new LockstepError(
      "invalid-job",
      `The model has ${inputs} inputs, which compile.step alone knows how to feed.`,
      {
        hint: "What has several inputs is predicted where compile.loss or compile.outputs trains it, in place of a step.",
      },
    );
  }
  const shape = outputShape(features);
  const parts = inputParts(model, shape);
  let number = 0;
  const outputsOf = (prepared: Float32Array, count: number): { made: Float32Array; sizes: readonly number[] } => {
    let sizes: readonly number[] = [];
    const made = tf.tidy(() => {
      const inputs = cutUp(tf, tf.tensor(prepared, [count, ...shape]), parts);
      // A layer of the job's own may draw: what it draws is a function of the seed and the batch.
      const random = new RandomStream(seed, "evaluation", 0, 0, number++);
      const outputs = seeded(random, () => outputsIn(model.apply(inputs.length === 1 ? inputs[0]! : inputs)));
      sizes = outputs.map(({ size }) => size / count);
      return joinRows(tf, outputs, count).dataSync<"float32">().slice();
    });
    return { made, sizes };
  };
  const { made, sizes } = outputsOf(new Float32Array(shape.reduce((size, side) => size * side, 1)), 1);
  const width = made.length;
  number = 0;
  return {
    outputs: sizes.map((size, i) => ({ name: outputNamesOf(model)[i]!, size })),
    predict(rows, count) {
      const { made } = outputsOf(applyTransforms(features, rows, count), count);
      if (made.length === count * width) return made;
      throw new LockstepError(
        "invalid-job",
        `The model makes ${made.length} numbers of ${count} rows, and ${width} of one; as many for each were expected.`,
      );
    },
  };
}
