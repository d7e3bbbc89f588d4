/**
 * Layers of Keras: as a model's configuration describes them (`config.json` of a `.keras` file, `model_config` of a whole `.h5`), and
 * what their weights are called in TensorFlow.js, in the order in which Keras keeps them.
 */

export interface KerasLayer {
  /** Of an RNN that is made of a cell, the layer that does the same: GRU for GRUCell. */
  readonly className: string;
  /** The class, as folders have it. */
  readonly folder: string;
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** Those of a model that is used as a layer, or of the whole one. */
  readonly layers: readonly KerasLayer[];
  /** What a wrapper applies: of `Bidirectional`, forwards. */
  readonly wrapped: KerasLayer | null;
}

/** What changes the meaning of weights, and has other defaults in TensorFlow.js, or is set by whoever makes the model. */
export interface LayerSettings {
  readonly epsilon?: number;
  /** As TensorFlow.js calls it. */
  readonly recurrentActivation?: string;
}

/** Why a layer's weights would do something else in TensorFlow.js, or might. */
export interface Refusal {
  /** To go on after the layer's name. */
  readonly what: string;
  /** A sentence. */
  readonly hint: string;
}

const resetAfter: Refusal = {
  what: "is a GRU with reset_after=True, which TensorFlow.js does not have",
  hint: "Train it in Keras with reset_after=False.",
};
export const severalLayers: Refusal = {
  what: "is the name of several layers",
  hint: "Give each of them a name of its own in Keras, and save the whole model, as .keras.",
};
const saveWhole = "Save the whole model in Keras, as .keras.";
export const unclearWeights: Refusal = {
  what: "has weights of which the file does not say what they are",
  hint: saveWhole,
};
const unclearReset: Refusal = {
  what: "is a GRU without bias, of which the file does not say that reset_after is False",
  hint: saveWhole,
};

/** The model that a configuration describes. Throws an Error with a sentence where it is none. */
export function parseModelConfig(text: string): KerasLayer {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error("the model's configuration is not JSON.");
  }
  const model = layerIn(value);
  if (model === null) throw new Error("the model's configuration has no class_name and config.");
  return model;
}

function layerIn(value: unknown): KerasLayer | null {
  if (!isRecord(value) || typeof value.class_name !== "string") return null;
  // Keras 1 has a list of layers in place of a Sequential's settings.
  const config = isRecord(value.config) ? value.config : { layers: value.config };
  const layers = Array.isArray(config.layers) ? config.layers : [];
  const cell = layerIn(config.cell);
  return {
    className: cell === null ? value.class_name : cell.className.replace(/Cell$/, ""),
    folder: folderNameOf(value.class_name),
    name: typeof config.name === "string" ? config.name : "",
    config: cell === null ? config : cell.config,
    layers: layers.map(layerIn).filter((layer) => layer !== null),
    wrapped: layerIn(config.layer),
  };
}

/** "Conv2DTranspose" as the folders of a Keras 3 file have it: "conv2d_transpose". */
export function folderNameOf(className: string): string {
  return className
    .replace(/\W+/g, "")
    .replace(/(.)([A-Z][a-z]+)/g, "$1_$2")
    .replace(/([a-z])([A-Z])/g, "$1_$2")
    .toLowerCase();
}

/** What layers are called whose weights are their cell's. */
const recurrent = ["kernel", "recurrent_kernel", "bias"];
const convolution = ["kernel", "bias"];

/** The last one may be missing, where a layer has no bias. */
const weightsOf: Readonly<Record<string, readonly string[]>> = {
  ...{ dense: ["kernel", "bias"], embedding: ["embeddings"], p_re_lu: ["alpha"] },
  ...{ conv1d: convolution, conv2d: convolution, conv3d: convolution },
  ...{ conv2d_transpose: convolution, conv3d_transpose: convolution },
  depthwise_conv2d: ["depthwise_kernel", "bias"],
  separable_conv2d: ["depthwise_kernel", "pointwise_kernel", "bias"],
  ...{ simple_rnn: recurrent, gru: recurrent, lstm: recurrent, conv_lstm2d: recurrent, conv_lst_m2d: recurrent },
};
const normalizations: Readonly<Record<string, readonly string[]>> = {
  batch_normalization: ["gamma", "beta", "moving_mean", "moving_variance"],
  layer_normalization: ["gamma", "beta"],
};
/** Settings that are false where a normalization lacks the weight. */
const switches: Readonly<Record<string, string>> = { gamma: "scale", beta: "center" };

/** Whether TensorFlow.js has the layer, by the name of its folder. */
export function isKnownLayer(folder: string): boolean {
  return folder in weightsOf || folder in normalizations;
}

/**
 * What the weights of a layer of this class are called, if it has so many; null: that is not known.
 * @param folder the class as a folder's name, without a number
 * @param config of the layer, if there is one
 */
export function weightNames(
  folder: string,
  config: Readonly<Record<string, unknown>> | null,
  count: number,
): readonly string[] | null {
  const normalization = normalizations[folder];
  if (normalization) {
    if (config) {
      const has = normalization.filter((name) => config[switches[name] ?? ""] !== false);
      return has.length === count ? has : null;
    }
    if (count === normalization.length) return normalization;
    // Without a configuration one of the two could be either.
    return count === normalization.length - 2 ? normalization.slice(2) : null;
  }
  const names = weightsOf[folder];
  if (!names || count > names.length) return null;
  const lacksBias = count === names.length - 1 && names.at(-1) === "bias";
  return count === names.length || lacksBias ? names.slice(0, count) : null;
}

/** @param version of the Keras that wrote the file, as "3.15.1"; empty: unknown */
export function settingsOf(
  folder: string,
  config: Readonly<Record<string, unknown>> | null,
  version: string,
): LayerSettings {
  const { epsilon, recurrent_activation: activation } = config ?? {};
  const name = isRecord(activation) ? (activation.class_name ?? null) : activation;
  return {
    ...(folder in normalizations && typeof epsilon === "number" && { epsilon }),
    ...(isRecurrent(folder) && typeof name === "string" && { recurrentActivation: activationName(name, version) }),
  };
}

export function isRecurrent(folder: string): boolean {
  return weightsOf[folder] === recurrent;
}

/** Shapes by the weights' names; `bias` may lack. Without a configuration, a GRU is known by its three gates a unit. */
export function gruRefusal(
  folder: string,
  config: Readonly<Record<string, unknown>> | null,
  shapes: ReadonlyMap<string, readonly number[]>,
): Refusal | null {
  const [units, gates] = shapes.get("recurrent_kernel") ?? [];
  if (folder !== "gru" && !(config === null && units !== undefined && gates === 3 * units)) return null;
  if (config?.reset_after === true || shapes.get("bias")?.length === 2) return resetAfter;
  return config === null && !shapes.has("bias") ? unclearReset : null;
}

/** TensorFlow.js' hardSigmoid is that of Keras 2: x / 5 + 1 / 2, cut off. That of Keras 3 is x / 6 + 1 / 2. */
function activationName(name: string, version: string): string {
  if (name === "hard_sigmoid" && Number.parseInt(version, 10) >= 3) return "hard_sigmoid of Keras 3";
  return name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
