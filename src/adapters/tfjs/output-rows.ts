/**
 * Outputs of a graph that are written to where they are wanted. The addon has no such thing: it copies an output into new memory of
 * JavaScript's, and who wants it elsewhere copies it again. But it feeds JavaScript's memory as it lies, and TensorFlow has an op
 * that writes into what it is given; so the row itself is fed, and the graph copies the output into it, once.
 *
 * TensorFlow makes another graph of a step whose output is written than of one whose output is fetched, and the two may round
 * differently. So which it is depends on the row's place alone, which is the same in every process; in memory that an engine
 * cannot use where it lies, a row of its own is written and copied.
 */
import { alignmentBytes, floatsIn, isAligned, isAtMultiple } from "../../core/row-memory.ts";
import type { Tensor, TensorFlow } from "../../ports/engine.ts";
import { Arena, arenaMemory } from "../wasm/arena.ts";
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
  readonly #sizes: readonly (number | null)[];
  /** Of each output one that can be used where it lies; null before one was needed. */
  #own: readonly Float32Array[] | null = null;

  /** Adds nodes to the recording, what a run does not need of them costs it nothing. */
  constructor(tf: TensorFlow, backend: GraphBackend, { nodes, outputs, sizes }: Recording) {
    this.#tf = tf;
    this.#outputs = outputs;
    this.#sizes = sizes;
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
   * Runs with the first outputs in `rows`; returns the others.
   * @param run takes what is fed besides, and the names of what is fetched
   */
  fill(rows: readonly Float32Array[], run: (feeds: readonly Feed[], outputs: readonly string[]) => Tensor[]): Tensor[] {
    const feeds: Feed[] = [];
    const fetched: Float32Array[] = [];
    const written: string[] = [];
    const outputs: string[] = [];
    const copies: { readonly from: Float32Array; readonly to: Float32Array }[] = [];
    for (const [i, row] of rows.entries()) {
      const node = this.#rows[i];
      const place = node && isAtMultiple(row) ? (isAligned(row) ? row : this.#ownRow(i)) : null;
      if (node && place) {
        feeds.push([node.row, this.#tf.tensor(place, [1, row.length])]);
        written.push(node.written);
        if (place !== row) copies.push({ from: place, to: row });
      } else {
        fetched.push(row);
        outputs.push(this.#outputs[i]!);
      }
    }
    try {
      const results = run(feeds, [...written, ...outputs, ...this.#outputs.slice(rows.length)]);
      this.#tf.dispose(results.slice(0, written.length));
      for (const { from, to } of copies) to.set(from);
      return putIntoRows(results.slice(written.length), fetched);
    } finally {
      this.#tf.dispose(feeds.map(([, tensor]) => tensor));
    }
  }

  /** Null where there is no such memory. */
  #ownRow(output: number): Float32Array | null {
    this.#own ??= alignedRows(this.#sizes.map((size) => size ?? 0));
    return this.#own[output] ?? null;
  }
}

/** Rows of these lengths, each aligned; none where there is no such memory. */
function alignedRows(lengths: readonly number[]): readonly Float32Array[] {
  const memory = arenaMemory();
  if (memory === null) return [];
  const sizes = lengths.map((length) => Math.ceil((4 * length) / alignmentBytes) * alignmentBytes);
  const bytes = new Arena(memory).allocate(sizes.reduce((sum, size) => sum + size, 0));
  if (!isAligned(bytes)) return [];
  let at = 0;
  return lengths.map((length, i) => {
    const begin = at;
    at += sizes[i]!;
    return floatsIn(bytes.subarray(begin, begin + 4 * length));
  });
}
