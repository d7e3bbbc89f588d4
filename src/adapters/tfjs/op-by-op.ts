/** A model's state in tensors of TensorFlow.js, and its steps run op by op: for engines that record nothing. */
import type { EngineState, RecordedStep, RecordedUpdate, Step, Tensor, TensorFlow } from "../../ports/engine.ts";
import { readTensor } from "../../ports/read-tensor.ts";

export class OpByOpState implements EngineState {
  readonly #tf: TensorFlow;
  readonly #shapes: readonly (readonly number[])[];
  #tensors: Tensor[];

  constructor(tf: TensorFlow, shapes: readonly (readonly number[])[]) {
    this.#tf = tf;
    this.#shapes = shapes;
    this.#tensors = shapes.map((shape) => tf.zeros([...shape]));
  }

  load(values: readonly Float32Array[]): void {
    this.#replace(this.#shapes.map((shape, i) => this.#tf.tensor(values[i]!.slice(), [...shape])));
  }

  tensors(): Tensor[] {
    return this.#tensors.map((tensor) => tensor.clone());
  }

  record(_name: string, step: Step): RecordedStep {
    const trace = (inputs: readonly Tensor[]) => runOnce(this.#tf, step, this.#tensors, inputs);
    const run: RecordedStep["run"] = (inputs, rows = [], written) => putIntoRows(trace(inputs), rows, written);
    return { prepare: nothing, warmUp: nothing, run, trace };
  }

  recordUpdate(_name: string, step: Step): RecordedUpdate {
    return {
      prepare: nothing,
      run: (inputs) => this.#replace(runOnce(this.#tf, step, this.#tensors, inputs)),
    };
  }

  #replace(tensors: Tensor[]): void {
    // They are the state's, whatever scope they were made in.
    for (const tensor of tensors) this.#tf.keep(tensor);
    this.#tf.dispose(this.#tensors);
    this.#tensors = tensors;
  }
}

function nothing(): void {
  // An op is ready at once.
}

/** Copies the first of these tensors into the rows, and says so; returns the others. */
export function putIntoRows(tensors: readonly Tensor[], rows: readonly Float32Array[], written?: Int32Array): Tensor[] {
  for (const [i, row] of rows.entries()) {
    readTensor(tensors[i]!, row);
    tensors[i]!.dispose();
    if (written) Atomics.store(written, i, 1);
  }
  return tensors.slice(rows.length);
}

/** Nothing but the outputs is left, and no output is also an input or another output. */
export function runOnce(tf: TensorFlow, step: Step, state: readonly Tensor[], inputs: readonly Tensor[]): Tensor[] {
  return tf.tidy(() => {
    const taken = new Set<Tensor>([...state, ...inputs]);
    return step(state, inputs).map((output) => {
      const own = taken.has(output) || output.kept || output instanceof tf.Variable ? output.clone() : output;
      taken.add(own);
      return own;
    });
  });
}
