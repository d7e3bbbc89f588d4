/**
 * An array of numbers in a file, as rows of the file's own elements, one for each sample. All of it is gone through once, piece by piece:
 * it is hashed, floats are looked at, and it is kept in memory where it may take that much. Else its rows are read where they lie; those
 * that do not lie there one after the other, since they are packed or in Fortran order, are put into the cache.
 */
import { createHash } from "node:crypto";
import { assert, LockstepError } from "../../core/errors.ts";
import { sizeOf } from "../../core/transforms.ts";
import { changedWhileRead, withFile } from "./byte-source.ts";
import { keepRows, nothingElse, type RowProducer } from "./data-cache.ts";
import { rowsOfColumns } from "./fortran-order.ts";
import {
  type ArrayLayout,
  bytesOf,
  checkFinite,
  checkShape,
  ElementRoom,
  type ElementType,
  sizeBytesOf,
} from "./number-array.ts";
import { FileRows, MemoryRows, type RowStore } from "./row-store.ts";

/** The bytes of an array, its header before its elements. */
export interface ArraySource {
  /** What messages call it: a file, or an array in one. */
  readonly name: string;
  /** Of all bytes; null where they are packed, and nothing but unpacking tells. */
  readonly sizeBytes: number | null;
  /** The file that has these bytes, and where in it they begin; null where they are packed, or elsewhere. */
  readonly place: { readonly path: string; readonly begin: number } | null;
  pieces(): AsyncIterable<Uint8Array>;
}

/** What a header says; `beginning`: all bytes, or so many that any header is among them. */
export type LayoutOf = (name: string, beginning: Uint8Array) => ArrayLayout;

/** What the arrays of a data set may take of memory, all together. */
export class MemoryBudget {
  #leftBytes: number;

  constructor(memoryBytes: number) {
    this.#leftBytes = memoryBytes;
  }

  /** False, and nothing is taken, where there is less. */
  take(sizeBytes: number): boolean {
    if (sizeBytes > this.#leftBytes) return false;
    this.#leftBytes -= sizeBytes;
    return true;
  }
}

export interface NumberArray {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  /** Of all bytes that it was read from, unpacked; in hexadecimal. */
  readonly sha256: string;
  /** Writes a row's numbers, in row-major order, into `target`, which has as many. */
  read(row: number, target: Float32Array): void;
}

/** So many bytes have any header of an array of numbers in them. */
const longestHeaderBytes = 1 << 20;
/** Looked at, or passed on, at once; or one row that is larger. */
const pieceBytes = 1 << 20;
/** A sample of more is none, but a damaged header. */
const longestRowBytes = 2 ** 31;

export async function openArray(source: ArraySource, layoutOf: LayoutOf, memory: MemoryBudget): Promise<NumberArray> {
  let inMemory: MemoryRows | null = null;
  let mayBeInMemory = false;
  const { layout, sha256 } = await scan(source, layoutOf, (layout) => {
    mayBeInMemory = memory.take(sizeBytesOf(layout));
    if (!mayBeInMemory || isInColumns(layout)) return null;
    const rows = new MemoryRows(rowBytesOf(layout), layout.shape[0]);
    inMemory = rows;
    return (piece) => rows.append(piece);
  });
  const rows = inMemory ?? (await rowsElsewhere(source, layoutOf, layout, sha256, mayBeInMemory));
  const room = new ElementRoom(layout, sizeOf(layout.shape.slice(1)));
  const { type, shape } = layout;
  return {
    ...{ name: source.name, type, shape, sha256 },
    read(row, target) {
      rows.read(row, room.bytes);
      room.take(target);
    },
  };
}

function rowBytesOf({ type, shape }: ArrayLayout): number {
  return sizeBytesOf({ type, shape: shape.slice(1) });
}

function isInColumns({ isFortranOrder, shape }: ArrayLayout): boolean {
  return isFortranOrder && shape.length > 1;
}

async function rowsElsewhere(
  source: ArraySource,
  layoutOf: LayoutOf,
  layout: ArrayLayout,
  sha256: string,
  mayBeInMemory: boolean,
): Promise<RowStore> {
  const { place, name } = source;
  const rowBytes = rowBytesOf(layout);
  if (place !== null && !isInColumns(layout)) {
    return new FileRows(place.path, rowBytes, layout.shape[0]!, place.begin + layout.offsetBytes);
  }
  const again: RowProducer = async (add) => {
    const { sha256: now } = await scan(source, layoutOf, () => add);
    if (now !== sha256) throw changedWhileRead([source]);
    return nothingElse;
  };
  const mostBytes = sizeBytesOf(layout);
  const produce = isInColumns(layout) ? await columnReader(source, layout, mayBeInMemory) : again;
  const options = {
    memoryBytes: mayBeInMemory ? mostBytes : 0,
    isCostly: false,
    name,
    mostBytes,
    expectedBytes: mostBytes,
  };
  return (await keepRows({ kind: "array", sha256 }, rowBytes, produce, options)).rows;
}

/** Of elements in Fortran order, which are read from any place on: of a file, or in memory. */
async function columnReader(source: ArraySource, layout: ArrayLayout, mayBeInMemory: boolean): Promise<RowProducer> {
  const { place, name } = source;
  if (place === null && !mayBeInMemory) {
    throw new LockstepError(
      "invalid-data",
      `${name} is packed, in Fortran order, and larger than memory may hold; expected C order.`,
      { hint: "Save it as np.ascontiguousarray(array)." },
    );
  }
  if (place !== null) {
    const { path, begin: first } = place;
    return (add) =>
      withFile(path, async (file) => {
        await rowsOfColumns(layout, (begin, end) => file.read(first + begin, first + end), add);
        return nothingElse;
      });
  }
  const pieces: Uint8Array[] = [];
  for await (const piece of source.pieces()) pieces.push(piece);
  const bytes = Buffer.concat(pieces);
  return async (add) => {
    await rowsOfColumns(layout, async (begin, end) => Uint8Array.from(bytes.subarray(begin, end)), add);
    return nothingElse;
  };
}

type TakeRows = (rows: Uint8Array) => void | Promise<void>;

/**
 * Goes through all bytes; `open` says, once the header is known, who takes the elements, some whole rows at a time and all in the order of
 * the file. Throws "invalid-data" where there are more or fewer than the header says, no samples, or elements that are no finite float32.
 */
async function scan(
  source: ArraySource,
  layoutOf: LayoutOf,
  open: (layout: ArrayLayout) => TakeRows | null,
): Promise<{ readonly layout: ArrayLayout; readonly sha256: string }> {
  const hash = createHash("sha256");
  let beginning: Uint8Array[] | null = [];
  let elements: ElementScan | null = null;
  const begin = async () => {
    const bytes = Buffer.concat(beginning!); // it has not begun
    beginning = null;
    const layout = layoutOf(source.name, bytes);
    elements = new ElementScan(source, layout, open);
    await elements.add(bytes.subarray(layout.offsetBytes));
  };
  let sizeBytes = 0;
  for await (const piece of source.pieces()) {
    hash.update(piece);
    sizeBytes += piece.length;
    if (beginning === null)
      await elements!.add(piece); // it has begun
    else if (beginning.push(piece) > 0 && sizeBytes >= longestHeaderBytes) await begin();
  }
  if (beginning !== null) await begin();
  return { layout: await elements!.end(), sha256: hash.digest("hex") };
}

class ElementScan {
  readonly #name: string;
  readonly #isPacked: boolean;
  readonly #layout: ArrayLayout;
  readonly #wantsBytes: number;
  readonly #take: TakeRows | null;
  /** Null where floats need not be looked at. */
  readonly #floats: { readonly room: ElementRoom; readonly values: Float32Array } | null;
  readonly #piece: Uint8Array;
  #filledBytes = 0;
  #doneBytes = 0;

