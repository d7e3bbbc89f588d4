import { isUtf8 } from "node:buffer";

/** The text that bytes in UTF-8 are; the bytes themselves where they are none. */
export function textOrBytes(bytes: Uint8Array): string | Uint8Array {
  if (!isUtf8(bytes)) return bytes;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
}

/** Offset of the first byte that is not part of well-formed UTF-8 (Unicode 16, table 3-7), or the length. */
export function firstInvalidByte(bytes: Uint8Array): number {
  let offset = 0;
  while (offset < bytes.length) {
    const length = sequenceLength(bytes, offset);
    if (length === 0) return offset;
    offset += length;
  }
  return offset;
}

/** Bytes of the well-formed character that begins at `offset`; 0 if none does. */
function sequenceLength(bytes: Uint8Array, offset: number): number {
  const first = bytes[offset]!;
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0; // a continuation, an overlong form, or beyond the last character
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  // The second byte's narrower ranges keep out overlong forms, surrogates and what is beyond the last character.
  const lowest = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const highest = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  for (let place = 1; place < length; place++) {
    const byte = bytes[offset + place] ?? 0;
    if (byte < (place === 1 ? lowest : 0x80) || byte > (place === 1 ? highest : 0xbf)) return 0;
  }
  return length;
}

/** Where a character begins of which these bytes have not all, at their end; the length if there is none. */
export function wholeCharactersEnd(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!;
    if (byte < 0x80) break;
    const length = byte < 0xc0 ? 0 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    if (length > 0) return length > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}
