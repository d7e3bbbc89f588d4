/**
 * A TensorFlow graph, put together node by node, and sessions that run it. The Node backend's addon loads a graph in one
 * form only, a SavedModel in a folder; its messages come with the backend's package.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LockstepError, messageOf } from "../../core/errors.ts";
import type { Tensor } from "../../ports/engine.ts";

const require = createRequire(import.meta.url);

/** As the addon names the kinds of attributes. */
export interface OpAttribute {
  readonly name: string;
  readonly type: number;
  readonly value: unknown;
}

/** What of the addon sessions need. */
export interface GraphBinding {
  readonly TF_ATTR_TYPE: number;
  readonly TF_ATTR_INT: number;
  readonly TF_ATTR_FLOAT: number;
  readonly TF_ATTR_BOOL: number;
  readonly TF_ATTR_STRING: number;
  readonly TF_ATTR_SHAPE: number;
  readonly TF_FLOAT: number;
  readonly TF_INT32: number;
  readonly TF_BOOL: number;
  loadSavedModel(folder: string, tags: string): number;
  deleteSavedModel(session: number): void;
  runSavedModel(session: number, inputs: readonly number[], inputNames: string, outputNames: string): unknown[];
}

/** What of the Node backend recording and sessions need; its package declares none of it. */
export interface GraphBackend {
  readonly binding: GraphBinding;
  readonly isUsingGpuDevice: boolean;
  getInputTensorIds(tensors: readonly Tensor[]): number[];
  createOutputTensor(metadata: unknown): Tensor;
  getDTypeInteger(type: string): number;
  readSync(dataId: object): ArrayBufferView;
  executeSingleOutput(name: string, attributes: readonly OpAttribute[], inputs: readonly Tensor[]): Tensor;
  executeMultipleOutputs(
    name: string,
    attributes: readonly OpAttribute[],
    inputs: readonly Tensor[],
    outputs: number,
  ): Tensor[];
}

/** The protobuf messages of dist/proto/api_pb.js: generated classes with setters, which the package does not declare. */
interface Message {
  serializeBinary(): Uint8Array;
  [setter: string]: (...values: never[]) => unknown;
}
type MessageClass = new () => Message;
interface Messages {
  readonly AttrValue: MessageClass & { readonly ListValue: MessageClass };
  readonly TensorShape: MessageClass & { readonly Dim: MessageClass };
  readonly Tensor: MessageClass;
  readonly GraphDef: MessageClass;
  readonly NodeDef: MessageClass;
  readonly VersionDef: MessageClass;
  readonly MetaGraphDef: MessageClass & { readonly MetaInfoDef: MessageClass };
  readonly SavedModel: MessageClass;
}
const messages: Messages = require("@tensorflow/tfjs-node-gpu/dist/proto/api_pb.js");

/** Sets fields by name, as the generated setters have them. */
function message(kind: MessageClass, fields: Readonly<Record<string, unknown>>): Message {
  const made = new kind();
  for (const [field, value] of Object.entries(fields)) {
    const setter = made[`set${field}`]!;
    Reflect.apply(setter, made, [value]);
  }
  return made;
}

function shapeMessage(shape: readonly number[]): Message {
  const made = new messages.TensorShape();
  for (const size of shape) Reflect.apply(made.addDim!, made, [message(messages.TensorShape.Dim, { Size: size })]);
  return made;
}

export type AttributeValue = Message;
const attribute = (fields: Readonly<Record<string, unknown>>) => message(messages.AttrValue, fields);

/** Attributes by what they hold. */
export const attributes = {
  type: (type: number) => attribute({ Type: type }),
  bool: (value: boolean) => attribute({ B: value }),
  float: (value: number) => attribute({ F: value }),
  text: (value: string) => attribute({ S: Buffer.from(value) }),
  shape: (shape: readonly number[]) => attribute({ Shape: shapeMessage(shape) }),
  whole: (value: number | bigint | readonly number[]) =>
    Array.isArray(value)
      ? attribute({ List: message(messages.AttrValue.ListValue, { IList: [...value] }) })
      : attribute({ I: Number(value) }),
  /** A constant's value; a string of bytes in the machine's order, which TensorFlow takes for little-endian. */
  tensor: (type: number, shape: readonly number[], values: ArrayBufferView) =>
    attribute({
      Tensor: message(messages.Tensor, {
        Dtype: type,
        TensorShape: shapeMessage(shape),
        TensorContent: Buffer.from(values.buffer, values.byteOffset, values.byteLength),
      }),
    }),
};

/** What `attribute` says, or null for a kind that no op of TensorFlow.js has. */
export function attributeOf(binding: GraphBinding, { type, value }: OpAttribute): AttributeValue | null {
  switch (type) {
    case binding.TF_ATTR_TYPE:
      return attributes.type(value as number);
    case binding.TF_ATTR_INT:
      return attributes.whole(value as number | readonly number[]);
    case binding.TF_ATTR_FLOAT:
      return attributes.float(value as number);
    case binding.TF_ATTR_BOOL:
      return attributes.bool(value as boolean);
    case binding.TF_ATTR_STRING:
      return attributes.text(value as string);
    case binding.TF_ATTR_SHAPE:
      return attributes.shape(value as readonly number[]);
    default:
      return null;
  }
}

