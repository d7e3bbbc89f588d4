/**
 * Outputs of a graph that are written to where they are wanted. The addon has no such thing: it copies an output into new memory of
 * JavaScript's, and who wants it elsewhere copies it again. But it feeds JavaScript's memory as it lies, and TensorFlow has an op
 * that writes into what it is given; so the row itself is fed, and the graph copies the output into it, once.
 *
 * The graph also says which rows it has written, as soon as it has, by writing a number beside them in the same way: another thread
 * reads it, and the row, while this one is still within the session. For that a processor has to show others what it writes in the
 * order in which it writes it, which those of Intel's kind do; on another one rows are only said to be there at the end. And the
 * graph comes to its outputs in the order in which the step did: of itself TensorFlow would go through all layers first, and compute
 * most gradients of weights at the end.
 *
 * It is the same graph whatever memory the rows have, as TensorFlow may round differently in another one. Memory that it cannot use
 * where it lies it copies, and the row is then copied back.
 */
import { floatsIn, isAligned, isAtMultiple } from "../../core/row-memory.ts";
import type { Tensor, TensorFlow } from "../../ports/engine.ts";
import { readTensor } from "../../ports/read-tensor.ts";
import { Arena, arenaMemory } from "../wasm/arena.ts";
import { attributes, type Feed, type GraphBackend } from "./graph.ts";
import type { Recording } from "./recorder.ts";

/** Names of nodes: what the row is fed to, what has written into it, and what has said so. */
interface OutputRow {
  readonly size: number;
  readonly row: string;
  readonly written: string;
  readonly told: string;
  /** Whether it begins at a multiple of what TensorFlow wants, where the rows are one after the other from such a multiple on. */
  readonly isAtMultiple: boolean;
}

/** Whether other threads see what was written in the order in which it was, so that rows are said to be there while the graph runs. */
export const showsInOrder = process.arch === "x64";

/** What takes long enough that outputs which are there are written first. */
const costlyOps = /MatMul|Conv|Einsum/;

export class OutputRows {
  readonly #tf: TensorFlow;
  readonly #outputs: readonly string[];
  /** Fed with a number for each output, which the graph sets. */
  readonly #told: string;
  /** Of each output; null for one that can only be copied. */
  readonly #rows: readonly (OutputRow | null)[];
  readonly #own: OwnRows;

