/** Bytes that are read where they lie: in a file, in a part of one, or in memory. */
import { readSync } from "node:fs";

export interface ByteWindow {
  readonly sizeBytes: number;
  /** How many it has read: fewer at the end. */
  read(into: Uint8Array, at: number): number;
}

export function fileWindow(descriptor: number, sizeBytes: number): ByteWindow {
  return { sizeBytes, read: (into, at) => readSync(descriptor, into, 0, into.length, at) };
}

export function memoryWindow(bytes: Uint8Array): ByteWindow {
  return {
    sizeBytes: bytes.length,
    read(into, at) {
      const part = bytes.subarray(at, at + into.length);
      into.set(part);
      return part.length;
    },
  };
}

/** @param beginBytes with `sizeBytes`, within the window */
export function partOf(window: ByteWindow, beginBytes: number, sizeBytes: number): ByteWindow {
  return {
    sizeBytes,
    read: (into, at) => window.read(into.subarray(0, Math.max(0, sizeBytes - at)), beginBytes + at),
  };
}

/** A copy of so many bytes, or of those that there are. */
export function bytesAt(window: ByteWindow, at: number, most: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(0, Math.min(most, window.sizeBytes - at)));
  let read = 0;
  while (read < bytes.length) {
    const count = window.read(bytes.subarray(read), at + read);
    if (count === 0) throw new Error("it ends before it should.");
    read += count;
  }
  return bytes;
}
