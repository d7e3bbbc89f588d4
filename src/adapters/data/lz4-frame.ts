/** LZ4's frame format, as Arrow packs with it: blocks, of which each may repeat what the ones before it ended with. */

const magic = 0x184d2204;
/** By the code in a frame's header. */
const blockBytes: Readonly<Record<number, number>> = { 4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 1 << 22 };
/** A block's size has this bit where the block is not packed. */
const isPlain = 0x8000_0000;

/** Throws a RangeError where the bytes are no whole frame. Checksums are not looked at: they are another library's work. */
export function unpackLz4Frame(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.getUint32(0, true) !== magic) throw new RangeError("no LZ4 frame is where one should be");
  const flags = view.getUint8(4);
  const most = blockBytes[(view.getUint8(5) >> 4) & 7];
  if (flags >> 6 !== 1 || most === undefined) throw new RangeError("an LZ4 frame is of an unknown form");
  // The size of the contents, the number of a dictionary, and the header's checksum.
  let at = 6 + (flags & 8 ? 8 : 0) + (flags & 1 ? 4 : 0) + 1;
  const output = new GrowingBytes();
  for (;;) {
    const size = view.getUint32(at, true);
    at += 4;
    if (size === 0) return output.whole();
    const block = frame.subarray(at, at + (size & ~isPlain));
    if (block.length !== (size & ~isPlain)) throw new RangeError("an LZ4 frame ends within a block");
    at += block.length + (flags & 16 ? 4 : 0);
    output.reserve(most);
    const begin = output.length;
    if ((size & isPlain) !== 0) output.append(block);
    else unpackBlock(block, output);
    if (output.length - begin > most) throw new RangeError("a block of an LZ4 frame is too long");
  }
}

function unpackBlock(block: Uint8Array, output: GrowingBytes): void {
  let at = 0;
  const byte = (): number => {
    if (at >= block.length) throw new RangeError("a block of an LZ4 frame ends too early");
    return block[at++]!;
  };
  const length = (begun: number): number => {
    let sum = begun;
    if (begun < 15) return sum;
    for (;;) {
      const more = byte();
      sum += more;
      if (more < 255) return sum;
    }
  };
  for (;;) {
    const token = byte();
    const literals = length(token >> 4);
    if (at + literals > block.length) throw new RangeError("a block of an LZ4 frame ends too early");
    output.append(block.subarray(at, at + literals));
    at += literals;
    if (at === block.length) return;
    const distance = byte() | (byte() << 8);
    output.repeat(distance, length(token & 15) + 4);
  }
}

class GrowingBytes {
  #bytes = new Uint8Array(0);
  length = 0;

  /** Makes room for so many more. */
  reserve(more: number): void {
    if (this.length + more <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.length + more, 2 * this.#bytes.length));
    larger.set(this.#bytes.subarray(0, this.length));
    this.#bytes = larger;
  }

  append(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** The `count` bytes that begin `distance` before the end; those that they add count too. */
  repeat(distance: number, count: number): void {
    if (distance === 0 || distance > this.length) throw new RangeError("an LZ4 frame repeats what is not there");
    this.reserve(count);
    for (let i = 0; i < count; i++, this.length++) this.#bytes[this.length] = this.#bytes[this.length - distance]!;
  }

  whole(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.length);
  }
}
