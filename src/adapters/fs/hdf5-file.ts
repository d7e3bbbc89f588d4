/**
 * An HDF5 file, read by HDF5 itself, as WebAssembly (h5wasm). It sees the one file and nothing else of the disk, wherever the
 * file's links lead, and takes the bytes that it needs from where they lie. After an error its state is unknown, and its memory never
 * shrinks: so it runs in a thread that ends afterwards (keras-thread.ts).
 */
import type { Metadata, Module as Hdf5Module } from "h5wasm";
import { dataSizeBytes } from "../../core/safetensors.ts";
import type { FileGroup } from "../../core/keras-names.ts";
import { sharedMemory } from "../../core/shared-memory.ts";
import type { NamedTensor } from "../../ports/checkpoint-storage.ts";
import type { ByteWindow } from "./byte-window.ts";

/** A damaged file may have groups that lead back to themselves. */
const mostGroupDepth = 64;
const mostObjects = 100_000;
/** So many bytes of a tensor are in HDF5's memory at once, where its rows are not longer than that. */
const sliceBytes = 16 * 1024 * 1024;
/** The best that gzip does; more than that, of a file's size, is no tensor in it. */
const bestPacking = 1032;
const filePath = "/file.h5";
const [float, text] = [1, 3];
/** What is built in: gzip, shuffle, and a checksum. */
const knownFilters = new Set([1, 2, 3]);

export class Hdf5File {
  readonly #module: typeof Hdf5Module;
  readonly #h5: typeof import("h5wasm");
  readonly #id: bigint;
  readonly #sizeBytes: number;
  #objects = 0;

  private constructor(h5: typeof import("h5wasm"), module: typeof Hdf5Module, sizeBytes: number) {
    this.#h5 = h5;
    this.#module = module;
    this.#sizeBytes = sizeBytes;
    this.#id = module.open(filePath, module.H5F_ACC_RDONLY, false, -1, -1);
  }

  /** Throws an Error with a sentence. To be called once in a thread. */
  static async open(bytes: ByteWindow): Promise<Hdf5File> {
    const h5 = await import("h5wasm");
    const module = await h5.ready;
    // Otherwise errors go to standard error, and what was read until then counts as everything.
    module.activate_throwing_error_handler();
    mount(module, bytes);
    return told(() => new Hdf5File(h5, module, bytes.sizeBytes));
  }

  /** What is in the file, down from its root. */
  groups(): FileGroup {
    return told(() => this.#group("/", 0));
  }

  /** @param path of a tensor that `groups` has found */
  read(path: string): Omit<NamedTensor, "name"> {
    return told(() => this.#floats(`/${path}`));
  }

  #group(path: string, depth: number): FileGroup {
    if (depth > mostGroupDepth) throw new Error(`it has groups within groups, ${depth} of them.`);
    const groups = new Map<string, FileGroup>();
    const shapes = new Map<string, readonly number[]>();
    for (const name of this.#module.get_names(this.#id, path, false)) {
      this.#objects += 1;
      if (this.#objects > mostObjects) throw new Error(`it has more than ${mostObjects} groups and tensors.`);
      const inside = path === "/" ? `/${name}` : `${path}/${name}`;
      const type = this.#module.get_type(this.#id, inside);
      if (type === this.#module.H5G_GROUP) groups.set(name, this.#group(inside, depth + 1));
      else if (type === this.#module.H5G_DATASET) shapes.set(name, this.#metadata(inside).shape ?? []);
      else throw new Error(`its ${inside.slice(1)} is a link that leads out of the file, or nowhere.`);
    }
    return { groups, shapes, texts: this.#texts(path) };
  }

  #texts(path: string): FileGroup["texts"] {
    const texts = new Map<string, string | readonly string[]>();
    for (const name of this.#module.get_attribute_names(this.#id, path)) {
      const { type, size, total_size: count, shape } = this.#module.get_attribute_metadata(this.#id, path, name);
      if (type !== text || shape === null) continue;
      if (size * count > this.#sizeBytes) throw new Error(`its attribute ${name} would be larger than the file.`);
      const value = new this.#h5.Group(this.#id, path).get_attribute(name, false);
      if (typeof value === "string") texts.set(name, value);
      else if (Array.isArray(value)) texts.set(name, value.map(String));
    }
    return texts;
  }

  #metadata(path: string): Metadata {
    return this.#module.get_dataset_metadata(this.#id, path);
  }

  #floats(path: string): Omit<NamedTensor, "name"> {
    const { type, size, shape, virtual_sources: sources } = this.#metadata(path);
    const name = path.slice(1);
    if (type !== float || size !== 4) throw new Error(`its weight ${name} is ${typeName(type, size)}, and no float32.`);
    if (sources) throw new Error(`its weight ${name} lies in other files.`);
    for (const filter of this.#module.get_dataset_filters(this.#id, path)) {
      if (knownFilters.has(filter.id)) continue;
      throw new Error(
        `its weight ${name} is packed with ${filter.name || `filter ${filter.id}`}; expected gzip or none.`,
      );
    }
    const sides = shape ?? [0];
    const bytes = dataSizeBytes(sides);
    if (!(bytes <= this.#sizeBytes * bestPacking)) throw new Error(`its weight ${name} would be larger than the file.`);
    const values = new Float32Array(sharedMemory(bytes));
    const dataset = new this.#h5.Dataset(this.#id, path);
    const [rows = 1, ...rest] = sides;
    const rowBytes = dataSizeBytes(rest);
    const step = Math.max(1, Math.floor(sliceBytes / Math.max(1, rowBytes)));
    for (let row = 0; row < rows && bytes > 0; row += step) {
      const part = sides.length === 0 ? dataset.value : dataset.slice([[row, Math.min(rows, row + step)]]);
      values.set(part instanceof Float32Array ? part : [part as number], (row * rowBytes) / 4); // a scalar is a number
    }
    return { shape: sides, values };
  }
}

/** Makes the bytes the one file that HDF5 finds. */
function mount({ FS: files }: typeof Hdf5Module, bytes: ByteWindow): void {
  files.writeFile(filePath, new Uint8Array(0));
  // Emscripten's own file systems have these; h5wasm's types do not.
  const { node } = files.lookupPath(filePath, {}) as unknown as { node: EmscriptenNode };
  node.usedBytes = bytes.sizeBytes;
  node.stream_ops = {
    ...node.stream_ops,
    read: (_stream, { buffer, byteOffset }, offset, length, position) => {
      const left = Math.max(0, Math.min(length, bytes.sizeBytes - position));
      return bytes.read(new Uint8Array(buffer, byteOffset + offset, left), position);
    },
  };
}

interface EmscriptenNode {
  usedBytes: number;
  stream_ops: {
    readonly read: (stream: unknown, memory: Int8Array, offset: number, length: number, position: number) => number;
  };
}

/** HDF5 tells of an error from the call that it was in down to where it was found. */
function told<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    // WebAssembly's own, and what C++ throws, which is no Error.
    if (!(error instanceof Error) || error.name === "RuntimeError") throw new Error("it is damaged.", { cause: error });
    if (!/^(HDF5-DIAG|error - )|^\s*#\d+:/m.test(error.message)) throw error;
    const reasons = [...error.message.matchAll(/^\s*#\d+: .*?\(\): (.*)$/gm)].map(([, reason]) => reason);
    throw new Error(`it is no HDF5 file, or damaged (${reasons.at(-1) ?? "a part is missing"}).`, { cause: error });
  }
}

function typeName(type: number, size: number): string {
  return type === float ? `float${size * 8}` : type === 0 ? `int${size * 8}` : "no number";
}
