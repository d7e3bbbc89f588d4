/**
 * What a graph says in other ops than TensorFlow.js does, because TensorFlow is faster at them. The numbers are those of the
 * ops that they replace, but for what a step makes of what is not a number.
 */
import type { Tensor, TensorFlow } from "../../ports/engine.ts";
import { attributes, type GraphBackend } from "./graph.ts";
import { currentRecorder, type Recorder } from "./recorder.ts";

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
  add(op: string, inputs: readonly Tensor[], output: Tensor): string | null {
    const [a, b] = inputs as readonly [Tensor, Tensor]; // as the ops below have
    if (op === "Cast") this.#passStep(a, output);
    return op === "Mul" ? this.#reluGradient(a, b) : null;
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
