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
  /** Why an engine that can record does not: which step, and what is in its way. */
  readonly notRecorded: string | null;
  /** CPU architecture, as Node names it ("x64", "arm64"). */
  readonly architecture: string;
}

/** Computes. */
export interface Engine {
  readonly tf: TensorFlow;
  readonly description: EngineDescription;
  /** Takes hold of a model's state: tensors of these shapes, all zeros at first. */
  hold(shapes: readonly (readonly number[])[]): EngineState;
  /** Optimizers that the engine has as one operation; null where they are made of single ones. */
  readonly fused: FusedUpdates | null;
}

/**
 * The tensors that a model trains with, and the steps that compute with them. A step is a function of its inputs and the
 * state alone. An engine that can record writes it down as a graph the first time that it is run with inputs of these
 * shapes and types; one that cannot runs it op by op.
 */
export interface EngineState {
  /** Replaces all of it; the values are copied. */
  load(values: readonly Float32Array[]): void;
  /** As it is now; the tensors are the caller's, and unchanged by what follows. */
  tensors(): Tensor[];
  /**
   * A step that leaves the state as it is.
   * @param rows how many of its outputs, the first ones, are put into rows; left out: none
   */
  record(name: string, step: Step, rows?: number): RecordedStep;
  /** A step whose outputs replace the state. */
  recordUpdate(name: string, step: Step): RecordedUpdate;
}

/**
 * From the state and other tensors to tensors. The caller owns what goes in (nothing of it is disposed) and what comes out.
 * Inside, every random number comes from an input, or from `Math.random`, which the caller has seeded for this very call.
 */
export type Step = (state: readonly Tensor[], inputs: readonly Tensor[]) => Tensor[];

export interface RecordedStep {
  /** Gets ready for inputs of these shapes and types; without it, the first run with them does. */
  prepare(inputs: readonly Tensor[]): void;
  /** Runs once, on zeros, what was prepared: a graph is made fast when it runs for the first time. */
  warmUp(): void;
  /**
   * The first outputs are put into `rows`, one for each, as long as it, one after the other; they are not returned.
   * @param written has a number for each row, which is set to 1 when the row is there: some engines do it while they compute
   */
  run(inputs: readonly Tensor[], rows?: readonly Float32Array[], written?: Int32Array): Tensor[];
  /** The same op by op, for those who want to see the ops. Its results may differ in the last bits. */
  trace(inputs: readonly Tensor[]): Tensor[];
}

export type RecordedUpdate = Pick<RecordedStep, "prepare"> & { run(inputs: readonly Tensor[]): void };

/** To be called inside an update alone, with a weight and slots that are the state's. */
export interface FusedUpdates {
  /**
   * One step of Adam, as `applyOptimizer` has it in single operations.
   * @param decay what is taken off the weight first, as a part of it; null for nothing
   */
  adam(
    state: { readonly weight: Tensor; readonly mean: Tensor; readonly square: Tensor },
    gradient: Tensor,
    numbers: { readonly rate: Tensor; readonly beta1: number; readonly beta2: number; readonly epsilon: number },
    decay: Tensor | null,
  ): { readonly weight: Tensor; readonly mean: Tensor; readonly square: Tensor };
}
