import { setImmediate } from "node:timers/promises";
import type { OpenFile } from "./file-system.ts";
import { beginHashing, type Hashing, sharedBytes } from "./hashing.ts";

/*
 * Files are written and read straight from and to the memory of their tensors, in slices: no second copy of the state,
 * and no call that is too large for the system (above 2 GiB). Hashing goes on while the system works on the next slice. A
 * slice is hashed in about a millisecond, so that the event loop stays responsive.
 */
const sliceSizeBytes = 2 * 1024 * 1024;

/** Buffers handed to the system in one call; POSIX promises 16, the systems in use take 1,024. */
const sliceBufferCount = 512;

export interface Hashed {
  readonly sizeBytes: number;
  /** 64 hexadecimal digits. */
  readonly sha256: string;
}

/** Writes all of `parts`, one after the other, from the beginning of the file, and makes them durable. */
export async function writeDurably(file: OpenFile, parts: readonly Uint8Array[]): Promise<Hashed> {
  const hashing = beginHashing(sharedBytes(parts));
  try {
    let sizeBytes = 0;
    for (const slice of slicesOf(parts)) {
      const writing = transfer(slice, sizeBytes, (buffers, position) => file.write(buffers, position));
      hashing.update(slice);
      sizeBytes += await writing;
    }
    // A failed sync is never tried again: the system may have dropped the pages, and a second one would succeed.
    await file.sync();
    return { sizeBytes, sha256: await hashing.digest() };
  } finally {
    hashing.end();
  }
}

/** Reads a file from its beginning; whether all of it is what `parts` are, one after the other, byte by byte. */
export async function holdsExactly(file: OpenFile, parts: readonly Uint8Array[]): Promise<boolean> {
  let positionBytes = 0;
  let isEqual = true;
  let compare = () => {};
  let turn = 0;
  const rooms = [0, 1].map(() => new Uint8Array(sliceSizeBytes));
  for (const slice of slicesOf(parts)) {
    const targets = cutAs(slice, rooms[turn]!);
    const reading = transfer(targets, positionBytes, (buffers, position) => file.read(buffers, position));
    compare();
    positionBytes += await reading;
    compare = () => {
      isEqual &&= slice.every((part, i) => Buffer.compare(part, targets[i]!) === 0);
    };
    turn = 1 - turn;
  }
  compare();
  return isEqual;
}

/** 64 hexadecimal digits. */
export async function hashOf(parts: readonly Uint8Array[]): Promise<string> {
  const hashing = beginHashing(sharedBytes(parts));
  try {
    for (const slice of slicesOf(parts)) {
      hashing.update(slice);
      await setImmediate();
    }
    return await hashing.digest();
  } finally {
    hashing.end();
  }
}

/** Reads a file from its beginning, and hashes what it reads. */
export class HashingReader {
  readonly #file: OpenFile;
  readonly #hashing: Hashing;
  #positionBytes = 0;

  private constructor(file: OpenFile, hashing: Hashing) {
    this.#file = file;
    this.#hashing = hashing;
  }

  /** @param kept how much of the file is read into memory that threads share, which keeps what was read */
  static async use<T>(file: OpenFile, kept: number, read: (reader: HashingReader) => Promise<T>): Promise<T> {
    const hashing = beginHashing(kept);
    try {
      return await read(new HashingReader(file, hashing));
    } finally {
      hashing.end();
    }
  }

  /** Fills all of `parts`, one after the other. Fails when the file ends before. */
  async fill(parts: Iterable<Uint8Array>): Promise<void> {
    let before: readonly Uint8Array[] = [];
    for (const slice of slicesOf(parts)) {
      const reading = transfer(slice, this.#positionBytes, (buffers, position) => this.#file.read(buffers, position));
      this.#hashing.update(before);
      this.#positionBytes += await reading;
      before = slice;
    }
    this.#hashing.update(before);
  }

  /** Reads and hashes up to byte `sizeBytes` without keeping it. */
  skipTo(sizeBytes: number): Promise<void> {
    return this.fill(scratch(sizeBytes - this.#positionBytes));
  }

  /** Of all that was read; 64 hexadecimal digits. To be asked once, at the end. */
  sha256(): Promise<string> {
    return this.#hashing.digest();
  }
}

/** Pieces of `room` that are as long as these. */
function cutAs(slice: readonly Uint8Array[], room: Uint8Array): readonly Uint8Array[] {
  let end = 0;
  return slice.map(({ length }) => {
    end += length;
    return room.subarray(end - length, end);
  });
}

/** Two buffers in turns, since one is hashed while the other is filled. */
function* scratch(sizeBytes: number): Generator<Uint8Array> {
  const buffers = [0, 1].map(() => new Uint8Array(Math.min(sizeBytes, sliceSizeBytes)));
  for (let begin = 0, turn = 0; begin < sizeBytes; begin += sliceSizeBytes, turn = 1 - turn) {
    yield buffers[turn]!.subarray(0, Math.min(sizeBytes - begin, sliceSizeBytes));
  }
}

/** Cuts large parts and collects small ones, so that each slice is worth a call of its own. */
function* slicesOf(parts: Iterable<Uint8Array>): Generator<readonly Uint8Array[]> {
  let slice: Uint8Array[] = [];
  let roomBytes = sliceSizeBytes;
  for (const part of parts) {
    for (let begin = 0; begin < part.length; ) {
      const piece = part.subarray(begin, begin + roomBytes);
      slice.push(piece);
      begin += piece.length;
      roomBytes -= piece.length;
      if (roomBytes > 0 && slice.length < sliceBufferCount) continue;
      yield slice;
      slice = [];
      roomBytes = sliceSizeBytes;
    }
  }
  if (slice.length > 0) yield slice;
}

/** Calls `move` until the whole slice has been moved; returns its size. Fails when nothing moves any more. */
async function transfer(
  slice: readonly Uint8Array[],
  positionBytes: number,
  move: (buffers: readonly Uint8Array[], positionBytes: number) => Promise<number>,
): Promise<number> {
  let left = slice;
  let moved = 0;
  while (left.length > 0) {
    const count = await move(left, positionBytes + moved);
    if (count === 0) throw new Error(`the file ended, or took no more, at byte ${positionBytes + moved}`);
    moved += count;
    left = without(left, count);
  }
  return moved;
}

/** What is left of the buffers after their first `count` bytes. */
function without(buffers: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  let skip = count;
  let first = 0;
  while (first < buffers.length && skip >= buffers[first]!.length) {
    skip -= buffers[first]!.length;
    first += 1;
  }
  const rest = buffers.slice(first);
  return skip === 0 ? rest : [rest[0]!.subarray(skip), ...rest.slice(1)];
}