  /**
   * Adds nodes to the recording for its first outputs, so many, all of float32.
   * @param own for rows that TensorFlow cannot use where they lie; the same ones for all sizes of a batch
   */
  constructor(
    tf: TensorFlow,
    backend: GraphBackend,
    { nodes, outputs, sizes }: Recording,
    count: number,
    own: OwnRows,
  ) {
    this.#tf = tf;
    this.#own = own;
    this.#outputs = outputs;
    const { TF_FLOAT, TF_INT32 } = backend.binding;
    const [float, int] = [attributes.type(TF_FLOAT), attributes.type(TF_INT32)];
    const constant = (name: string, shape: readonly number[], ...values: readonly number[]) =>
      nodes.add(name, "Const", [], { dtype: int, value: attributes.tensor(TF_INT32, shape, Int32Array.from(values)) });
    const first = constant("first", [1], 0);
    const one = constant("one", [1, 1], 1);
    this.#told = nodes.placeholder("told", TF_INT32, [count, 1]);
    const isCostly = (op: string) => costlyOps.test(op);
    let begin = 0;
    this.#rows = outputs.slice(0, count).map((output, i) => {
      const size = sizes[i]!;
      // A GPU has its own memory.
      if (size === null || backend.isUsingGpuDevice) return null;
      const row = nodes.placeholder(`row${i}`, TF_FLOAT, [1, size]);
      const shape = constant(`shape${i}`, [2], 1, size);
      const flat = nodes.add(`flat${i}`, "Reshape", [output, shape], { T: float, Tshape: int });
      const written = nodes.add(`written${i}`, "InplaceUpdate", [row, first, flat], { T: float });
      const number = [this.#told, constant(`number${i}`, [1], i), one, `^${written}`];
      const told = nodes.add(`told${i}`, "InplaceUpdate", number, { T: int });
      const isInPlace = isAtMultiple(begin * Float32Array.BYTES_PER_ELEMENT);
      begin += size;
      nodes.letNextWait(output, isCostly, isInPlace ? told : written);
      return { size, row, written, told, isAtMultiple: isInPlace };
    });
  }

  /**
   * Runs with the first outputs in `rows`, which are one after the other from a multiple of what TensorFlow wants on; returns the others.
   * @param told has a number for each row, which is set to 1 when the row is there; null where nobody asks
   * @param run takes what is fed besides, and the names of what is fetched
   */
  fill(
    rows: readonly Float32Array[],
    told: Int32Array | null,
    run: (feeds: readonly Feed[], outputs: readonly string[]) => Tensor[],
  ): Tensor[] {
    const isInPlace = (row: Float32Array, i: number) => this.#rows[i]?.isAtMultiple === true && isAligned(row);
    const places = rows.map((row, i) =>
      isInPlace(row, i) ? row : this.#rows[i] ? this.#own.row(i, row.length) : null,
    );
    const canTell = told !== null && showsInOrder && isAligned(told);
    const tells = canTell && rows.every((row, i) => this.#rows[i]?.isAtMultiple !== true || isAligned(row));
    const results = this.#run(places, tells ? told : new Int32Array(rows.length), run);
    rows.forEach((row, i) => {
      const place = places[i];
      if (!place) readTensor(results[i]!, row);
      else if (place !== row) row.set(place);
    });
    this.#tf.dispose(results.slice(0, rows.length));
    for (let i = 0; told && i < told.length; i++) Atomics.store(told, i, 1);
    return results.slice(rows.length);
  }

  /** Runs as `fill` will, so that TensorFlow has made that ready. */
  warmUp(run: (feeds: readonly Feed[], outputs: readonly string[]) => Tensor[]): void {
    const places = this.#rows.map((node) => node && new Float32Array(node.size));
    this.#tf.dispose(this.#run(places, new Int32Array(places.length), run));
  }

  /** @param places of rows; null for one that is to be fetched */
  #run(
    places: readonly (Float32Array | null)[],
    told: Int32Array,
    run: (feeds: readonly Feed[], outputs: readonly string[]) => Tensor[],
  ): Tensor[] {
    const tf = this.#tf;
    const feeds: Feed[] = [];
    const outputs = [...this.#outputs];
    for (const [i, place] of places.entries()) {
      const node = this.#rows[i];
      if (!node) continue;
      feeds.push([node.row, tf.tensor(place ?? new Float32Array(node.size), [1, node.size])]);
      outputs[i] = place && node.isAtMultiple ? node.told : node.written;
    }
    if (feeds.length > 0) feeds.push([this.#told, tf.tensor(told, [told.length, 1], "int32")]);
    try {
      return run(feeds, outputs);
    } finally {
      tf.dispose(feeds.map(([, tensor]) => tensor));
    }
  }
}

/** Rows in place of those that do not begin at a multiple, or lie elsewhere: each is made when it is needed. */
export class OwnRows {
  readonly #rows = new Map<number, Float32Array>();
  #arena: Arena | null = null;

  /** Null where there is no memory that TensorFlow can use where it lies. */
  row(output: number, length: number): Float32Array | null {
    const known = this.#rows.get(output);
    if (known) return known;
    const memory = this.#arena ? null : arenaMemory();
    this.#arena ??= memory && new Arena(memory);
    const bytes = this.#arena?.allocate(4 * length);
    if (!bytes || !isAligned(bytes)) return null;
    const row = floatsIn(bytes);
    this.#rows.set(output, row);
    return row;
  }
}
