/** A gRPC server whose answers are streams of large messages, over this project's own HTTP/2 (src/adapters/http2). */
import type { Socket } from "node:net";
import { described, type Identity, type PeerRule } from "../../core/identity.ts";
import type { RefusalKind, Refusals } from "../../core/refusals.ts";
import { Http2Connection } from "../http2/connection.ts";
import type { Headers } from "../http2/hpack.ts";
import type { Http2Stream } from "../http2/stream.ts";
import { Listener } from "../tls/listener.ts";
import type { Security } from "../tls/security.ts";
import { type MessageEvents, MessageReader, messagePrefix } from "./messages.ts";
import { status } from "./services.ts";
import { Traffic } from "./traffic.ts";

/** What is called by a path answers by a stream of messages. */
export type Handler = (call: ServerCall, request: Uint8Array) => void;

const nothing = new Uint8Array(0);
/** A call says who calls and what is wanted; what is large is in the answers. */
const maxRequestBytes = 65_536;

/** A call, as who answers it sees it. */
export class ServerCall {
  /** Who calls, as its certificate says; null in plain text. */
  readonly peer: Identity | null;
  readonly #connection: Http2Connection;
  readonly #stream: Http2Stream;
  #isAccepted = false;
  #unsentBytes = 0;
  #cancelled: (() => void)[] = [];

  constructor(connection: Http2Connection, stream: Http2Stream, peer: Identity | null) {
    this.peer = peer;
    this.#connection = connection;
    this.#stream = stream;
    stream.events = {
      ...stream.events,
      onClosed: () => {
        for (const tell of this.#cancelled.splice(0)) tell();
      },
    };
  }

  get isCancelled(): boolean {
    return this.#stream.isClosed;
  }

  /** Of messages that have not left yet. */
  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  /** The caller is gone, or does not want it any more. */
  onCancelled(tell: () => void): void {
    this.#cancelled.push(tell);
  }

  /** Says that the call was taken; the first message would, too. `sent`: that, and everything before it, has left. */
  accept(sent?: () => void): void {
    if (!this.#isAccepted) this.#stream.sendHeaders(responseHeaders, sent);
    this.#isAccepted = true;
  }

  /** Sends a message from where it lies: `payload` must not change before `sent`, or before `cutOff`. */
  send(head: Uint8Array, payload: Uint8Array, sent?: () => void): void {
    this.accept();
    const bytes = head.byteLength + payload.byteLength;
    this.#unsentBytes += bytes;
    this.#stream.send([messagePrefix(head, payload.byteLength), payload], () => {
      this.#unsentBytes -= bytes;
      sent?.();
    });
  }

  end(): void {
    this.accept();
    this.#stream.end([["grpc-status", String(status.OK)]]);
  }

  /** Ends the call, without what waits to be sent. */
  endNow(): void {
    if (this.#stream.holdsBytes) this.#stream.reset();
    else this.end();
  }

  /** Whether the connection still reads from memory that was given to `send`. */
  get holdsBytes(): boolean {
    return this.#connection.holdsBytes;
  }

  /** Ends the connection, and so everything that is read from memory that was given to `send`. */
  cutOff(): void {
    this.#connection.destroy("it is no peer any more");
  }

  refuse(reason: string, code: number = status.FAILED_PRECONDITION): void {
    const trailers: Headers = [
      ["grpc-status", String(code)],
      ["grpc-message", encodeURI(reason)],
    ];
    this.#stream.end(this.#isAccepted ? trailers : [...responseHeaders, ...trailers]);
  }

  /** Refuses to go on, without what waits to be sent. */
  giveUp(reason: string): void {
    this.#stream.dropWaiting();
    this.refuse(reason);
  }
}

const responseHeaders: Headers = [
  [":status", "200"],
  ["content-type", "application/grpc+proto"],
];

export class StreamingServer {
  readonly #silenceMs: number;
  readonly #handlers: ReadonlyMap<string, Handler>;
  readonly #refusals: Refusals;
  readonly #listener: Listener;
  readonly #traffic: Traffic;
  readonly #connections = new Set<Http2Connection>();

  /**
   * @param handlers by path, as "/lockstep.v1.Collective/Subscribe"
   * @param peers who may call, where there are certificates
   */
  constructor(
    silenceMs: number,
    handlers: ReadonlyMap<string, Handler>,
    security: Security,
    peers: PeerRule,
    traffic = new Traffic(),
  ) {
    this.#traffic = traffic;
    this.#silenceMs = silenceMs;
    this.#handlers = handlers;
    this.#refusals = security.refusals;
    this.#listener = new Listener({
      ...security,
      peers,
      handshakeMs: silenceMs,
      onConnection: (socket, peer) => this.#connected(socket, peer),
    });
  }

  /** Returns the address with the port that was bound. */
  listen(address: string): Promise<string> {
    return this.#listener.listen(address);
  }

  close(): Promise<void> {
    const closed = this.#listener.close();
    for (const connection of [...this.#connections]) connection.destroy("this server has ended");
    return closed;
  }

  #connected(socket: Socket, peer: Identity | null): void {
    // Looked at now: a socket that is gone does not know any more.
    const at = socket.remoteAddress ?? "this machine";
    const from = peer === null ? at : `${described(peer)} at ${at}`;
    const refused = (kind: RefusalKind, detail: string) => this.#refusals.note({ kind, from, detail });
    const connection = new Http2Connection({
      isServer: true,
      onMalformed: (why) => refused("malformed HTTP/2 or request", why),
      onReady: () => clearTimeout(late),
      silenceMs: this.#silenceMs,
      onStream: (stream, headers) => this.#called(connection, stream, headers, peer),
      onClosed: () => {
        clearTimeout(late);
        this.#connections.delete(connection);
      },
    });
    // Who keeps busy without ever having said how it wants to be talked to is as silent as who says nothing.
    const late = setTimeout(() => {
      refused("no HTTP/2 in time", `${this.#silenceMs} ms`);
      connection.destroy("it did not begin in time");
    }, this.#silenceMs);
    this.#connections.add(connection);
    this.#traffic.follow(socket);
    connection.attach(socket);
  }

  #called(connection: Http2Connection, stream: Http2Stream, headers: Headers, peer: Identity | null): void {
    const call = new ServerCall(connection, stream, peer);
    const path = headers.find(([name]) => name === ":path")?.[1] ?? "";
    const handler = this.#handlers.get(path);
    if (!handler) return void call.refuse(`there is no ${path}`, status.UNIMPLEMENTED);
    let isAnswered = false;
    const takeOne: MessageEvents = {
      place: (_head, bytes) => (isAnswered ? null : new Uint8Array(bytes)),
      arrived: (_head, bytes) => {
        if (isAnswered) return;
        isAnswered = true;
        handler(call, bytes ?? nothing);
      },
    };
    const request = new MessageReader(0, takeOne, maxRequestBytes);
    stream.events = {
      ...stream.events,
      onData: (bytes) => request.feed(bytes),
      onEnd: () => {
        if (!isAnswered) call.refuse("the request is missing", status.INVALID_ARGUMENT);
      },
    };
  }
}
