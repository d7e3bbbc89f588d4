/**
 * What a graph says in other ops than TensorFlow.js does, because TensorFlow is faster at them. The numbers are those of the
 * ops that they replace, but for the last bits of some products, and but for what a step makes of what is not a number.
 */
import type { Tensor, TensorFlow } from "../../ports/engine.ts";
import { attributes, type GraphBackend, type OpAttribute } from "./graph.ts";
import { currentRecorder, type Recorder } from "./recorder.ts";

/** Of a matrix's numbers; one that is smaller stays in the processor's caches while it is rearranged. */
const largeMatrix = 2 ** 18;

export class FasterOps {
  readonly #recorder: Recorder;
  readonly #backend: GraphBackend;
  /** By a step's output: the node whose positive numbers are 1 in it, while all others are 0. */
  readonly #steps = new Map<object, string>();

  constructor(recorder: Recorder, backend: GraphBackend) {
    this.#recorder = recorder;
    this.#backend = backend;
  }

  noteStep(output: Tensor, of: Tensor): void {
    this.#steps.set(output.dataId, this.#recorder.nameOf(of));
  }

  /** Adds what gives the same as an op of one output; null where the op itself is the fastest. */
  add(op: string, given: readonly OpAttribute[], inputs: readonly Tensor[], output: Tensor): string | null {
    const [a, b] = inputs as readonly [Tensor, Tensor]; // as the ops below have
    if (op === "Cast") this.#passStep(a, output);
    if (op === "Mul") return this.#reluGradient(a, b);
    if (op === "BatchMatMulV2") return this.#product(given, a, b);
    return null;
  }

  #passStep(from: Tensor, to: Tensor): void {
    const of = this.#steps.get(from.dataId);
    if (of !== undefined && from.dtype === to.dtype) this.#steps.set(to.dataId, of);
  }

  /** What comes back through a relu: one op instead of a mask that takes six to make. */
  #reluGradient(gradient: Tensor, mask: Tensor): string | null {
    const of = this.#steps.get(mask.dataId);
    if (of === undefined || String(gradient.shape) !== String(mask.shape)) return null;
    return this.#recorder.add("ReluGrad", [this.#recorder.nameOf(gradient), of], { T: this.#float });
  }

  /**
   * The product of a few rows with a large matrix, transposed: what comes back through a dense layer. On a processor TensorFlow
   * rearranges the matrix number by number, across its rows, which takes longer than the product when the rows are few. With
   * the matrix on the left it is read as it lies, and only the product has to be transposed.
   */
  #product(given: readonly OpAttribute[], rows: Tensor, matrix: Tensor): string | null {
    const is = (name: string) => given.some((attribute) => attribute.name === name && attribute.value === true);
    if (is("adj_x") || !is("adj_y") || this.#backend.isUsingGpuDevice) return null;
    if (rows.rank !== 2 || matrix.rank !== 2 || rows.dtype !== "float32" || matrix.size < largeMatrix) return null;
    const [count = 0, length = 0] = rows.shape;
    if (length < 2 * count) return null;
    const { TF_INT32 } = this.#backend.binding;
    const type = attributes.type(TF_INT32);
    const names = [matrix, rows].map((tensor) => this.#recorder.nameOf(tensor));
    const product = this.#recorder.add("BatchMatMulV2", names, { T: this.#float, adj_y: attributes.bool(true) });
    const order = attributes.tensor(TF_INT32, [2], Int32Array.of(1, 0));
    const swapped = this.#recorder.add("Const", [], { dtype: type, value: order });
    return this.#recorder.add("Transpose", [product, swapped], { T: this.#float, Tperm: type });
  }

  get #float() {
    return attributes.type(this.#backend.binding.TF_FLOAT);
  }
}

/** Once a backend: a graph is told which tensors are steps, as its ops alone do not say it. */
export function noteSteps(tf: TensorFlow, backendName: string): void {
  const step = tf.getKernel("Step", backendName);
  tf.unregisterKernel("Step", backendName);
  tf.registerKernel({
    ...step,
    kernelFunc: (parts) => {
      const output = step.kernelFunc(parts) as Tensor; // one, as the kernel has
      const { x } = parts.inputs as { x: Tensor };
      if (parts.attrs?.alpha === 0 && x.dtype === "float32") currentRecorder()?.faster.noteStep(output, x);
      return output;
    },
  });
}
