/** HTTP/2's frames (RFC 9113, section 4): nine bytes that say what follows, and what follows. */
import { LockstepError } from "../../core/errors.ts";

export const frameType = {
  ...{ data: 0, headers: 1, reset: 3, settings: 4, pushPromise: 5, ping: 6, goAway: 7 },
  ...{ windowUpdate: 8, continuation: 9 },
} as const;

export const flag = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;

export const setting = { enablePush: 2, maxConcurrentStreams: 3, initialWindowBytes: 4, maxFrameBytes: 5 } as const;

/** What a client says before its first frame. */
export const preface = new Uint8Array(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));

export const frameHeaderBytes = 9;
/** What every peer takes, whatever it says. */
export const defaultFrameBytes = 16_384;
/** The largest that can be allowed, and be written down. */
export const mostFrameBytes = 2 ** 24 - 1;
/** Of frames that are not data; larger ones have no place here. */
const mostOtherBytes = 65_536;
/** Of a peer's last words; who needs more has something else in mind. */
const mostGoodbyeBytes = 200;
export const cancelCode = 8;
const inadequateSecurityCode = 12;

export function writeFrameHeader(into: Uint8Array, type: number, flags: number, stream: number, length: number): void {
  into[0] = length >>> 16;
  into[1] = length >>> 8;
  into[2] = length;
  into[3] = type;
  into[4] = flags;
  into[5] = stream >>> 24;
  into[6] = stream >>> 16;
  into[7] = stream >>> 8;
  into[8] = stream;
}

export function encodeFrame(type: number, flags: number, stream: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(frameHeaderBytes + payload.byteLength);
  writeFrameHeader(bytes, type, flags, stream, payload.byteLength);
  bytes.set(payload, frameHeaderBytes);
  return bytes;
}

/** A block of headers. A refusal may be long: what does not fit into the first frame follows in continuations. */
export function encodeHeaderFrames(stream: number, block: Uint8Array, end: boolean): Uint8Array {
  const frames: Uint8Array[] = [];
  for (let at = 0; at === 0 || at < block.byteLength; at += defaultFrameBytes) {
    const isLast = at + defaultFrameBytes >= block.byteLength;
    const flags = (isLast ? flag.endHeaders : 0) | (end && at === 0 ? flag.endStream : 0);
    const type = at === 0 ? frameType.headers : frameType.continuation;
    frames.push(encodeFrame(type, flags, stream, block.subarray(at, at + defaultFrameBytes)));
  }
  return Buffer.concat(frames);
}

type Settings = readonly (readonly [id: number, value: number])[];

export function encodeSettings(settings: Settings): Uint8Array {
  const payload = new Uint8Array(6 * settings.length);
  const view = new DataView(payload.buffer);
  settings.forEach(([id, value], i) => {
    view.setUint16(6 * i, id);
    view.setUint32(6 * i + 2, value);
  });
  return encodeFrame(frameType.settings, 0, 0, payload);
}

export function settingsIn(payload: Uint8Array): Settings {
  if (payload.byteLength % 6 !== 0) refuseFrame(`settings of ${payload.byteLength} bytes`);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  return Array.from({ length: payload.byteLength / 6 }, (_, i) => [view.getUint16(6 * i), view.getUint32(6 * i + 2)]);
}

/** A frame that says one number: how much a window grows, or why a stream is cut off. */
export function encodeNumber(type: number, stream: number, value: number): Uint8Array {
  const payload = new Uint8Array(4);
  new DataView(payload.buffer).setUint32(0, value);
  return encodeFrame(type, 0, stream, payload);
}

export function numberIn(payload: Uint8Array): number {
  if (payload.byteLength !== 4) refuseFrame(`${payload.byteLength} bytes instead of 4`);
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0);
}

/** Why the other side cut a stream off. */
export function resetReason(code: number): string {
  return code === cancelCode || code === 0 ? "it was cancelled" : `it was reset with code ${code}`;
}

/** Ends a connection before it has begun, and says why: what a server says first, and its last word. */
export function encodeGoodbye(reason: string): Uint8Array {
  const words = Buffer.from(reason);
  const payload = new Uint8Array(8 + words.byteLength);
  new DataView(payload.buffer).setUint32(4, inadequateSecurityCode);
  payload.set(words, 8);
  return Buffer.concat([encodeSettings([]), encodeFrame(frameType.goAway, 0, 0, payload)]);
}

/** The words that a peer ended its connection with; empty if it gave none. */
export function goodbyeIn(payload: Uint8Array): string {
  const printable = Buffer.from(payload.subarray(8, 8 + mostGoodbyeBytes)).toString();
  return printable.replace(/[^\x20-\x7e]/g, " ").trim();
}

