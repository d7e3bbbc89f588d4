/** ZIP archives, as far as NumPy writes them: stored or deflated entries, found by the directory at the archive's end. */
import { Readable } from "node:stream";
import { createInflateRaw, inflateRawSync } from "node:zlib";
import { LockstepError, messageOf } from "../../core/errors.ts";
import {
  contentOffset,
  deflated,
  directoryPlace,
  entriesIn,
  headerBytes,
  isHeader,
  longestEndBytes,
  stored,
  type ZipEntry,
} from "../system/zip-format.ts";
import { type ByteSource, damaged, piecesOf } from "./byte-source.ts";

export async function zipEntries(source: ByteSource): Promise<readonly ZipEntry[]> {
  const { name: file, sizeBytes } = source;
  const place = directoryPlace(await source.read(Math.max(0, sizeBytes - longestEndBytes), sizeBytes));
  if (place === null) {
    if (isHeader(await source.read(0, headerBytes))) throw damaged(file, "it has no directory at its end");
    throw new LockstepError("invalid-data", `${file} is no NPZ file: it is no ZIP archive.`, {
      hint: "Write it with np.savez(file, x=…, y=…); a single array, in an .npy file, is read with npy({ … }).",
    });
  }
  const end = Math.min(sizeBytes, place.offsetBytes + place.sizeBytes);
  const entries = entriesIn(await source.read(place.offsetBytes, end), place.count);
  if (entries === null) throw damaged(file, "its directory is not whole");
  return entries;
}

/** Where an entry's bytes lie, as they are packed. Throws "invalid-data" where they cannot be read from there. */
export async function entryPlace(
  source: ByteSource,
  entry: ZipEntry,
): Promise<{ readonly begin: number; readonly end: number }> {
  const { name: file } = source;
  const { name, packedBytes, sizeBytes, offsetBytes } = entry;
  if ((entry.flags & 1) !== 0) {
    throw new LockstepError("invalid-data", `${file} has "${name}" encrypted; expected it as np.savez writes it.`);
  }
  if (entry.method !== stored && entry.method !== deflated) {
    throw new LockstepError(
      "invalid-data",
      `${file} has "${name}" packed by method ${entry.method}; expected stored or deflated.`,
      {
        hint: "Write it with np.savez or np.savez_compressed.",
      },
    );
  }
  const begin = contentOffset(await source.read(offsetBytes, offsetBytes + headerBytes), entry);
  if (begin === null) throw damaged(file, `"${name}" is not where its directory says`);
  const end = begin + packedBytes;
  if (end > source.sizeBytes) throw damaged(file, `"${name}" goes on after the file's end`);
  if (entry.method === stored && packedBytes !== sizeBytes) throw wrongSize(file, entry, packedBytes);
  return { begin, end };
}

/** What an entry holds, piece by piece. Throws "invalid-data", at the end if not before, where it is not what was packed. */
export async function* entryPieces(source: ByteSource, entry: ZipEntry): AsyncGenerator<Uint8Array> {
  const { begin, end } = await entryPlace(source, entry);
  const { name: file } = source;
  const packed = piecesOf({ ...source, sizeBytes: end }, begin);
  let [sizeBytes, sum] = [0, 0];
  for await (const piece of entry.method === stored ? packed : inflatedPieces(file, packed, entry)) {
    sizeBytes += piece.length;
    if (sizeBytes > entry.sizeBytes) throw wrongSize(file, entry, sizeBytes);
    sum = checksum(piece, sum);
    yield piece;
  }
  if (sizeBytes !== entry.sizeBytes) throw wrongSize(file, entry, sizeBytes);
  if (sum !== entry.crc32) throw wrongChecksum(file, entry);
}

async function* inflatedPieces(
  file: string,
  packed: AsyncIterable<Uint8Array>,
  entry: ZipEntry,
): AsyncGenerator<Uint8Array> {
  const inflate = createInflateRaw();
  const input = Readable.from(packed, { objectMode: false });
  input.on("error", (error) => inflate.destroy(error));
  input.pipe(inflate);
  try {
    for await (const piece of inflate) yield piece as Uint8Array; // it gives buffers
  } catch (error) {
    throw error instanceof LockstepError ? error : cannotBeUnpacked(file, entry, error);
  } finally {
    input.destroy();
  }
}

/** What an entry holds, stored or deflated, of the bytes as they lie in the archive. */
export function unpackBytes(file: string, packed: Uint8Array, entry: ZipEntry): Uint8Array {
  const unpacked = entry.method === stored ? Uint8Array.from(packed) : inflated(file, packed, entry);
  if (unpacked.length !== entry.sizeBytes) throw wrongSize(file, entry, unpacked.length);
  if (checksum(unpacked) !== entry.crc32) throw wrongChecksum(file, entry);
  return unpacked;
}

function inflated(file: string, packed: Uint8Array, entry: ZipEntry): Uint8Array {
  try {
    // No more than the directory promises is ever unpacked; one byte at least, as zlib wants it.
    return inflateRawSync(packed, { maxOutputLength: Math.max(1, entry.sizeBytes) });
  } catch (cause) {
    throw cannotBeUnpacked(file, entry, cause);
  }
}

function wrongSize(file: string, { name, sizeBytes }: ZipEntry, has: number): LockstepError {
  return damaged(file, `"${name}" has ${has} bytes${has > sizeBytes ? " or more" : ""} and not ${sizeBytes}`);
}

function wrongChecksum(file: string, { name }: ZipEntry): LockstepError {
  return damaged(file, `"${name}" is not what its checksum says`);
}

function cannotBeUnpacked(file: string, { name }: ZipEntry, cause: unknown): LockstepError {
  return damaged(file, `"${name}" cannot be unpacked (${messageOf(cause)})`, cause);
}

const checksums = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb8_8320 : sum >>> 1;
  return sum;
});

/**
 * CRC-32, as ZIP has it; Node.js has one of its own only from 20.15 on.
 * @param before of what came before these bytes
 */
export function checksum(bytes: Uint8Array, before = 0): number {
  let sum = ~before;
  for (let i = 0; i < bytes.length; i++) sum = checksums[(sum ^ bytes[i]!) & 255]! ^ (sum >>> 8);
  return (sum ^ 0xffff_ffff) >>> 0;
}
