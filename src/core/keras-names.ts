/**
 * What the weights in a file of Keras are called in TensorFlow.js: LAYER/kernel, WRAPPER/forward_LAYER/kernel, and so on; layers of
 * models that are used as layers have their own names alone. Keras writes files in two ways.
 *
 * By name, as Keras 2 writes `.h5`, and Keras 3 a whole model as `.h5`: a group for each layer, and in an attribute the names of its
 * weights, such as `lstm/lstm_cell/kernel:0`.
 *
 * By number, as `.keras` and `.weights.h5` are: folders that are called after a layer's class and counted, and in them `vars/0`,
 * `vars/1` and on, in the class' own order. What the layer is called says an attribute since Keras 3.6, or the configuration; else its
 * folder stands for it.
 */
import {
  type KerasLayer,
  folderNameOf,
  type LayerSettings,
  type Refusal,
  gruRefusal,
  settingsOf,
  severalLayers,
} from "./keras-layers.ts";
import { namesByNumber } from "./keras-numbered.ts";

/** A group of an HDF5 file, as far as names need it. */
export interface FileGroup {
  readonly groups: ReadonlyMap<string, FileGroup>;
  /** Shapes of the tensors right in it. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Attributes that are text. */
  readonly texts: ReadonlyMap<string, string | readonly string[]>;
}

/** A layer that the file has weights of, by what their names begin with. */
export interface GivenLayer {
  readonly name: string;
  readonly settings: LayerSettings;
  /** Null: its weights do the same in TensorFlow.js, if the settings are equal. */
  readonly refusal: Refusal | null;
}

export interface KerasNames {
  /** `path` in the file, and the tensor's name. */
  readonly weights: readonly { readonly path: string; readonly name: string }[];
  /** Paths of weights of layers that TensorFlow.js does not have, or that the file says too little of. */
  readonly unnamed: readonly string[];
  readonly layers: readonly GivenLayer[];
}

export interface KerasFile {
  readonly root: FileGroup;
  /** The whole model's, where the file has it. */
  readonly model: KerasLayer | null;
  /** Of Keras; empty: unknown. */
  readonly version: string;
}

/** Throws an Error with a sentence where the file has no weights that Keras has written. */
export function kerasNames(file: KerasFile): KerasNames {
  const { root } = file;
  const [path, legacy] = root.groups.has("model_weights")
    ? ["model_weights/", root.groups.get("model_weights")!]
    : ["", root];
  const names = textsOf(legacy, "layer_names");
  if (legacy.texts.get("backend") === "theano") {
    throw new Error("Keras wrote it on Theano, whose convolutions have their kernels the other way round.");
  }
  const found = names === null ? namesByNumber(file) : namesByName({ ...file, root: legacy }, path, names);
  if (found === null) {
    throw new Error("it has neither layers nor layer_names, which Keras writes beside weights.");
  }
  return withoutTwins(found);
}

/** A list of texts, which Keras cuts into parts where an attribute would become too large. */
function textsOf({ texts }: FileGroup, name: string): readonly string[] | null {
  const whole = texts.get(name);
  if (whole !== undefined) return typeof whole === "string" ? [whole] : whole;
  const parts: string[] = [];
  for (let i = 0; texts.has(`${name}${i}`); i++) parts.push(...[texts.get(`${name}${i}`)!].flat());
  return parts.length > 0 ? parts : null;
}

function namesByName({ root, model, version }: KerasFile, at: string, layerNames: readonly string[]): KerasNames {
  const weights: { path: string; name: string }[] = [];
  const layers: GivenLayer[] = [];
  for (const layerName of layerNames) {
    const group = groupAt(root, layerName);
    const top = model?.layers.find(({ name }) => name === layerName) ?? null;
    const leaves = top === null ? null : leavesOf(top);
    const begun = new Map<string, { leaf: Leaf | null; shapes: Map<string, readonly number[]> }>();
    for (const path of textsOf(group, "weight_names") ?? []) {
      const { begin, weight, leaf } = placeOf(layerName, path.replace(/:\d+$/, ""), leaves);
      const shape = shapeAt(group, path);
      if (shape === null) throw new Error(`it has no ${at}${layerName}/${path}, which it names.`);
      weights.push({ path: `${at}${layerName}/${path}`, name: `${begin}/${weight}` });
      if (!begun.has(begin)) begun.set(begin, { leaf, shapes: new Map() });
      begun.get(begin)!.shapes.set(weight, shape);
    }
    for (const [name, { leaf, shapes }] of begun) {
      const folder = folderNameOf(leaf?.layer.className ?? "");
      const config = leaf?.layer.config ?? null;
      const refusal = gruRefusal(folder, config, shapes);
      layers.push({ name, settings: settingsOf(folder, config, version), refusal });
    }
  }
  return { weights, unnamed: [], layers };
}

