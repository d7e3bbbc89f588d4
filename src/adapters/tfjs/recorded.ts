/**
 * A model's state as variables of a TensorFlow session, and its steps as graphs in it: one call a step, which TensorFlow
 * prunes, folds and fuses, and updates that change a weight in place. A step that is run with inputs of new shapes is a
 * new part of the graph; the session is then loaded anew, and the state moves into it.
 */
import { assert } from "../../core/errors.ts";
import { RandomStream } from "../../core/random.ts";
import type { EngineState, RecordedStep, RecordedUpdate, Step, Tensor, TensorFlow } from "../../ports/engine.ts";
import { seeded } from "../../ports/seeded.ts";
import { Examination } from "./examination.ts";
import { attributes, type Feed, type GraphBackend, Nodes, Session } from "./graph.ts";
import { seedWords, withNativeRandom } from "./native-random.ts";
import { OutputRows, OwnRows } from "./output-rows.ts";
import { putIntoRows, runOnce } from "./op-by-op.ts";
import { type RecordedInput, Recorder, type Recording } from "./recorder.ts";

/** The variable of the state's tensor with this number. */
const variable = (i: number) => `state/${i}`;
const isUpdatedInPlace = (output: string) => output.startsWith("^");

export class RecordedState implements EngineState {
  readonly #tf: TensorFlow;
  readonly #backend: GraphBackend;
  readonly #shapes: readonly (readonly number[])[];
  readonly #onNotRecordable: (step: string, reason: string) => void;
  readonly #parts: Recording[] = [];
  #session: { readonly session: Session; readonly parts: number } | null = null;
  /** The state while no session has it. */
  #waiting: Tensor[] | null;

  /** @param onNotRecordable told why a step runs op by op */
  constructor(
    tf: TensorFlow,
    backend: GraphBackend,
    shapes: readonly (readonly number[])[],
    onNotRecordable: (step: string, reason: string) => void,
  ) {
    this.#tf = tf;
    this.#backend = backend;
    this.#shapes = shapes;
    this.#onNotRecordable = onNotRecordable;
    this.#waiting = shapes.map((shape) => tf.keep(tf.zeros([...shape])));
  }

