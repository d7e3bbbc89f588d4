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
/** Stands for a number that is elsewhere, in the form for archives from 4 GiB on (ZIP64). */
const elsewhere = 0xffff_ffff;
/** Of an entry's own header, before its name. */
export const headerBytes = 30;
/** So many bytes at an archive's end hold the record that says where the directory is: behind it there may be a comment. */
export const longestEndBytes = 56 + 20 + 22 + 0xffff;

const endSignature = 0x06054b50;
const endBytes = 22;
/** In ZIP64 two more records stand before that one: where the directory is, and where that first record is. */
const longEndSignature = 0x06064b50;
const longEndBytes = 56;
const locatorSignature = 0x07064b50;
const locatorBytes = 20;
/** Of the extra field with an entry's long numbers. */
const longNumbersId = 1;
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
    const locatorAt = at - locatorBytes;
    const longAt = locatorAt - longEndBytes;
    const isLong = locatorAt >= 0 && view.getUint32(locatorAt, true) === locatorSignature;
    if (isLong && longAt >= 0 && view.getUint32(longAt, true) === longEndSignature) {
      return {
        count: longAtOf(view, longAt + 32),
        sizeBytes: longAtOf(view, longAt + 40),
        offsetBytes: longAtOf(view, longAt + 48),
      };
    }
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
    const extraAt = nameAt + nameBytes;
    const extraBytes = view.getUint16(at + 30, true);
    if (extraAt + extraBytes > directory.length) return null;
    // In this order; those that are not in the entry itself.
    const long = longNumbers(directory.subarray(extraAt, extraAt + extraBytes));
    const number = (place: number) => {
      const short = view.getUint32(place, true);
      return short === elsewhere ? long.next().value : short;
    };
    const [sizeBytes, packedBytes, offsetBytes] = [number(at + 24), number(at + 20), number(at + 42)];
    if (sizeBytes === undefined || packedBytes === undefined || offsetBytes === undefined) return null;
    entries.push({
      name: Buffer.from(directory.subarray(nameAt, nameAt + nameBytes)).toString("utf8"),
      flags: view.getUint16(at + 8, true),
      method: view.getUint16(at + 10, true),
      crc32: view.getUint32(at + 16, true),
      ...{ packedBytes, sizeBytes, offsetBytes },
      unixMode: view.getUint32(at + 38, true) >>> 16,
    });
    at = extraAt + extraBytes + view.getUint16(at + 32, true);
  }
  return entries;
}

function* longNumbers(extra: Uint8Array): Generator<number, undefined> {
  const view = viewOf(extra);
  for (let at = 0; at + 4 <= extra.length; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) !== longNumbersId) continue;
    const end = Math.min(extra.length, at + 4 + view.getUint16(at + 2, true));
    for (let place = at + 4; place + 8 <= end; place += 8) yield longAtOf(view, place);
    return undefined;
  }
  return undefined;
}

/** Of 64 bits; one that is no exact number is larger than any file. */
function longAtOf(view: DataView, place: number): number {
  return view.getUint32(place + 4, true) * 2 ** 32 + view.getUint32(place, true);
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