/** A layer that has weights itself, or wraps one that has: models are none. */
interface Leaf {
  readonly name: string;
  readonly wrapper: "Bidirectional" | "TimeDistributed" | null;
  readonly layer: KerasLayer;
}

function leavesOf(layer: KerasLayer): readonly Leaf[] {
  const { className, name, layers, wrapped } = layer;
  if (layers.length > 0) return layers.flatMap(leavesOf);
  if (wrapped === null) return [{ name, wrapper: null, layer }];
  if (className === "Bidirectional") return [{ name, wrapper: className, layer: wrapped }];
  if (wrapped.layers.length > 0) return leavesOf(wrapped);
  return [{ name, wrapper: className === "TimeDistributed" ? className : null, layer: wrapped }];
}

/**
 * Which layer a weight belongs to. Its path may begin with the models around it, and names the cell of a recurrent layer, which
 * TensorFlow.js leaves out.
 * @param leaves of the group's layer; null: the file has no configuration
 */
function placeOf(
  layerName: string,
  path: string,
  leaves: readonly Leaf[] | null,
): { readonly begin: string; readonly weight: string; readonly leaf: Leaf | null } {
  const parts = path.split("/");
  const weight = parts.pop() ?? "";
  if (parts.length > 1 && /(^|_)cell(_\d+)?$/.test(parts.at(-1)!)) parts.pop();
  const around = parts.join("/");
  const after = (name: string) => {
    const begin = `/${around}/`.lastIndexOf(`/${name}/`);
    return begin < 0 ? null : around.slice(begin + name.length).replace(/^\//, "");
  };
  const leaf = leaves?.find(({ name }) => name !== "" && after(name) !== null) ?? null;
  const rest = after(leaf?.name ?? layerName);
  const isWrapped = /^(forward|backward)_/.test(parts.at(-1) ?? "");
  if (leaf?.wrapper === "Bidirectional" || (leaf === null && rest !== null && isWrapped)) {
    const side = (rest ?? "").split("/")[0]!;
    return { begin: `${leaf?.name ?? layerName}/${side}`, weight, leaf };
  }
  if (leaf !== null) {
    const isDepthwise = leaf.layer.className === "DepthwiseConv2D" && weight === "kernel";
    return { begin: leaf.name, weight: isDepthwise ? "depthwise_kernel" : weight, leaf };
  }
  if (rest === "") return { begin: layerName, weight, leaf };
  // A layer of a model that is used as one.
  return { begin: parts.slice(isWrapped ? -2 : -1).join("/"), weight, leaf };
}

/** By a path of any length, as names of layers may have slashes. */
function groupAt(root: FileGroup, path: string): FileGroup {
  let group: FileGroup | undefined = root;
  for (const part of path.split("/")) group = group?.groups.get(part);
  if (!group) throw new Error(`it has no group ${path}, which it names as a layer.`);
  return group;
}

function shapeAt(root: FileGroup, path: string): readonly number[] | null {
  const end = path.lastIndexOf("/");
  return (end < 0 ? root : groupAt(root, path.slice(0, end))).shapes.get(path.slice(end + 1)) ?? null;
}

/** Of two layers of one name, in two models, nobody knows which is meant. */
function withoutTwins({ weights, unnamed, layers }: KerasNames): KerasNames {
  const seen = new Set<string>();
  const twins = new Set<string>();
  const kept = weights.filter(({ name }) => {
    if (seen.has(name)) twins.add(name.slice(0, name.lastIndexOf("/")));
    return !seen.has(name) && seen.add(name);
  });
  const others = layers.filter(({ name }) => !twins.has(name));
  return {
    weights: kept,
    unnamed,
    layers: [...others, ...[...twins].map((name) => ({ name, settings: {}, refusal: severalLayers }))],
  };
}
