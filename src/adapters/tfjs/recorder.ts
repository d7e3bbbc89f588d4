/**
 * Writes a step down as a graph while it runs once, op by op. The Node backend hands every op to two functions, with
 * TensorFlow's own names and attributes; what comes out of one op and goes into another is an edge. What JavaScript makes
 * meanwhile, a scalar, an axis, a shape, becomes a constant. What would be frozen that way and may not be is found by
 * recording twice: a number that JavaScript draws, or counts, differs, and a value that it reads is seen being read.
 */
import { createHash, type Hash } from "node:crypto";
import type { Tensor, TensorFlow } from "../../ports/engine.ts";
import { FasterOps } from "./faster-ops.ts";
import { attributeOf, attributes, type AttributeValue, type GraphBackend, Nodes, type OpAttribute } from "./graph.ts";
import { type SeedSource, withNativeRandom } from "./native-random.ts";

/** Why a step cannot be a graph; a person is told. */
export class NotRecordable extends Error {}

/** A constant that is larger belongs into a weight. */
const largestConstant = 64 * 1024 * 1024;

export interface Recording {
  readonly nodes: Nodes;
  /** Of each input that no variable gives, in order. */
  readonly placeholders: readonly string[];
  /** Of each output, in order. */
  readonly outputs: readonly string[];
  /** How many numbers of float32 each output has; null for another type. */
  readonly sizes: readonly (number | null)[];
  /** The layers' own seeds of the random tensors that the step draws, in order; each has a placeholder. */
  readonly seeds: readonly { readonly name: string; readonly own: number }[];
  /** Over ops, attributes and constants, in the order in which they came. */
  readonly digest: string;
}

/** What the step is given: a tensor to compute with, and how the graph gets it: from a placeholder, or from a variable. */
export interface RecordedInput {
  readonly tensor: Tensor;
  readonly variable: string | null;
}

/** The recorder whose step runs in this thread, if one does. */
let recording: Recorder | null = null;

/** The recorder that is writing down what runs now, or null. */
export function currentRecorder(): Recorder | null {
  return recording;
}

export class Recorder {
  readonly nodes: Nodes;
  readonly faster: FasterOps;
  readonly #backend: GraphBackend;
  readonly #prefix: string;
  readonly #names = new Map<object, string>();
  readonly #constants = new Set<object>();
  readonly #variables = new Map<object, string>();
  readonly #placeholders: string[] = [];
  readonly #seeds: { name: string; own: number }[] = [];
  readonly #hash: Hash = createHash("sha256");
  #count = 0;
  /** TensorFlow.js' own kernel may look at values to check them. */
  #mayRead = false;

  constructor(backend: GraphBackend, prefix: string) {
    this.#backend = backend;
    this.#prefix = prefix;
    this.nodes = new Nodes(prefix);
    this.faster = new FasterOps(this, backend);
  }

