/** A model's layers as Keras 3 writes them down: JSON that TensorBoard draws as a graph. */
import type { LayersModel } from "../../ports/engine.ts";

/** Null where a layer does not say what it is, as one of the job file's own may not. */
export function topologyOf(model: LayersModel): string | null {
  try {
    return JSON.stringify(withKeras3Inputs(model.toJSON(null, false)));
  } catch {
    return null;
  }
}

/** TensorFlow.js has where a layer's inputs come from as Keras 2 had it, which TensorBoard does not read any more. */
function withKeras3Inputs(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withKeras3Inputs);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inside]) => [
      key,
      key === "inbound_nodes" && Array.isArray(inside) ? inside.map(inboundNode) : withKeras3Inputs(inside),
    ]),
  );
}

/** One use of a layer; each input is the name of a layer, which use of that it is, and which of its outputs. */
function inboundNode(node: unknown): unknown {
  const inputs = (node as [name: string, use: number, output: number][]).map(([name, use, output]) => ({
    class_name: "__keras_tensor__",
    config: { keras_history: [name, use, output] },
  }));
  return { args: inputs.length === 1 ? inputs : [inputs], kwargs: {} };
}