  constructor({ name, sizeBytes }: ArraySource, layout: ArrayLayout, open: (layout: ArrayLayout) => TakeRows | null) {
    this.#name = name;
    this.#isPacked = sizeBytes === null;
    this.#layout = layout;
    this.#wantsBytes = sizeBytesOf(layout);
    checkShape(name, layout.shape);
    if (sizeBytes !== null) this.#checkSize(sizeBytes - layout.offsetBytes);
    const rowBytes = rowBytesOf(layout);
    if (rowBytes > longestRowBytes) {
      throw new LockstepError(
        "invalid-data",
        `${name} has samples of ${rowBytes} bytes; expected ${longestRowBytes} at most.`,
        { hint: "The first dimension counts the samples." },
      );
    }
    this.#take = open(layout);
    const most = Math.min(this.#wantsBytes, Math.max(1, Math.floor(pieceBytes / rowBytes)) * rowBytes);
    this.#piece = new Uint8Array(most);
    const count = most / bytesOf[layout.type];
    const isFloat = layout.type.startsWith("float");
    this.#floats = isFloat ? { room: new ElementRoom(layout, count), values: new Float32Array(count) } : null;
  }

  async add(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + this.#piece.length - this.#filledBytes);
      if (this.#doneBytes + this.#filledBytes + part.length > this.#wantsBytes) throw this.#tooMany();
      this.#piece.set(part, this.#filledBytes);
      this.#filledBytes += part.length;
      at += part.length;
      if (this.#filledBytes === this.#piece.length) await this.#pass();
    }
  }

  async end(): Promise<ArrayLayout> {
    this.#checkSize(this.#doneBytes + this.#filledBytes);
    if (this.#filledBytes > 0) await this.#pass();
    return this.#layout;
  }

  async #pass(): Promise<void> {
    const piece = this.#piece.subarray(0, this.#filledBytes);
    if (this.#floats !== null) {
      const { room, values } = this.#floats;
      const elementBytes = bytesOf[this.#layout.type];
      const some = values.subarray(0, piece.length / elementBytes);
      room.bytes.set(piece);
      room.take(some);
      checkFinite(this.#name, this.#layout, some, this.#doneBytes / elementBytes);
    }
    await this.#take?.(piece);
    this.#doneBytes += piece.length;
    this.#filledBytes = 0;
  }

  #checkSize(has: number): void {
    const wants = this.#wantsBytes;
    const { type, shape } = this.#layout;
    if (has === wants) return;
    throw new LockstepError(
      "invalid-data",
      `${this.#name} has ${has} bytes of elements; expected ${wants}, as its header says ${type} of shape [${shape.join(", ")}].`,
      { hint: has < wants ? "The file is cut off: get it again." : "The file is damaged: get it again." },
    );
  }

  #tooMany(): LockstepError {
    assert(this.#isPacked, "the size of what is not packed is known before");
    return new LockstepError(
      "invalid-data",
      `${this.#name} unpacks to more than the ${this.#layout.offsetBytes + this.#wantsBytes} bytes that its header says.`,
      { hint: "The file is damaged: get it again." },
    );
  }
}