  /** Runs `run`, which gives what the inputs give, and tells what it was. Throws NotRecordable, or what `run` throws. */
  record(
    tf: TensorFlow,
    inputs: readonly RecordedInput[],
    run: () => Tensor[],
  ): { readonly recording: Recording; readonly results: Tensor[] } {
    const backend = this.#backend;
    const { executeSingleOutput, executeMultipleOutputs, readSync } = backend;
    const watched: Pick<GraphBackend, "executeSingleOutput" | "executeMultipleOutputs" | "readSync"> = {
      executeSingleOutput: (name, values, tensors) => {
        const output = Reflect.apply(executeSingleOutput, backend, [name, values, tensors]) as Tensor;
        this.#note(name, values, tensors, [output]);
        return output;
      },
      executeMultipleOutputs: (name, values, tensors, count) => {
        const outputs = Reflect.apply(executeMultipleOutputs, backend, [name, values, tensors, count]) as Tensor[];
        this.#note(name, values, tensors, outputs);
        return outputs;
      },
      readSync: (dataId) => {
        if (this.#names.has(dataId) && !this.#constants.has(dataId) && !this.#mayRead) {
          throw new NotRecordable("it looks at a tensor's value");
        }
        return Reflect.apply(readSync, backend, [dataId]) as ArrayBufferView;
      },
    };
    for (const input of inputs) this.#addInput(input);
    Object.assign(backend, watched);
    recording = this;
    let results: Tensor[] = [];
    try {
      results = withNativeRandom(tf, run, this.#seedSource(tf));
      const outputs = results.map((tensor) => this.#output(tensor));
      this.#noteNames(outputs);
      const digest = this.#hash.digest("hex");
      const { nodes } = this;
      const sizes = results.map(({ dtype, size }) => (dtype === "float32" ? size : null));
      return {
        recording: { nodes, placeholders: this.#placeholders, outputs, sizes, seeds: this.#seeds, digest },
        results,
      };
    } catch (error) {
      tf.dispose(results);
      throw error;
    } finally {
      recording = null;
      Object.assign(backend, { executeSingleOutput, executeMultipleOutputs, readSync });
    }
  }

  /** What is fed cannot be fetched: an input that comes out again takes a node of its own. */
  #output(tensor: Tensor): string {
    const name = this.nameOf(tensor);
    if (!this.#placeholders.includes(name)) return name;
    return this.add("Identity", [name], { T: attributes.type(this.#backend.getDTypeInteger(tensor.dtype)) });
  }

  #addInput({ tensor, variable }: RecordedInput): void {
    const { dataId, dtype, shape } = tensor;
    const type = this.#backend.getDTypeInteger(dtype);
    let name: string;
    if (variable === null) {
      name = this.nodes.placeholder(`in${this.#placeholders.length}`, type, shape);
      this.#placeholders.push(name);
    } else {
      name = this.nodes.add(`read${this.#variables.size}`, "ReadVariableOp", [variable], {
        dtype: attributes.type(type),
      });
      this.#variables.set(dataId, variable);
    }
    this.#names.set(dataId, name);
  }

  /** The variable that gives this tensor, or null. */
  variableOf(tensor: Tensor): string | null {
    return this.#variables.get(tensor.dataId) ?? null;
  }

  /** The node that gives this tensor; a constant for what the graph does not know. */
  nameOf(tensor: Tensor): string {
    return this.#names.get(tensor.dataId) ?? this.#constant(tensor);
  }

  /** Another tensor is given by this node from here on. */
  name(tensor: Tensor, name: string): void {
    this.#names.set(tensor.dataId, name);
  }

  /** Adds a node under a name of its own. */
  add(op: string, inputs: readonly string[], values: Readonly<Record<string, AttributeValue>>): string {
    this.#noteNames([op, ...inputs]);
    for (const value of Object.values(values)) this.#hash.update(value.serializeBinary());
    return this.nodes.add(`${this.#count++}`, op, inputs, values);
  }

  /** Two recordings of a step are equal wherever in the graph they are. */
  #noteNames(names: readonly string[]): void {
    this.#hash.update(JSON.stringify(names.map((name) => name.replace(this.#prefix, ""))));
  }

  /** For a kernel of TensorFlow.js that reads what it computes with only to check it. */
  reading<T>(run: () => T): T {
    const before = this.#mayRead;
    this.#mayRead = true;
    try {
      return run();
    } finally {
      this.#mayRead = before;
    }
  }

  #note(op: string, given: readonly OpAttribute[], inputs: readonly Tensor[], outputs: readonly Tensor[]): void {
    const faster = outputs.length === 1 ? this.faster.add(op, inputs, outputs[0]!) : null;
    const name = faster ?? this.#addOp(op, given, inputs);
    // What is made of constants alone is one, whoever looks at it.
    const isConstant = inputs.every(({ dataId }) => this.#constants.has(dataId));
    for (const [i, tensor] of outputs.entries()) {
      this.#names.set(tensor.dataId, i === 0 ? name : `${name}:${i}`);
      if (isConstant) this.#constants.add(tensor.dataId);
    }
  }

  #addOp(op: string, given: readonly OpAttribute[], inputs: readonly Tensor[]): string {
    const values: Record<string, AttributeValue> = {};
    for (const one of given) {
      if (one.value === null || one.value === undefined) continue;
      const value = attributeOf(this.#backend.binding, one);
      if (!value)
        throw new NotRecordable(`it runs TensorFlow's op ${op}, whose attribute ${one.name} has no place in it`);
      values[one.name] = value;
    }
    return this.add(
      op,
      inputs.map((tensor) => this.nameOf(tensor)),
      values,
    );
  }

  #constant(tensor: Tensor): string {
    const { dtype, shape, size } = tensor;
    const { TF_FLOAT, TF_INT32, TF_BOOL } = this.#backend.binding;
    const type = { float32: TF_FLOAT, int32: TF_INT32, bool: TF_BOOL, complex64: null, string: null }[dtype];
    if (type === null) throw new NotRecordable(`it computes with a tensor of type ${dtype}`);
    if (size * 4 > largestConstant) throw new NotRecordable("it computes with a large tensor that is no weight");
    const values = this.reading(() => this.#backend.readSync(tensor.dataId));
    const name = this.add("Const", [], {
      dtype: attributes.type(type),
      value: attributes.tensor(type, shape, values),
    });
    this.#names.set(tensor.dataId, name);
    this.#constants.add(tensor.dataId);
    return name;
  }

  #seedSource(tf: TensorFlow): SeedSource {
    return (own, words) => {
      const tensor = tf.tensor1d(words, "int32");
      const name = this.nodes.placeholder(`seed${this.#seeds.length}`, this.#backend.binding.TF_INT32, [2]);
      this.#hash.update(JSON.stringify(["seed", own]));
      this.#seeds.push({ name, own });
      this.#names.set(tensor.dataId, name);
      return tensor;
    };
  }
}