  load(values: readonly Float32Array[]): void {
    if (this.#waiting) this.#tf.dispose(this.#waiting);
    this.#waiting = this.#shapes.map((shape, i) => this.#tf.keep(this.#tf.tensor(values[i]!.slice(), [...shape])));
  }

  tensors(): Tensor[] {
    if (this.#waiting) return this.#waiting.map((tensor) => tensor.clone());
    assert(this.#session !== null, "a state that does not wait is in a session");
    const reads = this.#shapes.map((_, i) => `${variable(i)}/read`);
    return this.#session.session.run([], reads);
  }

  record(name: string, step: Step, rows = 0): RecordedStep {
    const examined = new Examination((reason) => this.#onNotRecordable(name, reason));
    const parts = new Map<string, Recording>();
    const outputRows = new Map<Recording, OutputRows>();
    const ownRows = new OwnRows();
    /** Of the parts that were not run yet: the inputs' types and shapes. */
    const cold = new Map<Recording, readonly Pick<Tensor, "dtype" | "shape">[]>();
    const opByOp = (inputs: readonly Tensor[]) => {
      const state = this.tensors();
      try {
        return withNativeRandom(this.#tf, () => runOnce(this.#tf, step, state, inputs));
      } finally {
        this.#tf.dispose(state);
      }
    };
    const partFor = (inputs: readonly Tensor[]): Recording | null => {
      const signature = signatureOf(inputs);
      const known = parts.get(signature);
      if (known) return known;
      const look = () =>
        examined.look(signature, (number) =>
          // Apart from the caller's random numbers, which are the graph's to draw.
          seeded(new RandomStream(number, "recording"), () => {
            const recorded = this.#record(`${name}/${parts.size}/`, inputs, step);
            this.#tf.dispose(recorded.results);
            return recorded.recording;
          }),
        );
      let part = look();
      if (part && !examined.isSure) part = look();
      if (!part) return null;
      parts.set(signature, part);
      outputRows.set(part, new OutputRows(this.#tf, this.#backend, part, rows, ownRows));
      this.#parts.push(part);
      cold.set(
        part,
        inputs.map(({ dtype, shape }) => ({ dtype, shape })),
      );
      return part;
    };
    return {
      prepare: (inputs) => {
        partFor(inputs);
      },
      warmUp: () => {
        const random = new RandomStream(0, "recording");
        for (const [part, types] of cold) {
          cold.delete(part);
          const inputs = types.map(({ dtype, shape }) => this.#tf.zeros(shape, dtype));
          try {
            const run = (feeds: readonly Feed[], outputs: readonly string[]) => this.#run(part, inputs, outputs, feeds);
            seeded(random, () => outputRows.get(part)!.warmUp(run));
          } finally {
            this.#tf.dispose(inputs);
          }
        }
      },
      trace: (inputs) => {
        if (examined.isSure) return opByOp(inputs);
        let results: Tensor[] = [];
        const traced = examined.look(signatureOf(inputs), () => {
          const recorded = this.#record(`${name}/traced/`, inputs, step);
          results = recorded.results;
          return recorded.recording;
        });
        if (traced) return results;
        // Refused, as it may be for what came out.
        this.#tf.dispose(results);
        return opByOp(inputs);
      },
      run: (inputs, rows = [], written) => {
        const part = partFor(inputs);
        if (!part) return putIntoRows(opByOp(inputs), rows, written);
        cold.delete(part);
        const run = (feeds: readonly Feed[], outputs: readonly string[]) => this.#run(part, inputs, outputs, feeds);
        return outputRows.get(part)!.fill(rows, written ?? null, run);
      },
    };
  }

  recordUpdate(name: string, step: Step): RecordedUpdate {
    let part: (Recording & { readonly done: string }) | null = null;
    const prepared = (inputs: readonly Tensor[]) => {
      if (part) return part;
      const { recording, results } = this.#record(`${name}/`, inputs, step);
      this.#tf.dispose(results);
      part = { ...recording, done: this.#assigned(recording) };
      this.#parts.push(part);
      return part;
    };
    return {
      prepare: (inputs) => {
        prepared(inputs);
      },
      run: (inputs) => {
        const update = prepared(inputs);
        this.#tf.dispose(this.#run(update, inputs, [update.done]));
      },
    };
  }

  /** Adds what puts an update's outputs into the variables; returns a node that is there when all of it is done. */
  #assigned({ nodes, outputs, placeholders }: Recording): string {
    const type = attributes.type(this.#backend.binding.TF_FLOAT);
    const after = outputs.map((output, i) =>
      isUpdatedInPlace(output)
        ? output
        : `^${nodes.add(`assign${i}`, "AssignVariableOp", [variable(i), output], { dtype: type })}`,
    );
    return nodes.add("done", "Identity", [placeholders.at(-1)!, ...after], { T: type });
  }

  #record(prefix: string, inputs: readonly Tensor[], step: Step) {
    const state = this.tensors();
    const given: RecordedInput[] = [
      ...state.map((tensor, i) => ({ tensor, variable: variable(i) })),
      ...inputs.map((tensor) => ({ tensor, variable: null })),
    ];
    const recorder = new Recorder(this.#backend, prefix);
    try {
      return recorder.record(this.#tf, given, () => runOnce(this.#tf, step, state, inputs));
    } finally {
      this.#tf.dispose(state);
    }
  }

  #run(part: Recording, inputs: readonly Tensor[], outputs: readonly string[], rows: readonly Feed[] = []): Tensor[] {
    const { placeholders, seeds } = part;
    const session = this.#loaded();
    const drawn = seeds.map(({ own }) => this.#tf.tensor1d(seedWords(own), "int32"));
    const feeds = [
      ...placeholders.map((name, i) => [name, inputs[i]!] as const),
      ...seeds.map(({ name }, i) => [name, drawn[i]!] as const),
      ...rows,
    ];
    try {
      return session.run(feeds, outputs);
    } finally {
      this.#tf.dispose(drawn);
    }
  }

  /** A session that has all parts, and the state. */
  #loaded(): Session {
    if (this.#session?.parts !== this.#parts.length) {
      this.#waiting ??= this.tensors().map((tensor) => this.#tf.keep(tensor));
      this.#session?.session.close();
      // What follows may fail; whoever comes next loads anew what waits.
      this.#session = null;
      const session = new Session(this.#backend, [this.#variables(), ...this.#parts.map(({ nodes }) => nodes)]);
      this.#session = { session, parts: this.#parts.length };
    }
    const { session } = this.#session!;
    if (this.#waiting) {
      if (this.#waiting.length === 0) return session;
      const feeds = this.#waiting.map((tensor, i) => [`${variable(i)}/given`, tensor] as const);
      this.#tf.dispose(session.run(feeds, ["loaded"]));
      this.#tf.dispose(this.#waiting);
      this.#waiting = null;
    }
    return session;
  }

  #variables(): Nodes {
    const { TF_FLOAT } = this.#backend.binding;
    const type = attributes.type(TF_FLOAT);
    const nodes = new Nodes("");
    const loads = this.#shapes.map((shape, i) => {
      const name = variable(i);
      nodes.add(name, "VarHandleOp", [], {
        dtype: type,
        shape: attributes.shape(shape),
        shared_name: attributes.text(name),
        container: attributes.text(""),
      });
      nodes.add(`${name}/read`, "ReadVariableOp", [name], { dtype: type });
      // A copy: what is fed may lie in JavaScript's memory, which nobody but its own thread may give back.
      const copy = nodes.add(`${name}/copy`, "DeepCopy", [nodes.placeholder(`${name}/given`, TF_FLOAT, shape)], {
        T: type,
      });
      return `^${nodes.add(`${name}/load`, "AssignVariableOp", [name, copy], { dtype: type })}`;
    });
    if (loads.length > 0) nodes.add("loaded", "Identity", [`${variable(0)}/given`, ...loads], { T: type });
    return nodes;
  }
}

function signatureOf(inputs: readonly Tensor[]): string {
  return inputs.map(({ dtype, shape }) => `${dtype}[${shape.join(",")}]`).join(" ");
}
