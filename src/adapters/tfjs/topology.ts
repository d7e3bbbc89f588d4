/** A model's layers as Keras writes them down: JSON that other programs draw as a graph. */
import type { LayersModel } from "../../ports/engine.ts";

/** Null where a layer does not say what it is, as one of the job file's own may not. */
export function topologyOf(model: LayersModel): string | null {
  try {
    return JSON.stringify(model.toJSON(null, false));
  } catch {
    return null;
  }
}
