/** Calls whose answers are streams of large messages, over this project's own HTTP/2 (src/adapters/http2). */
import type { PeerRule } from "../../core/identity.ts";
import { Http2Connection } from "../http2/connection.ts";
import type { Headers } from "../http2/hpack.ts";
import type { Http2Stream } from "../http2/stream.ts";
import type { CertificateFolder } from "../tls/certificate-folder.ts";
import { dialNear } from "../tls/dial.ts";
import { type MessageEvents, MessageReader, messagePrefix } from "./messages.ts";
import { status } from "./services.ts";
import { Traffic } from "./traffic.ts";

export interface CallEvents extends MessageEvents {
  /** The other side has taken the call. */
  onAccepted(): void;
  /** It is over: told once, and not after `cancel`. */
  onEnd(end: CallEnd): void;
}

/** "ended": in order. "refused": by a status, with its reason. "broken": the connection is of no use any more. */
export type CallEnd =
  | { readonly kind: "ended" }
  | { readonly kind: "refused"; readonly code: number; readonly reason: string }
  | { readonly kind: "broken"; readonly reason: string };

export interface Call {
  cancel(): void;
}

/** One connection to one address. */
export class StreamingClient {
  readonly #address: string;
  readonly #scheme: "http" | "https";
  readonly #connection: Http2Connection;
  #waiting: ((isConnected: boolean) => void)[] = [];

  /**
   * @param silenceMs how long the other side may be silent before it is asked, and how long it may then take
   * @param peers who may answer, where there are certificates
   */
  constructor(
    address: string,
    silenceMs: number,
    certificates: CertificateFolder | null,
    peers: PeerRule,
    traffic = new Traffic(),
  ) {
    this.#address = address;
    this.#scheme = certificates === null ? "http" : "https";
    const tell = (isConnected: boolean) => {
      for (const then of this.#waiting.splice(0)) then(isConnected);
    };
    this.#connection = new Http2Connection({
      isServer: false,
      silenceMs,
      onReady: () => tell(true),
      onClosed: () => tell(false),
    });
    dialNear(address, certificates, peers, this.#connection.onread, (socket) => {
      traffic.follow(socket);
      this.#connection.attach(socket);
    });
  }

  get isClosed(): boolean {
    return this.#connection.isClosed;
  }

  /** Says once whether the other side speaks. */
  whenConnected(then: (isConnected: boolean) => void): void {
    if (this.#connection.isReady) then(true);
    else if (this.#connection.isClosed) then(false);
    else this.#waiting.push(then);
  }

  /** @param headBytes of every answer that are handed over before the rest is placed */
  call(path: string, request: Uint8Array, headBytes: number, events: CallEvents): Call {
    let isOver = false;
    const end = (how: CallEnd) => {
      if (isOver) return;
      isOver = true;
      events.onEnd(how);
    };
    let isAccepted = false;
    let ending: CallEnd = { kind: "refused", code: status.UNKNOWN, reason: "it ended without a status" };
    const reader = new MessageReader(headBytes, events);
    const stream: Http2Stream = this.#connection.request(
      headersOf(this.#address, this.#scheme, path),
      messagePrefix(request, 0),
      {
        onHeaders(headers) {
          const code = headers.find(([name]) => name === "grpc-status")?.[1];
          const http = headers.find(([name]) => name === ":status")?.[1];
          if (code !== undefined) ending = endOf(Number(code), headers);
          else if (http !== undefined && http !== "200") {
            ending = { kind: "refused", code: status.UNKNOWN, reason: `it answered with HTTP status ${http}` };
          } else if (!isAccepted) {
            isAccepted = true;
            events.onAccepted();
          }
        },
        onData: (bytes) => {
          if (!isOver) reader.feed(bytes);
        },
        room: () => (isOver ? null : reader.room()),
        onRead: (count) => {
          if (!isOver) reader.read(count);
        },
        onEnd: () => end(ending),
        onClosed: (reason) => end({ kind: "broken", reason }),
      },
    );
    return {
      cancel() {
        isOver = true;
        stream.reset();
      },
    };
  }

  close(): void {
    this.#connection.destroy("this connection was closed");
  }
}

function headersOf(address: string, scheme: string, path: string): Headers {
  return [
    [":method", "POST"],
    [":scheme", scheme],
    [":path", path],
    [":authority", address],
    ["te", "trailers"],
    ["content-type", "application/grpc+proto"],
    ["user-agent", "lockstep"],
  ];
}

function endOf(code: number, headers: Headers): CallEnd {
  if (code === status.OK) return { kind: "ended" };
  const message = headers.find(([name]) => name === "grpc-message")?.[1] ?? "";
  return { kind: "refused", code, reason: decoded(message) || `it ended with status ${code}` };
}

function decoded(message: string): string {
  try {
    return decodeURI(message);
  } catch {
    return message;
  }
}
