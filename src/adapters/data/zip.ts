/** ZIP archives, as far as NumPy writes them: stored or deflated entries, found by the directory at the archive's end. */
import { inflateRawSync } from "node:zlib";
import { LockstepError, messageOf } from "../../core/errors.ts";
import {
  contentOffset,
  deflated,
  directoryPlace,
  elsewhere,
  entriesIn,
  headerBytes,
  isHeader,
  stored,
  type ZipEntry,
} from "../system/zip-format.ts";
import { damaged } from "./byte-source.ts";

export function zipEntries(file: string, bytes: Uint8Array): readonly ZipEntry[] {
  const place = directoryPlace(bytes);
  if (place === null) {
    if (isHeader(bytes)) throw damaged(file, "it has no directory at its end");
    throw new LockstepError("invalid-data", `${file} is no NPZ file: it is no ZIP archive.`, {
      hint: "Write it with np.savez(file, x=…, y=…); a single array, in an .npy file, is read with npy({ … }).",
    });
  }
  const entries = entriesIn(bytes.subarray(place.offsetBytes), place.count);
  if (entries === null) throw damaged(file, "its directory is not whole");
  return entries;
}

/** An entry's bytes, in memory of their own. Throws "invalid-data" where they are not those that were packed. */
export function unpackEntry(file: string, bytes: Uint8Array, entry: ZipEntry): Uint8Array {
  const { name, packedBytes, sizeBytes, offsetBytes } = entry;
  if ([packedBytes, sizeBytes, offsetBytes].includes(elsewhere)) {
    throw new LockstepError("invalid-data", `${file} has 4 GiB or more in "${name}"; expected less.`, {
      hint: "Save its arrays with np.save, one a file, or as a smaller type.",
    });
  }
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
  const begin = contentOffset(bytes.subarray(offsetBytes, offsetBytes + headerBytes), entry);
  if (begin === null) throw damaged(file, `"${name}" is not where its directory says`);
  if (begin + packedBytes > bytes.length) throw damaged(file, `"${name}" goes on after the file's end`);
  return unpackBytes(file, bytes.subarray(begin, begin + packedBytes), entry);
}

/** What an entry holds, stored or deflated, of the bytes as they lie in the archive. */
export function unpackBytes(file: string, packed: Uint8Array, entry: ZipEntry): Uint8Array {
  const { name, sizeBytes } = entry;
  const unpacked = entry.method === stored ? Uint8Array.from(packed) : inflated(file, packed, entry);
  if (unpacked.length !== sizeBytes) {
    throw damaged(file, `"${name}" has ${unpacked.length} bytes and not ${sizeBytes}`);
  }
  if (checksum(unpacked) !== entry.crc32) throw damaged(file, `"${name}" is not what its checksum says`);
  return unpacked;
}

function inflated(file: string, packed: Uint8Array, { name, sizeBytes }: ZipEntry): Uint8Array {
  try {
    // No more than the directory promises is ever unpacked; one byte at least, as zlib wants it.
    return inflateRawSync(packed, { maxOutputLength: Math.max(1, sizeBytes) });
  } catch (cause) {
    throw damaged(file, `"${name}" cannot be unpacked (${messageOf(cause)})`, cause);
  }
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
