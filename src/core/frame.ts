/**
 * What travels between workers: a header that says exactly which numbers follow, and the numbers, little-endian, which go
 * from the sender's memory straight to the receiver's. The header is 35 bytes, since gRPC puts 5 bytes before a message: so
 * whoever receives messages whole finds the numbers 8-byte aligned behind both.
 */
import type { Round } from "./contribution.ts";
import { LockstepError } from "./errors.ts";
import { maxGenerations, maxShards, maxWorkers } from "./limits.ts";
import type { Range } from "./sampler.ts";

export const headerBytes = 35;
const magic = 0x4c;
const version = 1;

export interface FrameHeader {
  /** "partial": the sum at one node of the tree, for the chunk's owner. "total": a whole chunk, from its owner. */
  readonly kind: "partial" | "total";
  readonly generation: number;
  readonly round: Round;
  readonly bucket: number;
  /** The node of the summation tree; for a total the root. */
  readonly node: Range;
  /** The sender's rank. */
  readonly rank: number;
}

export function encodeHeader(header: FrameHeader, payloadBytes: number): Uint8Array {
  const bytes = new Uint8Array(headerBytes);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, magic);
  view.setUint8(1, version);
  view.setUint8(2, header.kind === "partial" ? 1 : 2);
  view.setUint8(3, header.round.pass);
  view.setUint32(4, header.generation, true);
  view.setUint32(8, header.bucket, true);
  view.setUint16(12, header.node.begin, true);
  view.setUint16(14, header.node.end, true);
  view.setUint32(16, header.rank, true);
  view.setFloat64(20, header.round.step, true);
  view.setUint32(28, payloadBytes, true);
  return bytes;
}

/**
 * Reads the header of a frame that came from another process, with so many bytes behind it; throws "incompatible" on anything
 * that `encodeHeader` cannot write.
 */
export function decodeHeader(bytes: Uint8Array, payloadBytes: number): FrameHeader {
  if (bytes.byteLength !== headerBytes) refuse(`it has ${bytes.byteLength} bytes, less than a header`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint8(0) !== magic) refuse("it does not begin like one");
  if (view.getUint8(1) !== version) refuse(`its format has version ${view.getUint8(1)}, this worker speaks ${version}`);
  const kind = view.getUint8(2);
  const pass = view.getUint8(3);
  const generation = view.getUint32(4, true);
  const node = { begin: view.getUint16(12, true), end: view.getUint16(14, true) };
  const rank = view.getUint32(16, true);
  const step = view.getFloat64(20, true);
  if (kind !== 1 && kind !== 2) refuse(`its kind is ${kind}`);
  if (pass !== 0 && pass !== 1) refuse(`its pass is ${pass}`);
  if (generation === 0 || generation > maxGenerations) refuse(`its generation is ${generation}`);
  if (node.begin >= node.end || node.end > maxShards) refuse(`its node is [${node.begin}, ${node.end})`);
  if (rank >= maxWorkers) refuse(`its rank is ${rank}`);
  if (!Number.isSafeInteger(step) || step < 0) refuse(`its step is ${step}`);
  if (view.getUint32(28, true) !== payloadBytes) refuse("its length is not the one it names");
  return {
    kind: kind === 1 ? "partial" : "total",
    generation,
    round: { step, pass },
    bucket: view.getUint32(8, true),
    node,
    rank,
  };
}

function refuse(why: string): never {
  throw new LockstepError("incompatible", `A frame from a peer is refused: ${why}.`);
}
