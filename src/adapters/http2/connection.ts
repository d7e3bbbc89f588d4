/**
 * One HTTP/2 connection (RFC 9113), as far as gRPC needs it, made for large messages in steady memory: what is sent goes to
 * the socket from where it lies, and what arrives is read to where it is wanted. Node's own HTTP/2 cuts everything into
 * frames of 16 KiB and gives each its own buffer, which costs several times what the bytes do (docs/performance.md).
 */
import type { Socket } from "node:net";
import { messageOf } from "../../core/errors.ts";
import {
  cancelCode,
  defaultFrameBytes,
  encodeFrame,
  encodeHeaderFrames,
  encodeNumber,
  encodeSettings,
  flag,
  frameHeaderBytes,
  FrameReader,
  frameType,
  goodbyeIn,
  headerBlockIn,
  mostFrameBytes,
  numberIn,
  preface,
  refuseFrame,
  resetReason,
  setting,
  settingsIn,
  writeFrameHeader,
} from "./frames.ts";
import { encodeHeaders, HeaderDecoder, type Headers } from "./hpack.ts";
import { Keepalive } from "./keepalive.ts";
import { Http2Stream, silent, type StreamEvents } from "./stream.ts";

const defaultWindowBytes = 65_535;
/**
 * How much a client lets a server send ahead: all that can be said. What arrives goes to memory that is there already, or
 * stays in the kernel until it is read, so TCP's own window is the bound.
 */
const clientWindowBytes = 2 ** 31 - 1;
/** Below this a read of its own is dearer than the copy that it saves. */
const leastRoomBytes = 16_384;
const scratchBytes = 65_536;
/**
 * Data is given to the socket while it holds less than this: what it holds cannot be overtaken any more. So a ping, its answer
 * and what other streams send wait for some milliseconds of data, and not for all that there is to send. Half of it was
 * measured to be slower (docs/decisions/0004-own-http2.md).
 */
const socketBytes = 16 * 2 ** 20;
/** The most that a socket comes to hold, of data, and as much as anybody needs for answers. */
const mostHeldBytes = 2 * socketBytes + 2 ** 20;
/** Streams that one peer may have open: a worker needs a handful. */
const maxStreams = 64;
/** Of one header block. */
const maxBlockBytes = 65_536;

export interface ConnectionOptions {
  readonly isServer: boolean;
  /** How long the other side may be silent before it is asked, and how long it may then take. */
  readonly silenceMs: number;
  /** A peer has opened a stream. */
  readonly onStream?: (stream: Http2Stream, headers: Headers) => void;
  /** The peer has said how it wants to be talked to. */
  readonly onReady?: () => void;
  readonly onClosed?: (reason: string) => void;
  /** What the peer sent is no HTTP/2, or not what was expected; the connection is about to be ended for it. */
  readonly onMalformed?: (why: string) => void;
}

