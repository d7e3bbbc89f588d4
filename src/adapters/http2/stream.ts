/** One stream of a connection: what waits to be sent, and whom its events go to. */
import type { Headers } from "./hpack.ts";

export interface StreamEvents {
  /** Headers, or trailers. */
  onHeaders(headers: Headers): void;
  onData(bytes: Uint8Array): void;
  /** Where the next bytes are wanted; null: anywhere. */
  room(): Uint8Array | null;
  /** So many bytes were read to where they were wanted. */
  onRead(count: number): void;
  /** The other side has said everything. */
  onEnd(): void;
  /** The stream was cut off. Nothing comes after it. */
  onClosed(reason: string): void;
}

/** Nobody listens yet. */
export const silent: StreamEvents = {
  onHeaders: () => {},
  onData: () => {},
  room: () => null,
  onRead: () => {},
  onEnd: () => {},
  onClosed: () => {},
};

/** What a stream needs of its connection. */
export interface StreamLink {
  headers(headers: Headers, end: boolean, sent?: () => void): void;
  /** How many bytes a data frame may have now, as far as the connection is concerned. */
  room(): number;
  data(parts: readonly Uint8Array[], bytes: number, end: boolean, sent?: () => void): void;
  reset(): void;
  forget(): void;
}

type Queued =
  | { readonly kind: "data"; parts: readonly Uint8Array[]; bytes: number; readonly sent: (() => void) | undefined }
  | { readonly kind: "end"; readonly trailers: Headers | null };

export class Http2Stream {
  readonly id: number;
  events: StreamEvents;
  /** Bytes that the peer takes. */
  window: number;
  /** Bytes received that were not yet given back to the peer's window. */
  consumed = 0;
  readonly #link: StreamLink;
  #queue: Queued[] = [];
  #hasEnded = { here: false, there: false };
  #isClosed = false;

  constructor(id: number, events: StreamEvents, window: number, link: StreamLink) {
    this.id = id;
    this.events = events;
    this.window = window;
    this.#link = link;
  }

  /** Whether bytes that were given to be sent wait here, for the peer's window or for room in the socket. */
  get holdsBytes(): boolean {
    return this.#queue.some(({ kind }) => kind === "data");
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Sends them before any data. `sent`: they, and everything before them on the connection, have left. */
  sendHeaders(headers: Headers, sent?: () => void): void {
    if (!this.#isClosed) this.#link.headers(headers, false, sent);
  }

  /** Sends from where the parts lie: they must not change before `sent`, which is not called for what does not leave. */
  send(parts: readonly Uint8Array[], sent?: () => void): void {
    if (this.#isClosed || this.#hasEnded.here) return;
    const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
    this.#queue.push({ kind: "data", parts, bytes, sent });
    this.pump();
  }

  /** Ends this side, after everything that waits to be sent. */
  end(trailers: Headers | null = null): void {
    if (this.#isClosed || this.#hasEnded.here) return;
    this.#hasEnded.here = true;
    this.#queue.push({ kind: "end", trailers });
    this.pump();
  }

  /** Forgets the data that wait here. A message may have been sent in part: what follows can only be the reason. */
  dropWaiting(): void {
    this.#queue = this.#queue.filter(({ kind }) => kind !== "data");
  }

  /** Cuts it off; nobody here hears of it any more. */
  reset(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#queue = [];
    this.#link.reset();
    this.#link.forget();
  }

  /** Sends what the windows allow. */
  pump(): void {
    for (let next = this.#queue[0]; next; next = this.#queue[0]) {
      if (next.kind === "end") {
        this.#queue.shift();
        if (next.trailers) this.#link.headers(next.trailers, true);
        else this.#link.data([], 0, true);
        this.#forgetIfOver();
        return;
      }
      const most = Math.min(this.window, this.#link.room());
      if (most <= 0) return;
      const whole = next.bytes <= most;
      const bytes = whole ? next.bytes : most;
      this.window -= bytes;
      if (whole) {
        this.#queue.shift();
        this.#link.data(next.parts, bytes, false, next.sent);
      } else {
        const [now, later] = split(next.parts, bytes);
        next.parts = later;
        next.bytes -= bytes;
        this.#link.data(now, bytes, false);
      }
    }
  }

  /** The other side ended. */
  ended(): void {
    if (this.#isClosed || this.#hasEnded.there) return;
    this.#hasEnded.there = true;
    this.#forgetIfOver();
    this.events.onEnd();
  }

  /** The other side, or the connection, cut it off. */
  close(reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#queue = [];
    this.events.onClosed(reason);
  }

  #forgetIfOver(): void {
    const { here, there } = this.#hasEnded;
    if (here && there && this.#queue.length === 0) this.#link.forget();
  }
}

function split(parts: readonly Uint8Array[], at: number): [before: Uint8Array[], after: Uint8Array[]] {
  const before: Uint8Array[] = [];
  const after: Uint8Array[] = [];
  let left = at;
  for (const part of parts) {
    if (left > 0) before.push(part.subarray(0, left));
    if (left < part.byteLength) after.push(part.subarray(left));
    left = Math.max(0, left - part.byteLength);
  }
  return [before, after];
}
