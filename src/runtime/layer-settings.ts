/** What a model's layers do with their weights, where a file may say that the weights were trained for something else. */
import { LockstepError } from "../core/errors.ts";
import type { LayerSettings } from "../core/keras-layers.ts";
import type { GivenLayer } from "../core/keras-names.ts";
import type { LayersModel } from "../ports/engine.ts";
import { type MaybeNested, nestedIn } from "./weight-kinds.ts";

/** By what the names of a layer's weights begin with. */
export function layerSettings(model: LayersModel): ReadonlyMap<string, LayerSettings> {
  const found = new Map<string, LayerSettings>();
  const visit = (layer: MaybeNested) => {
    const inside = nestedIn(layer);
    for (const nested of inside) visit(nested);
    const weight = layer.weights[0];
    if (inside.length > 0 || !weight) return;
    const { epsilon, recurrentActivation } = (layer.cell ?? layer).getConfig();
    found.set(ownerOf(weight.name), {
      ...(typeof epsilon === "number" && { epsilon }),
      ...(typeof recurrentActivation === "string" && { recurrentActivation }),
    });
  };
  visit(model as unknown as MaybeNested); // a model is a layer
  return found;
}

/** The layer's part of a weight's name. */
export function ownerOf(weight: string): string {
  return weight.slice(0, Math.max(0, weight.lastIndexOf("/")));
}

/**
 * Refuses weights that would do something else in the model than where they were trained.
 * @param taken names of the model's weights that the file has
 * @param path of the file
 */
export function checkLayers(
  given: readonly GivenLayer[],
  taken: readonly string[],
  settings: ReadonlyMap<string, LayerSettings>,
  path: string,
): void {
  const begun = new Set(taken.map(ownerOf));
  for (const { name, settings: wanted } of given.filter(({ name }) => begun.has(name))) {
    const own = settings.get(name) ?? {};
    for (const setting of ["recurrentActivation", "epsilon"] as const) {
      const [expected, actual] = [wanted[setting], own[setting]];
      if (expected === undefined || actual === undefined || expected === actual) continue;
      throw new LockstepError(
        "invalid-job",
        `initialWeights: the layer ${name} was trained with ${setting} ${JSON.stringify(expected)} in ${path}, where the model has ${JSON.stringify(actual)}.`,
        {
          hint: `Give the layer that ${setting} in \`model\`, if TensorFlow.js has it; or give it another name, and it begins anew.`,
        },
      );
    }
  }
}