export class Http2Connection {
  readonly #options: ConnectionOptions;
  readonly #reader: FrameReader;
  readonly #decoder = new HeaderDecoder();
  readonly #streams = new Map<number, Http2Stream>();
  readonly #windowBytes: number;
  readonly #keepalive: Keepalive;
  #socket: Socket | null = null;
  /** What is to be said first, while it is not known by which socket. */
  #early: (() => void)[] = [];
  /** Where the socket reads to now, if that is where the bytes are wanted. */
  #direct: Uint8Array | null = null;
  #prefaceLeft: number;
  #nextStream = 1;
  #lastPeerStream = 0;
  #isReady = false;
  #closedWhy: string | null = null;
  #isCorked = false;
  /** The peer's bounds. */
  #maxFrameBytes = defaultFrameBytes;
  #initialWindow = defaultWindowBytes;
  #sendWindow = defaultWindowBytes;
  /** Received, and not yet given back to the peer's window. */
  #consumed = 0;
  /** A header block whose end has not come yet. */
  #block: { stream: number; flags: number; parts: Uint8Array[]; bytes: number } | null = null;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#prefaceLeft = options.isServer ? preface.byteLength : 0;
    this.#windowBytes = options.isServer ? defaultWindowBytes : clientWindowBytes;
    this.#reader = new FrameReader(this, options.isServer ? defaultFrameBytes : mostFrameBytes);
    this.#keepalive = new Keepalive(options.silenceMs, {
      ask: () => this.#write(encodeFrame(frameType.ping, 0, 0, new Uint8Array(8))),
      giveUp: (silentMs) => this.destroy(`it was silent for ${silentMs} ms`),
    });
  }

  /** What a socket needs to know when it is made, to read to where bytes are wanted. */
  get onread(): { buffer: () => Uint8Array; callback: (count: number, buffer: Uint8Array) => boolean } {
    const scratch = new Uint8Array(scratchBytes);
    return {
      buffer: () => {
        this.#direct = this.#closedWhy === null ? this.#reader.room(leastRoomBytes) : null;
        return this.#direct ?? scratch;
      },
      callback: (count, buffer) => {
        const direct = this.#direct;
        this.#direct = null;
        this.#received(() => (direct ? this.#reader.read(count) : this.#reader.feed(buffer.subarray(0, count))));
        return true;
      },
    };
  }

  /** Talks over a socket, which may still be connecting. Without `onread` the bytes are copied to where they are wanted. */
  attach(socket: Socket): void {
    if (this.#closedWhy !== null) return void socket.destroy();
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (bytes: Buffer) => this.#received(() => this.#feed(bytes)));
    socket.on("error", (error) => this.destroy(messageOf(error)));
    socket.on("close", () => this.destroy("the connection was closed"));
    socket.on("end", () => this.destroy("the connection was closed"));
    if (!this.#options.isServer) this.#write(preface);
    this.#write(
      encodeSettings(
        this.#options.isServer
          ? [[setting.maxConcurrentStreams, maxStreams]]
          : [
              [setting.enablePush, 0],
              [setting.initialWindowBytes, this.#windowBytes],
              [setting.maxFrameBytes, mostFrameBytes],
            ],
      ),
    );
    if (this.#windowBytes > defaultWindowBytes) this.#widen(0, this.#windowBytes - defaultWindowBytes);
    for (const say of this.#early.splice(0)) say();
    this.#keepalive.start();
  }

  get isReady(): boolean {
    return this.#isReady && this.#closedWhy === null;
  }

  get isClosed(): boolean {
    return this.#closedWhy !== null;
  }

  /** Whether bytes that were given to be sent still lie where they were given. */
  get holdsBytes(): boolean {
    return (this.#socket?.writableLength ?? 0) > 0;
  }

  /** Opens a stream, as a client. */
  request(headers: Headers, body: Uint8Array, events: StreamEvents): Http2Stream {
    const stream = this.#open(this.#nextStream, events);
    this.#nextStream += 2;
    if (this.#closedWhy !== null) {
      const why = this.#closedWhy;
      queueMicrotask(() => stream.close(why));
      return stream;
    }
    stream.sendHeaders(headers);
    stream.send([body]);
    stream.end();
    return stream;
  }

  /** Ends everything at once. */
  destroy(reason: string): void {
    if (this.#closedWhy !== null) return;
    this.#closedWhy = reason;
    this.#keepalive.stop();
    this.#socket?.destroy();
    for (const stream of [...this.#streams.values()]) stream.close(reason);
    this.#streams.clear();
    this.#options.onClosed?.(reason);
  }

  #received(take: () => void): void {
    if (this.#closedWhy !== null) return;
    this.#keepalive.heard();
    try {
      take();
    } catch (error) {
      this.#options.onMalformed?.(messageOf(error));
      this.destroy(messageOf(error));
    }
  }

  #feed(bytes: Uint8Array): void {
    let rest = bytes;
    for (; this.#prefaceLeft > 0 && rest.byteLength > 0; rest = rest.subarray(1), this.#prefaceLeft--) {
      if (rest[0] !== preface[preface.byteLength - this.#prefaceLeft]) refuseFrame("another protocol");
    }
    this.#reader.feed(rest);
  }

  // What the reader of frames tells.

  onData(id: number, bytes: Uint8Array): void {
    this.#streams.get(id)?.events.onData(bytes);
  }

  roomFor(id: number): Uint8Array | null {
    return this.#streams.get(id)?.events.room() ?? null;
  }

  onRead(id: number, count: number): void {
    this.#streams.get(id)?.events.onRead(count);
  }

  onDataEnd(id: number, flags: number, frameBytes: number): void {
    const stream = this.#streams.get(id);
    // Of a stream that is over, it still counts for the connection.
    if (!stream && !this.#isKnown(id)) refuseFrame(`data of stream ${id}`);
    this.#consumed += frameBytes;
    if (this.#consumed > this.#windowBytes / 2) {
      this.#widen(0, this.#consumed);
      this.#consumed = 0;
    }
    if (!stream) return;
    stream.consumed += frameBytes;
    if (stream.consumed > this.#windowBytes / 2) {
      this.#widen(id, stream.consumed);
      stream.consumed = 0;
    }
    if (flags & flag.endStream) stream.ended();
  }

  onFrame(type: number, flags: number, id: number, payload: Uint8Array): void {
    // Each may ask for an answer, and nobody takes them.
    if ((this.#socket?.writableLength ?? 0) > mostHeldBytes) refuseFrame("more frames than answers can leave");
    if (this.#block && type !== frameType.continuation) refuseFrame(`a frame of type ${type} inside of headers`);
    if (type === frameType.headers) this.#onHeaders(flags, id, payload);
    else if (type === frameType.continuation) this.#onBlock(flags, id, payload);
    else if (type === frameType.settings) this.#onSettings(flags, payload);
    else if (type === frameType.windowUpdate) this.#onWindow(id, numberIn(payload) & 0x7fff_ffff);
    else if (type === frameType.reset) {
      const stream = this.#streams.get(id);
      this.#forget(id);
      stream?.close(resetReason(numberIn(payload)));
    } else if (type === frameType.ping) {
      if (payload.byteLength !== 8) refuseFrame(`a ping of ${payload.byteLength} bytes`);
      if (!(flags & flag.ack)) this.#write(encodeFrame(frameType.ping, flag.ack, 0, payload));
    } else if (type === frameType.goAway) {
      const words = goodbyeIn(payload);
      this.destroy(`it ended the connection${words === "" ? "" : `: ${words}`}`);
    } else if (type === frameType.pushPromise) refuseFrame("a push");
  }

  #onHeaders(flags: number, id: number, payload: Uint8Array): void {
    this.#block = { stream: id, flags, parts: [], bytes: 0 };
    this.#onBlock(flags, id, headerBlockIn(flags, payload));
  }

  #onBlock(flags: number, id: number, part: Uint8Array): void {
    const block = this.#block;
    if (!block || block.stream !== id) refuseFrame("a continuation of nothing");
    block.parts.push(part);
    block.bytes += part.byteLength;
    if (block.bytes > maxBlockBytes) refuseFrame(`${block.bytes} bytes of headers`);
    if (!(flags & flag.endHeaders)) return;
    this.#block = null;
    const headers = this.#decoder.decode(Buffer.concat(block.parts));
    let stream = this.#streams.get(id);
    if (!stream) {
      if (!this.#options.isServer && this.#isKnown(id)) return;
      if (!this.#options.isServer || id % 2 === 0 || id <= this.#lastPeerStream) refuseFrame(`headers of stream ${id}`);
      if (this.#streams.size >= maxStreams) refuseFrame(`more than ${maxStreams} streams`);
      this.#lastPeerStream = id;
      stream = this.#open(id, silent);
      this.#options.onStream?.(stream, headers);
    } else stream.events.onHeaders(headers);
    if (block.flags & flag.endStream) stream.ended();
  }

  #onSettings(flags: number, payload: Uint8Array): void {
    if (flags & flag.ack) return;
    for (const [id, value] of settingsIn(payload)) {
      if (id === setting.maxFrameBytes) {
        if (value < defaultFrameBytes || value > mostFrameBytes) refuseFrame(`a bound of ${value} bytes`);
        this.#maxFrameBytes = value;
      } else if (id === setting.initialWindowBytes) {
        if (value > 2 ** 31 - 1) refuseFrame(`a window of ${value} bytes`);
        for (const stream of this.#streams.values()) stream.window += value - this.#initialWindow;
        this.#initialWindow = value;
      }
    }
    this.#write(encodeFrame(frameType.settings, flag.ack, 0, new Uint8Array(0)));
    this.#pumpAll();
    if (this.#isReady) return;
    this.#isReady = true;
    this.#options.onReady?.();
  }

  #onWindow(id: number, more: number): void {
    const stream = this.#streams.get(id);
    if (id === 0) this.#sendWindow += more;
    else if (stream) stream.window += more;
    const window = id === 0 ? this.#sendWindow : (stream?.window ?? 0);
    if (more === 0 || window > 2 ** 31 - 1) refuseFrame(`a window of ${window} bytes`);
    if (id === 0) this.#pumpAll();
    else stream?.pump();
  }

  #open(id: number, events: StreamEvents): Http2Stream {
    const stream = new Http2Stream(id, events, this.#initialWindow, {
      headers: (headers, end, sent) => this.#sendHeaders(id, headers, end, sent),
      room: () => Math.min(this.#sendWindow, this.#maxFrameBytes, this.#roomInSocket),
      data: (parts, bytes, end, sent) => this.#sendData(id, parts, bytes, end, sent),
      reset: () => this.#write(encodeNumber(frameType.reset, id, cancelCode)),
      forget: () => this.#forget(id),
    });
    this.#streams.set(id, stream);
    return stream;
  }

  #forget(id: number): void {
    this.#streams.delete(id);
  }

  get #roomInSocket(): number {
    return (this.#socket?.writableLength ?? 0) < socketBytes ? socketBytes : 0;
  }

  /** Whether there was such a stream. */
  #isKnown(id: number): boolean {
    return this.#options.isServer ? id <= this.#lastPeerStream : id < this.#nextStream;
  }

  /** When there is room again, the others come first. */
  #putLast(id: number): void {
    const stream = this.#streams.get(id);
    if (!stream) return;
    this.#streams.delete(id);
    this.#streams.set(id, stream);
  }

  #pumpAll(): void {
    for (const stream of [...this.#streams.values()]) stream.pump();
  }

  #sendHeaders(id: number, headers: Headers, end: boolean, sent?: () => void): void {
    this.#write(encodeHeaderFrames(id, encodeHeaders(headers), end), sent);
  }

  /** One data frame, from where its parts lie. Small first parts travel with the frame's header. */
  #sendData(id: number, parts: readonly Uint8Array[], bytes: number, end: boolean, sent?: () => void): void {
    this.#sendWindow -= bytes;
    this.#putLast(id);
    const [first = new Uint8Array(0), ...rest] = parts;
    const isSmall = first.byteLength <= 256;
    const head = new Uint8Array(frameHeaderBytes + (isSmall ? first.byteLength : 0));
    writeFrameHeader(head, frameType.data, end ? flag.endStream : 0, id, bytes);
    if (isSmall) head.set(first, frameHeaderBytes);
    const left = () => {
      sent?.();
      this.#pumpAll();
    };
    const others = (isSmall ? rest : parts).filter((part) => part.byteLength > 0);
    this.#write(head, others.length === 0 ? left : undefined);
    others.forEach((part, i) => {
      this.#write(part, i === others.length - 1 ? left : undefined);
    });
  }

  #widen(id: number, bytes: number): void {
    this.#write(encodeNumber(frameType.windowUpdate, id, bytes));
  }

  /** What is written in one turn leaves together. `sent` is not called for what has not left. */
  #write(bytes: Uint8Array, sent?: () => void): void {
    const socket = this.#socket;
    if (this.#closedWhy !== null) return;
    if (!socket) return void this.#early.push(() => this.#write(bytes, sent));
    if (!this.#isCorked) {
      this.#isCorked = true;
      socket.cork();
      process.nextTick(() => {
        this.#isCorked = false;
        socket.uncork();
      });
    }
    socket.write(bytes, sent && ((error) => (error ? undefined : sent())));
  }
}
