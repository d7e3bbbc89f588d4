/** A file's bytes, or, where it is a gzip file, those that it was made of. */
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { LockstepError } from "../../core/errors.ts";
import { type ByteSource, piecesOf } from "./byte-source.ts";

export async function isGzip(source: ByteSource): Promise<boolean> {
  const [first, second] = await source.read(0, 2);
  return first === 0x1f && second === 0x8b;
}

/** Piece by piece. `refuse`: what is said where they cannot be unpacked. */
export async function* unpackedPieces(
  source: ByteSource,
  refuse: (cause: unknown) => LockstepError,
): AsyncGenerator<Uint8Array> {
  if (!(await isGzip(source))) return yield* piecesOf(source);
  const gunzip = createGunzip();
  const packed = Readable.from(piecesOf(source), { objectMode: false });
  packed.on("error", (error) => gunzip.destroy(error));
  packed.pipe(gunzip);
  try {
    for await (const piece of gunzip) yield piece as Uint8Array; // it gives buffers
  } catch (error) {
    throw error instanceof LockstepError ? error : refuse(error);
  } finally {
    packed.destroy();
  }
}
