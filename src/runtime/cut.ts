/**
 * Models with several inputs or outputs. A sample's features are one row of numbers, and so is its label: the first input has the first
 * numbers of the features, in its own shape, the second one those behind them; and so have the outputs of the label.
 */
import type { Tensor } from "@tensorflow/tfjs";
import type { ClassNumbers } from "../core/class-check.ts";
import type { OutputRule } from "../core/compile.ts";
import { LockstepError } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import { sizeOf } from "../core/transforms.ts";
import type { LayersModel, TensorFlow } from "../ports/engine.ts";

/** What is cut out of a row. */
export interface Part {
  readonly offset: number;
  readonly shape: readonly number[];
}

export interface OutputPart {
  readonly rule: OutputRule;
  /** Which of the model's outputs it is. */
  readonly index: number;
  /** Of the last dimension: the classes of a label that is one. */
  readonly classes: number;
  readonly label: Part;
}

/** `rows` is [count, …]; each result is [count, ...shape]. What is one part of that shape stays as it is. */
export function cutUp(tf: TensorFlow, rows: Tensor, parts: readonly Part[]): Tensor[] {
  const count = rows.shape[0]!;
  const [only, ...others] = parts;
  if (only && others.length === 0) {
    const shape = [count, ...only.shape];
    return [rows.shape.join() === shape.join() ? rows : rows.reshape(shape)];
  }
  const flat = rows.reshape([count, -1]);
  return parts.map(({ offset, shape }) =>
    tf.slice(flat, [0, offset], [count, sizeOf(shape)]).reshape([count, ...shape]),
  );
}

/** What a model makes of tensors: one where it has one output, else a list. */
export function outputsIn(made: ReturnType<LayersModel["apply"]>): Tensor[] {
  return [made].flat() as Tensor[]; // not the symbols that it makes of symbols
}

/** The contrary of `cutUp`: [count, all numbers of a row]. What is one tensor stays as it is. */
export function joinRows(tf: TensorFlow, tensors: readonly Tensor[], count: number): Tensor {
  if (tensors.length === 1) return tensors[0]!;
  return tf.concat(
    tensors.map((one) => one.reshape([count, -1])),
    1,
  );
}

/** What each input of the model has of a sample's features. Throws "invalid-job" where they do not come out even. */
export function inputParts({ inputs }: LayersModel, features: readonly number[]): readonly Part[] {
  if (inputs.length === 1) return [{ offset: 0, shape: features }];
  const parts = inOrder(inputs.map(({ name, shape }) => fixedShape(`input ${name}`, shape)));
  checkSizes("inputs", parts, "features", features);
  return parts;
}

/** The names of the layers that give the model's outputs. A sequential model does not list them. */
export function outputNamesOf({ outputNames, layers }: LayersModel): readonly string[] {
  return outputNames.length > 0 ? outputNames : [layers.at(-1)!.name];
}

/** The model's outputs in their order, with what the job says of each and its part of the label. Throws "invalid-job". */
export function outputParts(
  model: LayersModel,
  rules: NonNullable<Job["outputs"]>,
  label: readonly number[],
): readonly OutputPart[] {
  const { outputs } = model;
  const names = outputNamesOf(model);
  const written = rules.map(({ name }) => name);
  if (names.length !== new Set(names).size || [...names].sort().join() !== [...written].sort().join()) {
    throw new LockstepError(
      "invalid-job",
      `compile.outputs names ${written.join(", ")}, but the model's outputs are ${names.join(", ")}.`,
      {
        hint: "An output is called as the layer that gives it: name the layers, as in tf.layers.dense({ name, units }).",
      },
    );
  }
  const shapes = outputs.map(({ shape }, i) => fixedShape(`output ${names[i]}`, shape));
  const ofOutput = names.map((name) => rules.find((rule) => rule.name === name)!); // the same names
  const labels = inOrder(shapes.map((shape, i) => (isClassNumber(ofOutput[i]!) ? shape.slice(0, -1) : shape)));
  checkSizes("outputs", labels, "label", label);
  return ofOutput.map((rule, index) => ({
    ...{ rule, index, label: labels[index]! },
    classes: shapes[index]!.at(-1) ?? 1,
  }));
}

/** Whether a label is the number of a class, and not as many numbers as the output. */
function isClassNumber({ loss }: Pick<OutputRule, "loss">): boolean {
  return loss === "sparseCategoricalCrossentropy";
}

export function classNumbersIn(parts: readonly OutputPart[]): readonly ClassNumbers[] {
  return parts.flatMap(({ rule, classes, label: { offset, shape } }) => {
    const taken = classesOf(rule.loss, classes);
    return taken === null ? [] : [{ classes: taken, part: { offset, size: sizeOf(shape), output: rule.name } }];
  });
}

/** What numbers of a label a loss takes for classes; null: any numbers will do. */
export function classesOf(loss: OutputRule["loss"], outputs: number): ClassNumbers["classes"] | null {
  if (isClassNumber({ loss })) return outputs;
  return loss === "binaryCrossentropy" ? "yes or no" : null;
}

function inOrder(shapes: readonly (readonly number[])[]): readonly Part[] {
  let end = 0;
  return shapes.map((shape) => {
    const offset = end;
    end += sizeOf(shape);
    return { offset, shape };
  });
}

function fixedShape(what: string, shape: readonly (number | null)[]): readonly number[] {
  const sample = shape.slice(1);
  if (sample.every((size) => size !== null)) return sample;
  throw new LockstepError(
    "invalid-job",
    `The model's ${what} has the shape [${sample.map((size) => size ?? "any").join(", ")}], so that nobody knows which part of a sample is its own.`,
    { hint: "Of a model with several, give each a shape without null." },
  );
}

function checkSizes(what: string, parts: readonly Part[], row: string, shape: readonly number[]): void {
  const sizes = parts.map((part) => sizeOf(part.shape));
  const sum = sizes.reduce((a, b) => a + b, 0);
  if (sum === sizeOf(shape)) return;
  throw new LockstepError(
    "invalid-job",
    `The model's ${what} take ${sizes.join(" + ")} = ${sum} numbers of a sample, but the ${row} after pre-processing ${row === "label" ? "has" : "have"} the shape [${shape.join(", ")}].`,
    { hint: `They share the ${row} in the order of the model's ${what}: all of it, and each number once.` },
  );
}
