/** The values of a record batch of Arrow data: buffers one after the other, as the columns' types say. */
import type { ArrowField, ArrowType } from "./arrow-schema.ts";
import type { FlatTable } from "./flat-buffer.ts";
import { unpackLz4Frame } from "./lz4-frame.ts";
import { halfValue } from "./number-array.ts";
import { textOrBytes } from "./utf8.ts";

/** Values of one column: plain numbers where nothing is missing, else one by one, null where one is missing. */
export type ArrowValues = ArrayLike<unknown>;
/** By a dictionary's number. */
export type Dictionaries = ReadonlyMap<number, ArrowValues>;
export type UnpackZstd = (packed: Uint8Array, sizeBytes: number) => Uint8Array;

/** Unpacked buffers may be this large. */
const mostBytes = 2 ** 32;
/** What a text in views has in the first of its buffers. */
const viewBytes = 16;

export class ArrowBatch {
  readonly count: number;
  readonly #body: Uint8Array;
  readonly #nodes: readonly (readonly [length: number, missing: number])[];
  readonly #buffers: readonly (readonly [offset: number, length: number])[];
  readonly #moreBuffers: number[];
  readonly #packing: "none" | "lz4" | "zstd";
  readonly #unpackZstd: UnpackZstd;
  #node = 0;
  #buffer = 0;

  constructor(batch: FlatTable, body: Uint8Array, unpackZstd: UnpackZstd) {
    this.count = batch.size(0);
    this.#body = body;
    this.#nodes = batch.pairs(1);
    this.#buffers = batch.pairs(2);
    const packing = batch.table(3);
    this.#packing = packing === null ? "none" : packing.uint8(0) === 0 ? "lz4" : "zstd";
    this.#moreBuffers = batch.sizes(4);
    this.#unpackZstd = unpackZstd;
  }

  /** The columns that are wanted, by name; the others are passed over, and not unpacked. */
  columns(
    fields: readonly ArrowField[],
    wanted: ReadonlySet<string>,
    dictionaries: Dictionaries,
  ): Map<string, ArrowValues> {
    const found = new Map<string, ArrowValues>();
    for (const field of fields) {
      if (!wanted.has(field.name)) {
        this.#passOver(field);
        continue;
      }
      const values = this.#values(field, dictionaries);
      if (values.length !== this.count) throw new RangeError(`column "${field.name}" has not all rows`);
      found.set(field.name, values);
    }
    return found;
  }

  /** The entries of a dictionary, which are a batch of one column. */
  entries(field: ArrowField): ArrowValues {
    return this.#values({ ...field, dictionary: null }, new Map());
  }

