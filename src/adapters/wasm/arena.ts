/**
 * Rows in one shared memory of WebAssembly's: the threads of a worker fill, send, receive and add them where they lie. Each
 * thread has an arena of its own over the same memory. Rows that do not fit any more lie elsewhere, and are added plainly.
 */
import {
  addPlainly,
  addRoundedPlainly,
  type ArrivedPlace,
  noteAligned,
  type Place,
  type RoundedSum,
  type RowMemory,
} from "../../core/row-memory.ts";
import { pack, roundTo, type ShortFormat, unpack } from "../../core/wire.ts";
import { type Additions, additionsIn, maxPages } from "./additions.ts";
import { shortenedAtOnce, type Shortening, shorteningIn } from "./shortening.ts";

declare global {
  /** What of it is used here: the compiler's library has it only for browsers. */
  namespace WebAssembly {
    class Memory {
      constructor(bounds: { initial: number; maximum: number; shared: true });
      readonly buffer: SharedArrayBuffer;
      /** Returns how many pages there were. */
      grow(pages: number): number;
    }
    class Module {
      constructor(bytes: Uint8Array<ArrayBuffer>);
    }
    class Instance {
      constructor(module: Module, imports: { env: { memory: Memory } });
      readonly exports: object;
    }
  }
}

const pageBytes = 65_536;

/** Where a row lies in the arena's memory, for another thread. */
export interface Address {
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** Null where this much address space cannot be had. */
export function arenaMemory(): WebAssembly.Memory | null {
  try {
    return new WebAssembly.Memory({ initial: 1, maximum: maxPages, shared: true });
  } catch {
    return null;
  }
}

export class Arena implements RowMemory {
  readonly #memory: WebAssembly.Memory;
  readonly #additions: Additions;
  readonly #shortening: Shortening;
  /** The memory as it was seen: it is another object whenever it has grown. */
  readonly #seen = new WeakSet<ArrayBufferLike>();

  constructor(memory: WebAssembly.Memory) {
    this.#memory = memory;
    this.#additions = additionsIn(memory);
    this.#shortening = shorteningIn(memory);
  }

  allocate(sizeBytes: number): Uint8Array {
    const pages = Math.ceil(sizeBytes / pageBytes);
    try {
      // Whichever thread grows it, nobody else is given these pages.
      const first = this.#memory.grow(pages);
      return this.at({ byteOffset: first * pageBytes, byteLength: sizeBytes });
    } catch {
      return new Uint8Array(new SharedArrayBuffer(sizeBytes));
    }
  }

  at({ byteOffset, byteLength }: Address): Uint8Array {
    const { buffer } = this.#memory;
    this.#seen.add(buffer);
    noteAligned(buffer); // as WebAssembly's memory begins with a page
    return new Uint8Array(buffer, byteOffset, byteLength);
  }

  /** Null for what lies elsewhere. */
  addressOf(row: ArrayBufferView): Address | null {
    return this.#seen.has(row.buffer) ? { byteOffset: row.byteOffset, byteLength: row.byteLength } : null;
  }

  add(into: Place, left: Place, right: Place, count: number): void {
    const isHere = ({ row }: Place) => this.#seen.has(row.buffer);
    if (!isHere(into) || !isHere(left) || !isHere(right)) return void addPlainly(into, left, right, count);
    const address = ({ row, at }: Place) => row.byteOffset + 4 * at;
    this.#additions.add(address(into), address(left), address(right), count);
  }

  addRounded(wire: ShortFormat, sum: RoundedSum, left: ArrivedPlace, right: ArrivedPlace, count: number): void {
    const { into, packed } = sum;
    const isHere =
      wire === "bfloat16" && [into, left, right, packed ?? into].every(({ row }) => this.#seen.has(row.buffer));
    const done = isHere ? count - (count % shortenedAtOnce) : 0;
    if (done > 0) {
      const isShort = (place: ArrivedPlace) => place.row instanceof Uint16Array;
      const address = ({ row, at }: ArrivedPlace) => row.byteOffset + row.BYTES_PER_ELEMENT * at;
      const kind = `${isShort(left) ? "short" : "float"}${isShort(right) ? "Short" : "Float"}` as const;
      this.#shortening.sums[kind](address(into), packed ? address(packed) : 0, address(left), address(right), done);
    }
    if (done === count) return;
    const rest = <T extends Float32Array | Uint16Array>({ row, at }: Place<T>) => ({ row, at: at + done });
    addRoundedPlainly(
      wire,
      { into: rest(into), packed: packed && rest(packed) },
      rest(left),
      rest(right),
      count - done,
    );
  }

  roundTo(wire: ShortFormat, row: Float32Array): void {
    const done = this.#many(wire, row);
    if (done > 0) this.#shortening.round(row.byteOffset, done);
    roundTo(wire, row.subarray(done));
  }

  pack(wire: ShortFormat, into: Uint16Array, from: Float32Array): void {
    const done = this.#many(wire, into, from);
    if (done > 0) this.#shortening.pack(into.byteOffset, from.byteOffset, done);
    pack(wire, into.subarray(done), from.subarray(done));
  }

  unpack(wire: ShortFormat, into: Float32Array, from: Uint16Array): void {
    const done = this.#many(wire, into, from);
    if (done > 0) this.#shortening.unpack(into.byteOffset, from.byteOffset, done);
    unpack(wire, into.subarray(done), from.subarray(done));
  }

  /** As many numbers as can be done at once; the rest, and other forms, are done one by one. */
  #many(wire: ShortFormat, ...rows: readonly (Float32Array | Uint16Array)[]): number {
    const isHere = wire === "bfloat16" && rows.every(({ buffer }) => this.#seen.has(buffer));
    return isHere ? rows[0]!.length - (rows[0]!.length % shortenedAtOnce) : 0;
  }
}
