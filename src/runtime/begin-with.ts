/** A model's weights before its first step, where they are not all drawn. */
import { LockstepError } from "../core/errors.ts";
import type { LayerSettings } from "../core/keras-layers.ts";
import type { GivenLayer } from "../core/keras-names.ts";
import type { NamedTensor } from "../ports/checkpoint-storage.ts";
import { checkLayers, ownerOf } from "./layer-settings.ts";

export interface Beginning {
  /** Where they come from, for people. */
  readonly path: string;
  readonly tensors: readonly NamedTensor[];
  /** What more there is, which no model of TensorFlow.js has: of files of Keras. */
  readonly unnamed?: readonly string[];
  /** What is known of the layers there. */
  readonly layers?: readonly GivenLayer[];
}

/** Which of the model's weights are given, and what fits nothing. */
export interface Fit {
  readonly taken: readonly string[];
  /** Of the model: drawn, as if nothing were given. */
  readonly drawn: readonly string[];
  /** Of what is given: unused. */
  readonly unused: readonly string[];
}

/**
 * Goes by names. A name that both have needs one shape in both; if no name is in both, that is refused too, and so is a layer that
 * would do something else with the weights.
 * @param settings of the model's layers
 * @param put is given each weight that fits, with its values
 */
export function beginWith<Weight extends { readonly name: string; readonly shape: readonly number[] }>(
  { path, tensors, unnamed = [], layers = [] }: Beginning,
  weights: readonly Weight[],
  settings: ReadonlyMap<string, LayerSettings>,
  put: (weight: Weight, values: Float32Array) => void,
): Fit {
  const given = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const taken: string[] = [];
  const owners = new Set(weights.map(({ name }) => ownerOf(name)));
  for (const { name, refusal } of layers) {
    if (refusal === null || !owners.has(name)) continue;
    throw new LockstepError("invalid-job", `initialWeights: in ${path}, ${name} ${refusal.what}.`, {
      hint: `${refusal.hint} Or give the model's layer another name: then it begins anew.`,
    });
  }
  for (const weight of weights) {
    const tensor = given.get(weight.name);
    if (!tensor) continue;
    if (tensor.shape.join() !== weight.shape.join()) {
      throw new LockstepError(
        "invalid-job",
        `initialWeights: ${path} has [${tensor.shape.join(", ")}] for ${weight.name}, where the model has [${weight.shape.join(", ")}].`,
        { hint: 'Give a layer that is to begin anew another name, as in tf.layers.dense({ name: "new-head", … }).' },
      );
    }
    put(weight, tensor.values);
    taken.push(weight.name);
  }
  if (taken.length === 0) {
    throw new LockstepError(
      "invalid-job",
      `initialWeights: ${path} has none of the model's weights: it has ${listOf([...given.keys(), ...unnamed])}, the model ${listOf(weights.map(({ name }) => name))}.`,
      { hint: "Name the model's layers as there: a weight is called LAYER/kernel, LAYER/bias and so on." },
    );
  }
  checkLayers(layers, taken, settings, path);
  const names = new Set(weights.map(({ name }) => name));
  return {
    taken,
    drawn: [...names].filter((name) => !given.has(name)),
    unused: [...[...given.keys()].filter((name) => !names.has(name)), ...unnamed],
  };
}

/** One sentence, for `check`. */
export function fitSentence(path: string, { taken, drawn, unused }: Fit): string {
  const others = [
    ...(drawn.length > 0 ? [`drawn from the seed: ${listOf(drawn)}`] : []),
    ...(unused.length > 0 ? [`in it and not in the model: ${listOf(unused)}`] : []),
  ];
  return `Initial weights: ${taken.length} of ${taken.length + drawn.length} from ${path}${others.map((other) => `; ${other}`).join("")}.`;
}

function listOf(names: readonly string[]): string {
  const most = 8;
  if (names.length === 0) return "none";
  return names.length > most ? `${names.slice(0, most).join(", ")} and ${names.length - most} more` : names.join(", ");
}
