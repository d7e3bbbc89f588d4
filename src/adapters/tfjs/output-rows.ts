/**
 * Outputs of a graph that are written to where they are wanted. The addon has no such thing: it copies an output into new memory of
 * JavaScript's, and who wants it elsewhere copies it again. But it feeds JavaScript's memory as it lies, and TensorFlow has an op
 * that writes into what it is given; so the row itself is fed, and the graph copies the output into it, once.
 */
import { isAligned } from "../../core/row-memory.ts";
import type { Tensor, TensorFlow } from "../../ports/engine.ts";
import { attributes, type Feed, type GraphBackend } from "./graph.ts";
import { putIntoRows } from "./op-by-op.ts";
import type { Recording } from "./recorder.ts";

/** Names of nodes: what the row is fed to, and what has written into it. */
interface OutputRow {
  readonly row: string;
  readonly written: string;
}

export class OutputRows {
  readonly #tf: TensorFlow;
  readonly #outputs: readonly string[];
  /** Of each output; null for one that can only be copied. */
  readonly #rows: readonly (OutputRow | null)[];

  /** Adds nodes to the recording, what a run does not need of them costs it nothing. */
  constructor(tf: TensorFlow, backend: GraphBackend, { nodes, outputs, sizes }: Recording) {
    this.#tf = tf;
    this.#outputs = outputs;
    const { TF_FLOAT, TF_INT32 } = backend.binding;
    const [float, int] = [attributes.type(TF_FLOAT), attributes.type(TF_INT32)];
    const constant = (name: string, values: readonly number[]) =>
      nodes.add(name, "Const", [], {
        dtype: int,
        value: attributes.tensor(TF_INT32, [values.length], Int32Array.from(values)),
      });
    const first = constant("first", [0]);
    this.#rows = outputs.map((output, i) => {
      const size = sizes[i]!;
      // A GPU has its own memory.
      if (size === null || backend.isUsingGpuDevice) return null;
      const row = nodes.placeholder(`row${i}`, TF_FLOAT, [1, size]);
      const words = { T: float, Tshape: int };
      const flat = nodes.add(`flat${i}`, "Reshape", [output, constant(`shape${i}`, [1, size])], words);
      return { row, written: nodes.add(`written${i}`, "InplaceUpdate", [row, first, flat], { T: float }) };
    });
  }

  /**
   * Runs with the first outputs in `rows`; returns the others. Rows that an engine cannot use where they lie get a copy.
   * @param run takes what is fed besides, and the names of what is fetched
   */
  fill(rows: readonly Float32Array[], run: (feeds: readonly Feed[], outputs: readonly string[]) => Tensor[]): Tensor[] {
    const feeds: Feed[] = [];
    const copied: Float32Array[] = [];
    const written: string[] = [];
    const fetched: string[] = [];
    for (const [i, row] of rows.entries()) {
      const own = this.#rows[i];
      if (own && isAligned(row)) {
        feeds.push([own.row, this.#tf.tensor(row, [1, row.length])]);
        written.push(own.written);
      } else {
        copied.push(row);
        fetched.push(this.#outputs[i]!);
      }
    }
    try {
      const outputs = run(feeds, [...written, ...fetched, ...this.#outputs.slice(rows.length)]);
      this.#tf.dispose(outputs.slice(0, written.length));
      return putIntoRows(outputs.slice(written.length), copied);
    } finally {
      this.#tf.dispose(feeds.map(([, tensor]) => tensor));
    }
  }
}
