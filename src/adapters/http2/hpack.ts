/**
 * Headers as HTTP/2 sends them (RFC 7541). What is sent here uses no table and no Huffman code, which every peer reads; what
 * is received may use all of it.
 */
import { LockstepError } from "../../core/errors.ts";
import { huffmanBits, staticHeaders } from "./hpack-tables.ts";

export type Headers = readonly (readonly [name: string, value: string])[];

/** What a peer may keep of headers that it sent, in bytes: the protocol's default. */
const tableBytes = 4096;
/** Every entry of the table counts for so much more than its text. */
const entryBytes = 32;

export function encodeHeaders(headers: Headers): Uint8Array {
  const parts: number[] = [];
  const text = (value: string) => {
    const bytes = Buffer.from(value, "latin1");
    // The length in 7 bits, or 127 and the rest in groups of 7.
    if (bytes.length < 127) parts.push(bytes.length);
    else {
      parts.push(127);
      let rest = bytes.length - 127;
      for (; rest >= 128; rest >>>= 7) parts.push((rest & 127) | 128);
      parts.push(rest);
    }
    parts.push(...bytes);
  };
  for (const [name, value] of headers) {
    parts.push(0); // a literal that is not to be kept
    text(name);
    text(value);
  }
  return Uint8Array.from(parts);
}

/** Reads the headers of one connection, in the order of their arrival. */
export class HeaderDecoder {
  /** Newest first. */
  readonly #kept: (readonly [name: string, value: string])[] = [];
  #keptBytes = 0;
  #limitBytes = tableBytes;

  /** Throws "incompatible" on what is no header block. */
  decode(block: Uint8Array): Headers {
    const reader = new BlockReader(block);
    const headers: (readonly [string, string])[] = [];
    while (!reader.isAtEnd) {
      const first = reader.peek();
      if (first & 0x80) headers.push(this.#at(reader.integer(7)));
      else if ((first & 0xe0) === 0x20) this.#limit(reader.integer(5));
      else {
        const isKept = (first & 0x40) !== 0;
        const index = reader.integer(isKept ? 6 : 4);
        const name = index === 0 ? reader.text() : this.#at(index)[0];
        const header = [name, reader.text()] as const;
        if (isKept) this.#keep(header);
        headers.push(header);
      }
    }
    return headers;
  }

  #at(index: number): readonly [string, string] {
    const header = staticHeaders[index - 1] ?? this.#kept[index - 1 - staticHeaders.length];
    return header ?? refuse(`header ${index} is unknown`);
  }

  #keep(header: readonly [string, string]): void {
    this.#kept.unshift(header);
    this.#keptBytes += sizeOf(header);
    this.#evict();
  }

  #limit(bytes: number): void {
    if (bytes > tableBytes) refuse(`a table of ${bytes} bytes`);
    this.#limitBytes = bytes;
    this.#evict();
  }

  #evict(): void {
    while (this.#keptBytes > this.#limitBytes) this.#keptBytes -= sizeOf(this.#kept.pop()!);
  }
}

class BlockReader {
  readonly #block: Uint8Array;
  #at = 0;

  constructor(block: Uint8Array) {
    this.#block = block;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#block.length;
  }

  peek(): number {
    return this.#block[this.#at] ?? refuse("it ends in the middle");
  }

  /** A number whose first bits are the last `bits` of the next byte. */
  integer(bits: number): number {
    const most = 2 ** bits - 1;
    let value = this.peek() & most;
    this.#at++;
    if (value < most) return value;
    for (let shift = 0; ; shift += 7) {
      if (shift > 21) refuse("a number is too large");
      const next = this.peek();
      this.#at++;
      value += (next & 127) << shift;
      if (next < 128) return value;
    }
  }

  text(): string {
    const isHuffman = (this.peek() & 0x80) !== 0;
    const length = this.integer(7);
    if (this.#at + length > this.#block.length) refuse("it ends in the middle");
    const bytes = this.#block.subarray(this.#at, this.#at + length);
    this.#at += length;
    return isHuffman ? huffmanText(bytes) : Buffer.from(bytes).toString("latin1");
  }
}

/** By length of the code: the first code of it, and the bytes whose codes have it. */
const codes = Array.from({ length: 31 }, () => ({ first: 0, bytes: [] as number[] }));
huffmanBits.forEach((bits, byte) => {
  codes[bits]!.bytes.push(byte);
});
for (let bits = 1; bits < codes.length; bits++) {
  const shorter = codes[bits - 1]!;
  codes[bits]!.first = 2 * (shorter.first + shorter.bytes.length);
}

function huffmanText(encoded: Uint8Array): string {
  const found: number[] = [];
  let code = 0;
  let bits = 0;
  for (const byte of encoded) {
    for (let bit = 7; bit >= 0; bit--) {
      code = 2 * code + ((byte >> bit) & 1);
      bits++;
      const known = codes[bits] ?? refuse("a code is unknown");
      const decoded = known.bytes[code - known.first];
      if (decoded === undefined) continue;
      found.push(decoded);
      code = 0;
      bits = 0;
    }
  }
  // The last byte is filled up with ones.
  if (bits > 7 || code !== 2 ** bits - 1) refuse("a text ends in the middle of a code");
  return Buffer.from(found).toString("latin1");
}

function sizeOf([name, value]: readonly [string, string]): number {
  return name.length + value.length + entryBytes;
}

function refuse(why: string): never {
  throw new LockstepError("incompatible", `The headers that a peer sent are refused: ${why}.`);
}
