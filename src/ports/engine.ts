import type * as tfjs from "@tensorflow/tfjs";

/** The TensorFlow.js namespace, as job files see it. */
export type TensorFlow = typeof tfjs;
export type Tensor = tfjs.Tensor;
export type LayersModel = tfjs.LayersModel;

export type EngineKind = "native" | "wasm" | "cpu";
export type Device = "cpu" | "gpu";

/** What of an engine must be equal on every node, since it decides the bits; part of the cluster's fingerprint. */
export interface EngineDescription {
  readonly kind: EngineKind;
  /** Name and version of what computes, as "TensorFlow 2.21.0" or "TensorFlow.js 4.22.0 (WebAssembly)". */
  readonly library: string;
  readonly device: Device;
  /** The GPU's model, or null on a CPU. */
  readonly gpu: string | null;
  /** Threads inside one op. */
  readonly threads: number;
  /** How a step is run: one op at a time, or as one recorded graph. */
  readonly step: "op-by-op" | "recorded";
  /** CPU architecture, as Node names it ("x64", "arm64"). */
  readonly architecture: string;
}

/**
 * Computes. A step is a function of its inputs alone: state in, state out, no hidden variables. `record` is given such
 * a function once for each signature (the shapes and types of the inputs) and returns something that runs it: an
 * engine that can record writes the step down as a graph the first time, one that cannot runs it op by op.
 */
export interface Engine {
  readonly tf: TensorFlow;
  readonly description: EngineDescription;
  record(name: string, step: Step): Step;
}

/**
 * From tensors to tensors. The caller owns the inputs (they are not disposed) and the outputs. Inside, every random
 * number comes from an input, or from `Math.random`, which the caller has seeded for this very call.
 */
export type Step = (inputs: readonly Tensor[]) => Tensor[];
