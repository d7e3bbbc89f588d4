/** Where things lie in a ZIP archive, whoever reads it: its directory stands at its end. */

export interface ZipEntry {
  readonly name: string;
  readonly flags: number;
  readonly method: number;
  readonly crc32: number;
  readonly packedBytes: number;
  readonly sizeBytes: number;
  /** Where the entry's own header begins. */
  readonly offsetBytes: number;
  readonly unixMode: number;
}

export const stored = 0;
export const deflated = 8;
/** Stands for a number that is elsewhere, in the form for archives from 4 GiB on. */
export const elsewhere = 0xffff_ffff;
/** Of an entry's own header, before its name. */
export const headerBytes = 30;
/** So many bytes at an archive's end hold the record that says where the directory is: behind it there may be a comment. */
export const longestEndBytes = 22 + 0xffff;

const endSignature = 0x06054b50;
const endBytes = 22;
const entrySignature = 0x02014b50;
const entryBytes = 46;
const headerSignature = 0x04034b50;

export interface DirectoryPlace {
  readonly count: number;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** @param tail an archive's last bytes; null: they are no archive's. The last record counts, as a comment could look like one. */
export function directoryPlace(tail: Uint8Array): DirectoryPlace | null {
  const view = viewOf(tail);
  for (let at = view.byteLength - endBytes; at >= Math.max(0, view.byteLength - longestEndBytes); at--) {
    if (view.getUint32(at, true) !== endSignature) continue;
    return {
      count: view.getUint16(at + 10, true),
      sizeBytes: view.getUint32(at + 12, true),
      offsetBytes: view.getUint32(at + 16, true),
    };
  }
  return null;
}

/** Null: the directory is not whole. */
export function entriesIn(directory: Uint8Array, count: number): readonly ZipEntry[] | null {
  const view = viewOf(directory);
  const entries: ZipEntry[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + entryBytes > directory.length || view.getUint32(at, true) !== entrySignature) return null;
    const nameBytes = view.getUint16(at + 28, true);
    const nameAt = at + entryBytes;
    entries.push({
      name: Buffer.from(directory.subarray(nameAt, nameAt + nameBytes)).toString("utf8"),
      flags: view.getUint16(at + 8, true),
      method: view.getUint16(at + 10, true),
      crc32: view.getUint32(at + 16, true),
      packedBytes: view.getUint32(at + 20, true),
      sizeBytes: view.getUint32(at + 24, true),
      offsetBytes: view.getUint32(at + 42, true),
      unixMode: view.getUint32(at + 38, true) >>> 16,
    });
    at = nameAt + nameBytes + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return entries;
}

/** Where an entry's content begins, from its own header, whose name and extra field may be longer than the directory's; null: it is none. */
export function contentOffset(header: Uint8Array, { offsetBytes }: ZipEntry): number | null {
  if (!isHeader(header)) return null;
  const view = viewOf(header);
  return offsetBytes + headerBytes + view.getUint16(26, true) + view.getUint16(28, true);
}

export function isHeader(bytes: Uint8Array): boolean {
  return bytes.length >= headerBytes && viewOf(bytes).getUint32(0, true) === headerSignature;
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
