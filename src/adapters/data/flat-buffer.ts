/**
 * As much of FlatBuffers as Arrow's metadata needs. A table has a list of where its fields lie, each by its number; everything
 * is little-endian. Throws a RangeError where something lies outside the bytes.
 */
export class FlatTable {
  readonly #view: DataView;
  readonly #at: number;

  private constructor(view: DataView, at: number) {
    this.#view = view;
    this.#at = at;
  }

  static root(bytes: Uint8Array): FlatTable {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return new FlatTable(view, view.getUint32(0, true));
  }

  uint8(field: number, absent = 0): number {
    const at = this.#place(field);
    return at === null ? absent : this.#view.getUint8(at);
  }

  int16(field: number, absent = 0): number {
    const at = this.#place(field);
    return at === null ? absent : this.#view.getInt16(at, true);
  }

  int32(field: number, absent = 0): number {
    const at = this.#place(field);
    return at === null ? absent : this.#view.getInt32(at, true);
  }

  /** A whole number that is a length or a place. */
  size(field: number): number {
    const at = this.#place(field);
    return at === null ? 0 : sizeAt(this.#view, at);
  }

  table(field: number): FlatTable | null {
    const at = this.#place(field);
    return at === null ? null : new FlatTable(this.#view, this.#follow(at));
  }

  text(field: number): string {
    const list = this.#list(field, 1);
    return Buffer.from(this.#view.buffer, this.#view.byteOffset + list.begin, list.length).toString("utf8");
  }

  tables(field: number): FlatTable[] {
    const { begin, length } = this.#list(field, 4);
    return Array.from({ length }, (_, i) => new FlatTable(this.#view, this.#follow(begin + 4 * i)));
  }

  /** A list of pairs of whole numbers, each a length or a place. */
  pairs(field: number): (readonly [number, number])[] {
    const { begin, length } = this.#list(field, 16);
    const at = (i: number) => begin + 16 * i;
    return Array.from({ length }, (_, i) => [sizeAt(this.#view, at(i)), sizeAt(this.#view, at(i) + 8)] as const);
  }

  /** A list of Arrow's blocks: where each begins, how long its metadata are, and how long the body behind them is. */
  blocks(field: number): (readonly [begin: number, metadataBytes: number, bodyBytes: number])[] {
    const { begin, length } = this.#list(field, 24);
    return Array.from({ length }, (_, i) => {
      const at = begin + 24 * i;
      return [sizeAt(this.#view, at), this.#view.getInt32(at + 8, true), sizeAt(this.#view, at + 16)] as const;
    });
  }

  sizes(field: number): number[] {
    const { begin, length } = this.#list(field, 8);
    return Array.from({ length }, (_, i) => sizeAt(this.#view, begin + 8 * i));
  }

  #place(field: number): number | null {
    const fields = this.#at - this.#view.getInt32(this.#at, true);
    const entry = 4 + 2 * field;
    if (entry >= this.#view.getUint16(fields, true)) return null;
    const offset = this.#view.getUint16(fields + entry, true);
    return offset === 0 ? null : this.#at + offset;
  }

  #follow(at: number): number {
    return at + this.#view.getUint32(at, true);
  }

  #list(field: number, elementBytes: number): { begin: number; length: number } {
    const at = this.#place(field);
    if (at === null) return { begin: 0, length: 0 };
    const begin = this.#follow(at) + 4;
    const length = this.#view.getUint32(begin - 4, true);
    if (begin + length * elementBytes > this.#view.byteLength) throw new RangeError("a list goes on after its end");
    return { begin, length };
  }
}

function sizeAt(view: DataView, at: number): number {
  const size = Number(view.getBigInt64(at, true));
  if (size < 0 || size > Number.MAX_SAFE_INTEGER) throw new RangeError(`a length is ${size}`);
  return size;
}