  #passOver(field: ArrowField): void {
    this.#node++;
    this.#buffer += field.buffers + (field.hasMoreBuffers ? (this.#moreBuffers.shift() ?? 0) : 0);
    for (const child of field.children) this.#passOver(child);
  }

  #values(field: ArrowField, dictionaries: Dictionaries): ArrowValues {
    const node = this.#nodes[this.#node++];
    if (node === undefined) throw new RangeError(`a batch lacks column "${field.name}"`);
    const [length, missing] = node;
    const marks = this.#bytes();
    if (missing > 0 && 8 * marks.length < length) throw new RangeError("it marks fewer missing values than it has");
    const isThere = (i: number) => missing === 0 || ((marks[i >> 3]! >> (i & 7)) & 1) === 1;
    const values = this.#present(field, length, dictionaries, isThere);
    if (missing === 0) return values;
    return Array.from({ length }, (_, i) => (isThere(i) ? values[i] : null));
  }

  /** All of `length` values; of numbers and lists, also what lies where one is missing. */
  #present(
    { type, children, dictionary }: ArrowField,
    length: number,
    dictionaries: Dictionaries,
    isThere: (i: number) => boolean,
  ): ArrowValues {
    if (dictionary !== null) {
      const entries = dictionaries.get(dictionary.id);
      if (entries === undefined) throw new RangeError(`dictionary ${dictionary.id} is missing`);
      const indices = plainValues(dictionary.index, this.#bytes(), length);
      return Array.from(indices, (index, i) => {
        if (!isThere(i)) return null;
        const entry = entries[Number(index)];
        if (entry === undefined) throw new RangeError(`dictionary ${dictionary.id} has no entry ${String(index)}`);
        return entry;
      });
    }
    if (type.kind === "text") return this.#texts(type.isLarge, length, isThere);
    if (type.kind === "text-view") return this.#textsInViews(length, isThere);
    if (type.kind === "list") {
      const offsets = offsetsIn(this.#bytes(), type.isLarge, length);
      const elements = this.#values(children[0]!, dictionaries);
      let end = Number(offsets[0] ?? 0);
      return Array.from({ length }, (_, i) => {
        const begin = end;
        end = Number(offsets[i + 1]);
        if (begin < 0 || end < begin || end > elements.length) throw new RangeError("a list lies outside its elements");
        return part(elements, begin, end);
      });
    }
    if (type.kind === "fixed-list") {
      const elements = this.#values(children[0]!, dictionaries);
      if (elements.length < length * type.size) throw new RangeError("lists have fewer elements than they should");
      return Array.from({ length }, (_, i) => part(elements, i * type.size, (i + 1) * type.size));
    }
    return plainValues(type, this.#bytes(), length);
  }

  /** Texts one after the other; what is no UTF-8 stays bytes. */
  #texts(isLarge: boolean, length: number, isThere: (i: number) => boolean): ArrowValues {
    const places = this.#bytes();
    const bytes = this.#bytes();
    if (length === 0) return []; // some writers have no offsets then
    const offsets = offsetsIn(places, isLarge, length);
    return Array.from({ length }, (_, i) => {
      if (!isThere(i)) return null;
      const [begin, end] = [Number(offsets[i]), Number(offsets[i + 1])];
      if (begin < 0 || end < begin || end > bytes.length) throw new RangeError("a text lies outside its bytes");
      return textOrBytes(bytes.subarray(begin, end));
    });
  }

  /** Views of 16 bytes each: a text's length, and the text itself if it is short, else where in which buffer it lies. */
  #textsInViews(length: number, isThere: (i: number) => boolean): ArrowValues {
    const views = this.#bytes();
    const buffers = Array.from({ length: this.#moreBuffers.shift() ?? 0 }, () => this.#bytes());
    if (views.length < viewBytes * length) throw new RangeError("it has fewer texts than it says");
    const numbers = new DataView(views.buffer, views.byteOffset, views.byteLength);
    return Array.from({ length }, (_, i) => {
      if (!isThere(i)) return null;
      const at = viewBytes * i;
      const size = numbers.getInt32(at, true);
      const isShort = size <= viewBytes - 4;
      const bytes = isShort ? views : buffers[numbers.getInt32(at + 8, true)];
      const begin = isShort ? at + 4 : numbers.getInt32(at + 12, true);
      if (bytes === undefined || size < 0 || begin < 0 || begin + size > bytes.length) {
        throw new RangeError("a text lies outside its bytes");
      }
      return textOrBytes(bytes.subarray(begin, begin + size));
    });
  }

  /** The next buffer, unpacked. */
  #bytes(): Uint8Array {
    const place = this.#buffers[this.#buffer++];
    if (place === undefined) throw new RangeError("a batch lacks a buffer");
    const [offset, length] = place;
    if (offset + length > this.#body.length) throw new RangeError("a buffer goes on after its batch");
    const bytes = this.#body.subarray(offset, offset + length);
    if (this.#packing === "none" || length === 0) return bytes;
    const size = Number(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigInt64(0, true));
    const packed = bytes.subarray(8);
    if (size === -1) return packed.slice();
    if (size < 0 || size > mostBytes) throw new RangeError(`a buffer says that it unpacks to ${size} bytes`);
    const unpacked = this.#packing === "lz4" ? unpackLz4Frame(packed) : this.#unpackZstd(packed, size);
    if (unpacked.length !== size) throw new RangeError(`a buffer unpacks to ${unpacked.length} bytes and not ${size}`);
    // A copy begins where numbers of eight bytes may begin.
    return unpacked.byteOffset % 8 === 0 ? unpacked : unpacked.slice();
  }
}

function part(values: ArrowValues, begin: number, end: number): ArrowValues {
  if (Array.isArray(values)) return values.slice(begin, end);
  return (values as Uint8Array).subarray(begin, end); // plainValues makes no others
}

/** Where each of `length` values begins, and where the last one ends. */
function offsetsIn(bytes: Uint8Array, isLarge: boolean, length: number): ArrowValues {
  return plainValues({ kind: "int", bits: isLarge ? 64 : 32, isSigned: true }, bytes, length + 1);
}

function plainValues(type: ArrowType, bytes: Uint8Array, length: number): ArrowValues {
  // A batch's body has memory of its own, and what is unpacked too: never a shared one.
  const { buffer, byteOffset } = bytes as Uint8Array<ArrayBuffer>;
  const check = (bits: number) => {
    if (bytes.length * 8 < length * bits) throw new RangeError("it has fewer numbers than it says");
  };
  switch (type.kind) {
    case "bool":
      check(1);
      return Uint8Array.from({ length }, (_, i) => (bytes[i >> 3]! >> (i & 7)) & 1);
    case "int": {
      check(type.bits);
      const [signed, unsigned] = {
        8: [Int8Array, Uint8Array] as const,
        16: [Int16Array, Uint16Array] as const,
        32: [Int32Array, Uint32Array] as const,
        64: [BigInt64Array, BigUint64Array] as const,
      }[type.bits];
      return new (type.isSigned ? signed : unsigned)(buffer, byteOffset, length);
    }
    case "float": {
      check(type.bits);
      if (type.bits === 16) return Float32Array.from(new Uint16Array(buffer, byteOffset, length), halfValue);
      return new (type.bits === 32 ? Float32Array : Float64Array)(buffer, byteOffset, length);
    }
    default:
      throw new RangeError("a column has no numbers");
  }
}