export interface FrameEvents {
  /** A part of a data frame's payload. */
  onData(stream: number, bytes: Uint8Array): void;
  /** Where the next part of a data frame is wanted, if it matters. */
  roomFor(stream: number): Uint8Array | null;
  /** So many bytes have been read to where they were wanted. */
  onRead(stream: number, count: number): void;
  /** All of it has been handed over. `frameBytes` counts against the windows. */
  onDataEnd(stream: number, flags: number, frameBytes: number): void;
  /** Any other frame. */
  onFrame(type: number, flags: number, stream: number, payload: Uint8Array): void;
}

/** Takes apart what arrives. Payloads of data frames can be read straight to where they are wanted. */
export class FrameReader {
  readonly #events: FrameEvents;
  readonly #maxDataBytes: number;
  readonly #header = new Uint8Array(frameHeaderBytes);
  #headerGot = 0;
  #type = 0;
  #flags = 0;
  #stream = 0;
  #length = 0;
  /** Of the payload that is being read. */
  #left = 0;
  /** Of a frame that is wanted whole. */
  #whole: Uint8Array | null = null;

  constructor(events: FrameEvents, maxDataBytes: number) {
    this.#events = events;
    this.#maxDataBytes = maxDataBytes;
  }

  /** Where the next bytes may be read to: exactly there, then `read` says how many; null: anywhere, for `feed`. */
  room(leastBytes: number): Uint8Array | null {
    if (!this.#inData || this.#left < leastBytes) return null;
    const room = this.#events.roomFor(this.#stream);
    if (!room || room.byteLength < leastBytes) return null;
    return room.byteLength > this.#left ? room.subarray(0, this.#left) : room;
  }

  read(count: number): void {
    this.#left -= count;
    this.#events.onRead(this.#stream, count);
    if (this.#left === 0) this.#end();
  }

  feed(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.byteLength) {
      if (this.#headerGot < frameHeaderBytes) {
        this.#header[this.#headerGot++] = bytes[at++]!;
        if (this.#headerGot === frameHeaderBytes) this.#begin();
        continue;
      }
      const part = bytes.subarray(at, at + this.#left);
      at += part.byteLength;
      if (this.#whole) this.#whole.set(part, this.#whole.byteLength - this.#left);
      this.#left -= part.byteLength;
      if (this.#inData) this.#events.onData(this.#stream, part);
      if (this.#left === 0) this.#end();
    }
  }

  get #inData(): boolean {
    return this.#headerGot === frameHeaderBytes && this.#type === frameType.data && !this.#whole;
  }

  #begin(): void {
    const header = this.#header;
    this.#length = (header[0]! << 16) | (header[1]! << 8) | header[2]!;
    this.#type = header[3]!;
    this.#flags = header[4]!;
    this.#stream = ((header[5]! & 127) << 24) | (header[6]! << 16) | (header[7]! << 8) | header[8]!;
    const isData = this.#type === frameType.data;
    const most = isData ? this.#maxDataBytes : mostOtherBytes;
    if (this.#length > most) refuseFrame(`a frame of ${this.#length} bytes`);
    this.#left = this.#length;
    this.#whole = isData && !(this.#flags & flag.padded) ? null : new Uint8Array(this.#length);
    if (this.#left === 0) this.#end();
  }

  #end(): void {
    this.#headerGot = 0;
    const whole = this.#whole;
    this.#whole = null;
    if (this.#type !== frameType.data) {
      this.#events.onFrame(this.#type, this.#flags, this.#stream, whole!);
      return;
    }
    if (whole) this.#events.onData(this.#stream, unpadded(whole, 0));
    this.#events.onDataEnd(this.#stream, this.#flags, this.#length);
  }
}

/** What a frame of headers has of their block. */
export function headerBlockIn(flags: number, payload: Uint8Array): Uint8Array {
  const before = flags & flag.priority ? 5 : 0;
  if (flags & flag.padded) return unpadded(payload, before);
  if (before > payload.byteLength) refuseFrame("headers without headers");
  return payload.subarray(before);
}

/** The payload of a padded frame, behind `before` bytes of other fields. */
function unpadded(payload: Uint8Array, before: number): Uint8Array {
  const end = payload.byteLength - (payload[0] ?? refuseFrame("a padded frame without a length"));
  if (1 + before > end) refuseFrame("a frame that is all padding");
  return payload.subarray(1 + before, end);
}

export function refuseFrame(what: string): never {
  throw new LockstepError("incompatible", `A peer sent ${what} where HTTP/2 allows none.`);
}
