/**
 * Zstandard frames, before they are unpacked: a decoder takes as much memory as their header asks for, and goes through it with each
 * block, so that a damaged one would take gigabytes and minutes.
 */

const magic = 0xfd2f_b528;
/** Of a frame that does not say how much it holds: what the zstd program itself takes unless it is told otherwise. */
const mostWindowBytes = 2 ** 27;
const dictionaryIdBytes = [0, 1, 2, 4] as const;

/** Throws a RangeError where a frame asks for more than it can need. `sizeBytes`: what is said elsewhere that it unpacks to. */
export function checkZstdFrame(packed: Uint8Array, sizeBytes: number): void {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  // Whatever else is wrong with it its decoder finds.
  if (packed.length < 18 || view.getUint32(0, true) !== magic) return;
  const flags = packed[4]!;
  const isSingleSegment = (flags & 0x20) !== 0;
  const sizeFlag = flags >> 6;
  const windowBytes = isSingleSegment ? 0 : windowOf(packed[5]!);
  const at = 5 + Number(!isSingleSegment) + dictionaryIdBytes[(flags & 3) as 0 | 1 | 2 | 3];
  const contentBytes = contentSize(view, at, sizeFlag, isSingleSegment);
  if (contentBytes !== null && contentBytes > sizeBytes) {
    throw new RangeError(`what is packed says that it is ${contentBytes} bytes and not ${sizeBytes}`);
  }
  if (contentBytes === null && windowBytes > mostWindowBytes) {
    throw new RangeError(`what is packed asks for a window of ${windowBytes} bytes`);
  }
}

function windowOf(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

/** Null where the frame does not say it. */
function contentSize(view: DataView, at: number, sizeFlag: number, isSingleSegment: boolean): number | null {
  if (sizeFlag === 0) return isSingleSegment ? view.getUint8(at) : null;
  if (sizeFlag === 1) return view.getUint16(at, true) + 256;
  return sizeFlag === 2 ? view.getUint32(at, true) : Number(view.getBigUint64(at, true));
}
