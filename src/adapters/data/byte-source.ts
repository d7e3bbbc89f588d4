/** Bytes that are read from any place on: a file's, however large it is. */
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { unreadable } from "./read-file.ts";

export interface ByteSource {
  /** What messages call it. */
  readonly name: string;
  readonly sizeBytes: number;
  /** Those from `begin` to before `end`, in memory of their own; fewer where the source ends before. */
  read(begin: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** Opens a file for as long as `use` runs; what keeps it from being read is an "invalid-data" error. */
export async function withFile<T>(file: string, use: (source: ByteSource) => Promise<T>, name = file): Promise<T> {
  const handle = await reading(name, () => open(file));
  try {
    return await use(await sourceOf(name, handle));
  } finally {
    await handle.close();
  }
}

/** A file of a data set, which may be gone through again and again. */
export interface DataFile {
  /** What messages call it, and whoever asks which files were read. */
  readonly name: string;
  /** Where it lies; null where it is no file of this machine. */
  readonly path: string | null;
  /** Opens it for as long as what `use` gives is gone through. */
  read<T>(use: (source: ByteSource) => AsyncIterable<T>): AsyncIterable<T>;
}

/** A file on this machine. */
export interface LocalFile extends DataFile {
  readonly path: string;
}

/** `name`: what messages call it. */
export function fileAt(path: string, name = path): LocalFile {
  async function* read<T>(use: (source: ByteSource) => AsyncIterable<T>): AsyncGenerator<T> {
    const handle = await reading(name, () => open(path));
    try {
      yield* use(await sourceOf(name, handle));
    } finally {
      await handle.close();
    }
  }
  return { name, path, read };
}

async function sourceOf(file: string, handle: FileHandle): Promise<ByteSource> {
  const status = await reading(file, () => handle.stat());
  if (status.isDirectory()) throw new LockstepError("invalid-data", `${file} is a folder; expected a data file.`);
  return {
    name: file,
    sizeBytes: status.size,
    async read(begin, end) {
      const bytes = new Uint8Array(Math.max(0, Math.min(end, status.size) - begin));
      let filled = 0;
      while (filled < bytes.length) {
        const rest = bytes.subarray(filled);
        const { bytesRead } = await reading(file, () => handle.read(rest, 0, rest.length, begin + filled));
        if (bytesRead === 0) return bytes.subarray(0, filled);
        filled += bytesRead;
      }
      return bytes;
    },
  };
}

/** Only the system's errors: whoever reads a file may have others. */
async function reading<T>(file: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw unreadable(file, error);
  }
}

const pieceBytes = 1 << 20;

/** All bytes, piece by piece. */
export async function* piecesOf(source: ByteSource, begin = 0): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (let at = begin; at < source.sizeBytes; ) {
    const piece = await source.read(at, Math.min(at + pieceBytes, source.sizeBytes));
    if (piece.length === 0) return;
    at += piece.length;
    yield piece;
  }
}

/** In hexadecimal. */
export function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** In hexadecimal. */
export async function sha256OfPieces(pieces: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of pieces) hash.update(piece);
  return hash.digest("hex");
}

/** Whatever a library finds wrong with the bytes is an "invalid-data" error. */
export async function decoding<T>(source: ByteSource, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw error instanceof LockstepError ? error : damaged(source.name, messageOf(error), error);
  }
}

/** `how`: the end of a sentence. */
export function damaged(file: string, how: string, cause?: unknown): LockstepError {
  return new LockstepError("invalid-data", `${file} is damaged: ${how}.`, {
    hint: "It may be cut off: get it again.",
    ...(cause === undefined ? {} : { cause }),
  });
}

/** What was read of these files is not what was hashed. */
export function changedWhileRead(files: readonly Pick<DataFile, "name">[]): LockstepError {
  const [first, ...others] = files;
  const which = first && others.length === 0 ? first.name : `One of ${files.length} data files`;
  return new LockstepError("invalid-data", `${which} was changed while it was read.`, {
    hint: "Start again, and leave data files alone meanwhile.",
  });
}
