/** ZIP archives, as far as NumPy writes them: stored or deflated entries, found by the directory at the archive's end. */
import { inflateRawSync } from "node:zlib";
import { LockstepError } from "../../core/errors.ts";

export interface ZipEntry {
  readonly name: string;
  readonly flags: number;
  readonly method: number;
  readonly crc32: number;
  readonly packedBytes: number;
  readonly sizeBytes: number;
  /** Where the entry's own header begins. */
  readonly offsetBytes: number;
}

const endSignature = 0x06054b50;
const endBytes = 22;
const entrySignature = 0x02014b50;
const entryBytes = 46;
const localSignature = 0x04034b50;
const localBytes = 30;
const longestComment = 65_535;
/** Stands for a number that is elsewhere, in the form for archives from 4 GiB on. */
const elsewhere = 0xffff_ffff;
const stored = 0;
const deflated = 8;

export function zipEntries(file: string, bytes: Uint8Array): readonly ZipEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = endOfDirectory(file, view);
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  const entries: ZipEntry[] = [];
  for (let i = 0; i < count; i++) {
    if (at + entryBytes > bytes.length || view.getUint32(at, true) !== entrySignature)
      throw damaged(file, "its directory is not whole");
    const nameBytes = view.getUint16(at + 28, true);
    const nameAt = at + entryBytes;
    entries.push({
      name: Buffer.from(bytes.subarray(nameAt, nameAt + nameBytes)).toString("utf8"),
      flags: view.getUint16(at + 8, true),
      method: view.getUint16(at + 10, true),
      crc32: view.getUint32(at + 16, true),
      packedBytes: view.getUint32(at + 20, true),
      sizeBytes: view.getUint32(at + 24, true),
      offsetBytes: view.getUint32(at + 42, true),
    });
    at = nameAt + nameBytes + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
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
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (offsetBytes + localBytes > bytes.length || view.getUint32(offsetBytes, true) !== localSignature) {
    throw damaged(file, `"${name}" is not where its directory says`);
  }
  // The names and extra fields here may be longer than those of the directory.
  const begin =
    offsetBytes + localBytes + view.getUint16(offsetBytes + 26, true) + view.getUint16(offsetBytes + 28, true);
  if (begin + packedBytes > bytes.length) throw damaged(file, `"${name}" goes on after the file's end`);
  const packed = bytes.subarray(begin, begin + packedBytes);
  const unpacked = entry.method === stored ? Uint8Array.from(packed) : inflated(file, packed, entry);
  if (unpacked.length !== sizeBytes) {
    throw damaged(file, `"${name}" has ${unpacked.length} bytes and not ${sizeBytes}`);
  }
  if (checksum(unpacked) !== entry.crc32) throw damaged(file, `"${name}" is not what its checksum says`);
  return unpacked;
}

/** The last one in the file, as its comment could look like one. */
function endOfDirectory(file: string, view: DataView): number {
  const first = Math.max(0, view.byteLength - endBytes - longestComment);
  for (let at = view.byteLength - endBytes; at >= first; at--) {
    if (view.getUint32(at, true) === endSignature) return at;
  }
  const isZip = view.byteLength >= 4 && view.getUint32(0, true) === localSignature;
  if (isZip) throw damaged(file, "it has no directory at its end");
  throw new LockstepError("invalid-data", `${file} is no NPZ file: it is no ZIP archive.`, {
    hint: "Write it with np.savez(file, x=…, y=…); a single array, in an .npy file, is read with npy({ … }).",
  });
}

function inflated(file: string, packed: Uint8Array, { name, sizeBytes }: ZipEntry): Uint8Array {
  try {
    // No more than the directory promises is ever unpacked; one byte at least, as zlib wants it.
    return inflateRawSync(packed, { maxOutputLength: Math.max(1, sizeBytes) });
  } catch (cause) {
    throw damaged(file, `"${name}" cannot be unpacked (${cause instanceof Error ? cause.message : cause})`, cause);
  }
}

function damaged(file: string, how: string, cause?: unknown): LockstepError {
  return new LockstepError("invalid-data", `${file} is damaged: ${how}.`, {
    hint: "It may be cut off: get it again.",
    ...(cause === undefined ? {} : { cause }),
  });
}

const checksums = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb8_8320 : sum >>> 1;
  return sum;
});

/** CRC-32, as ZIP has it; Node.js has one of its own only from 20.15 on. */
function checksum(bytes: Uint8Array): number {
  let sum = 0xffff_ffff;
  for (let i = 0; i < bytes.length; i++) sum = checksums[(sum ^ bytes[i]!) & 255]! ^ (sum >>> 8);
  return (sum ^ 0xffff_ffff) >>> 0;
}
