/** Which of a model's weights are trained, which are statistics that layers keep, and which are frozen. */
import type { Tensor, Variable } from "@tensorflow/tfjs";
import { LockstepError } from "../core/errors.ts";
import type { BuiltWeight } from "../core/weight-names.ts";
import type { LayersModel, TensorFlow } from "../ports/engine.ts";

/**
 * "trainable": has a gradient and slots. "statistic": a pass in training gives it another value, as batch normalization's moving
 * means. "frozen": never changes, so nobody sends it.
 */
export type WeightKind = "trainable" | "statistic" | "frozen";

export interface SortedWeight extends BuiltWeight {
  readonly shape: readonly number[];
  readonly variable: Variable;
  readonly kind: WeightKind;
}

/**
 * The model's weights, trainable ones first, then statistics, then what is frozen. Whether a layer keeps statistics is seen
 * from whether it writes them.
 * @param pass one in training, on any batch; the weights are afterwards as they were
 */
export function sortedWeights(tf: TensorFlow, model: LayersModel, pass: () => void): readonly SortedWeight[] {
  const trainable = new Set(model.trainableWeights.map(({ name }) => name));
  const weights = model.weights.map((weight) => ({
    name: weight.name,
    originalName: weight.originalName,
    shape: weight.shape as number[], // a built model's weights have whole shapes
    // LayerVariable.read() gives the tf.Variable behind it, typed as a tensor.
    variable: weight.read() as Variable,
  }));
  if (trainable.size === 0) {
    throw new LockstepError("invalid-job", "The model has no weight that is trained.", {
      hint: "Give it a layer whose `trainable` is not false.",
    });
  }
  const written = trainable.size === weights.length ? new Set() : writtenBy(tf, weights, pass);
  const sorted = weights.map((weight) => ({ ...weight, kind: kindOf(weight) }));
  const order: readonly WeightKind[] = ["trainable", "statistic", "frozen"];
  return order.flatMap((kind) => sorted.filter((weight) => weight.kind === kind));

  function kindOf({ name, variable }: { readonly name: string; readonly variable: Variable }): WeightKind {
    if (trainable.has(name)) return "trainable";
    return written.has(variable) ? "statistic" : "frozen";
  }
}

/** Those that hold other memory afterwards. */
function writtenBy(
  tf: TensorFlow,
  weights: readonly { readonly variable: Variable }[],
  pass: () => void,
): ReadonlySet<Variable> {
  const before: Tensor[] = weights.map(({ variable }) => tf.keep(variable.clone()));
  const held = weights.map(({ variable }) => variable.dataId);
  try {
    try {
      tf.tidy(() => pass());
    } catch {
      // The first step fails likewise, and tells what of the model is to blame, or which kernel the engine lacks.
    }
    return new Set(weights.filter(({ variable }, i) => variable.dataId !== held[i]).map(({ variable }) => variable));
  } finally {
    for (const [i, { variable }] of weights.entries()) {
      if (variable.dataId !== held[i]) variable.assign(before[i]!);
    }
    tf.dispose(before);
  }
}

/** Models hold layers, and so do the layers that wrap others. */
export type MaybeNested = LayersModel["layers"][number] & {
  readonly layers?: readonly MaybeNested[];
  readonly layer?: MaybeNested;
  readonly forwardLayer?: MaybeNested;
  readonly backwardLayer?: MaybeNested;
  readonly cell?: MaybeNested;
};

/** The layers that a layer holds. */
export function nestedIn({ layers = [], layer, forwardLayer, backwardLayer }: MaybeNested): readonly MaybeNested[] {
  return [...layers, layer, forwardLayer, backwardLayer].filter((inside) => inside !== undefined);
}

/** Frozen batch normalization goes by its moving statistics, and leaves them alone, as in Keras; TensorFlow.js would not. */
export function freezeStatistics(layer: MaybeNested, isInFrozen = false): void {
  const isFrozen = isInFrozen || layer.trainable === false;
  for (const inside of nestedIn(layer)) freezeStatistics(inside, isFrozen);
  if (!isFrozen || layer.getClassName() !== "BatchNormalization") return;
  const call = layer.call.bind(layer);
  layer.call = (inputs, kwargs) => call(inputs, { ...kwargs, training: false });
}