/** A part of a graph: nodes whose names begin alike. */
export class Nodes {
  readonly #prefix: string;
  readonly #nodes: { readonly name: string; readonly op: string; readonly message: Message }[] = [];

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** Adds a node; returns its name. Inputs are names of nodes, of outputs as NODE:1, or ^NODE for one that has to come first. */
  add(
    name: string,
    op: string,
    inputs: readonly string[],
    values: Readonly<Record<string, AttributeValue>> = {},
  ): string {
    const full = `${this.#prefix}${name}`;
    const node = message(messages.NodeDef, { Name: full, Op: op, InputList: [...inputs] });
    const map = Reflect.apply(node.getAttrMap!, node, []) as { set(key: string, value: AttributeValue): void };
    for (const [key, value] of Object.entries(values)) map.set(key, value);
    this.#nodes.push({ name: full, op, message: node });
    return full;
  }

  /** Lets the next node of such an op that was added after the one of this output wait for another, which may depend on that one alone. */
  letNextWait(output: string, isOp: (op: string) => boolean, forNode: string): void {
    const [node] = output.split(":");
    const at = this.#nodes.findIndex(({ name }) => name === node);
    const next = at < 0 ? undefined : this.#nodes.find(({ op }, i) => i > at && isOp(op));
    if (next) Reflect.apply(next.message.addInput!, next.message, [`^${forNode}`]);
  }

  placeholder(name: string, type: number, shape: readonly number[]): string {
    return this.add(name, "Placeholder", [], { dtype: attributes.type(type), shape: attributes.shape(shape) });
  }

  get all(): readonly unknown[] {
    return this.#nodes.map(({ message: node }) => node);
  }
}

/** As the graph's producer: ops behave as they did when TensorFlow's graphs had this number (2.16). */
const graphVersion = 1800;

/** A placeholder's name, and what it stands for in a run. */
export type Feed = readonly [name: string, tensor: Tensor];

/** A graph that is loaded. Variables that its nodes name live as long as it does. */
export class Session {
  readonly #backend: GraphBackend;
  readonly #id: number;

  constructor(backend: GraphBackend, parts: readonly Nodes[]) {
    this.#backend = backend;
    const graph = message(messages.GraphDef, { Versions: message(messages.VersionDef, { Producer: graphVersion }) });
    for (const part of parts) for (const node of part.all) Reflect.apply(graph.addNode!, graph, [node]);
    const info = message(messages.MetaGraphDef.MetaInfoDef, { TagsList: ["serve"] });
    const meta = message(messages.MetaGraphDef, { MetaInfoDef: info, GraphDef: graph });
    const model = message(messages.SavedModel, { SavedModelSchemaVersion: 1 });
    Reflect.apply(model.addMetaGraphs!, model, [meta]);
    // Whose it was can be told if this process is killed before it deletes it.
    const folder = handOver(() => mkdtempSync(join(tmpdir(), `lockstep-graph-${process.pid}-`)));
    try {
      handOver(() => writeFileSync(join(folder, "saved_model.pb"), model.serializeBinary()));
      this.#id = backend.binding.loadSavedModel(folder, "serve");
    } finally {
      handOver(() => rmSync(folder, { recursive: true }));
    }
  }

  /** Feeds placeholders by name; returns what the outputs give. All of them are the caller's. */
  run(feeds: readonly Feed[], outputs: readonly string[]): Tensor[] {
    const ids = this.#backend.getInputTensorIds(feeds.map(([, tensor]) => tensor));
    const names = feeds.map(([name]) => `${name}:0`).join(",");
    const fetches = outputs.map((name) => (name.includes(":") ? name : `${name}:0`)).join(",");
    return this.#runNamed(ids, names, fetches).map((metadata) => this.#backend.createOutputTensor(metadata));
  }

  #runNamed(ids: readonly number[], names: string, fetches: string): unknown[] {
    try {
      return this.#backend.binding.runSavedModel(this.#id, ids, names, fetches);
    } catch (error) {
      // The first line says it; then come the nodes on the way there, under the names that they were given here.
      const [reason = ""] = messageOf(error).split("\n");
      const told = /^Session fail to run with error: (.*)$/.exec(reason)?.[1] ?? reason;
      throw new Error(`TensorFlow says: ${told.replace(/^\d+ root error\(s\) found\.?\s*/, "")}`, { cause: error });
    }
  }

  close(): void {
    this.#backend.binding.deleteSavedModel(this.#id);
  }
}

/** A graph goes to TensorFlow through a folder, which may be full or not there. */
function handOver<T>(write: () => T): T {
  try {
    return write();
  } catch (cause) {
    throw new LockstepError(
      "engine-unavailable",
      `A step's graph cannot be handed to TensorFlow through the temporary folder ${tmpdir()}: ${messageOf(cause)}.`,
      { hint: "Make room there, or set TMPDIR to a folder that can be written to.", cause },
    );
  }
}
