/**
 * Takes connections for a server. With certificates a connection is handed over once the other end has shown one, of an
 * authority that is trusted, which names somebody who may come here. Whoever has not got so far costs little and keeps nobody
 * out: of those, only a number is open at a time, each for a while, and the oldest has to go for the next.
 */
import { createServer, type ListenOptions, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from "node:tls";
import { constants } from "node:crypto";
import { hostAndPort } from "../../core/addresses.ts";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { described, type Identity, identityIn, type PeerRule, whyNot } from "../../core/identity.ts";
import type { Refusal, RefusalKind, Refusals } from "../../core/refusals.ts";
import { encodeGoodbye } from "../http2/frames.ts";
import type { CertificateFolder } from "./certificate-folder.ts";
import { minVersion, protocols } from "./dial.ts";
import { nearName } from "./near.ts";

export interface ListenerOptions {
  /** Null: in plain text, for everybody. */
  readonly certificates: CertificateFolder | null;
  /** Who may come. */
  readonly peers: PeerRule;
  readonly refusals: Refusals;
  /** How long somebody may take to show a certificate. */
  readonly handshakeMs: number;
  /** `peer` is null in plain text. */
  readonly onConnection: (socket: Socket, peer: Identity | null) => void;
}

/** Connections that have shown no certificate yet. */
const maxStrangers = 256;
/** All that are open. A cluster has a few for each of its processes. */
const maxConnections = 4096;

export class Listener {
  readonly #options: ListenerOptions;
  readonly #server: Server;
  /** The shorter way (near.ts). */
  readonly #near: Server | null;
  /** Oldest first, by their remote address and port. */
  readonly #strangers = new Map<string, Socket>();

  constructor(options: ListenerOptions) {
    this.#options = options;
    const { certificates } = options;
    this.#near = null;
    if (certificates === null) {
      this.#server = createServer((socket) => options.onConnection(socket, null));
      this.#near = createServer((socket) => options.onConnection(socket, null));
    } else {
      const server = this.#secureServer(certificates);
      certificates.onChange(() => server.setSecureContext(contextOf(certificates)));
      this.#server = server;
    }
    for (const server of [this.#server, ...(this.#near ? [this.#near] : [])]) {
      server.maxConnections = maxConnections;
      server.on("drop", (from) =>
        this.#note("too many connections", from?.remoteAddress, `${maxConnections} are open`),
      );
    }
  }

  /** Listens on "host:port" (port 0: any free one); returns the address with the port that was bound. */
  async listen(address: string): Promise<string> {
    const { host, port } = hostAndPort(address);
    try {
      await listening(this.#server, { host, port });
      const bound = this.#server.address();
      // A server that listens by host and port has an address with a port.
      const boundPort = typeof bound === "object" && bound ? bound.port : port;
      const boundAddress = `${address.slice(0, address.lastIndexOf(":"))}:${boundPort}`;
      const path = this.#near && nearName(boundAddress);
      if (this.#near && path) await listening(this.#near, { path });
      return boundAddress;
    } catch (error) {
      throw listenError(address, error);
    }
  }

  /** Takes no more; who was handed over is left to whom it was handed to. */
  async close(): Promise<void> {
    for (const socket of this.#strangers.values()) socket.destroy();
    await Promise.all([closed(this.#server), this.#near && closed(this.#near)]);
  }

  #secureServer(certificates: CertificateFolder): TlsServer {
    const server = createTlsServer({
      ...contextOf(certificates),
      ALPNProtocols: protocols,
      requestCert: true,
      // Looked at below: so that it is known why somebody was refused.
      rejectUnauthorized: false,
    });
    server.on("connection", (socket: Socket) => this.#came(socket));
    server.on("secureConnection", (socket: TLSSocket) => this.#showed(socket, certificates.current.identity));
    server.on("tlsClientError", (error: NodeJS.ErrnoException, socket: TLSSocket) => {
      // Who left by itself was not refused.
      if (error.code === "ECONNRESET") return;
      const kind = handshakeErrors[error.code ?? ""] ?? "no TLS handshake";
      this.#note(kind, socket.remoteAddress, messageOf(error));
    });
    return server;
  }

  #came(socket: Socket): void {
    const key = nameOf(socket);
    this.#strangers.set(key, socket);
    // Node's own limit for handshakes begins anew with every byte.
    const late = setTimeout(() => {
      if (this.#strangers.get(key) !== socket) return;
      this.#note("no certificate in time", socket.remoteAddress, `${this.#options.handshakeMs} ms`);
      socket.destroy();
    }, this.#options.handshakeMs);
    socket.once("close", () => {
      clearTimeout(late);
      if (this.#strangers.get(key) === socket) this.#strangers.delete(key);
    });
    if (this.#strangers.size <= maxStrangers) return;
    const [oldest] = this.#strangers.values();
    this.#note(
      "too many connections without a certificate",
      oldest?.remoteAddress,
      `more than ${maxStrangers} at a time`,
    );
    oldest?.destroy();
  }

  #showed(socket: TLSSocket, own: Identity): void {
    this.#strangers.delete(nameOf(socket));
    socket.on("error", () => undefined); // until it is handed over nobody else listens
    const shown = socket.getPeerCertificate();
    const peer = socket.authorized ? identityIn(shown.subjectaltname) : null;
    const refusal = this.#whyRefused(socket, Object.keys(shown).length > 0, peer, own);
    if (refusal === null) {
      this.#options.onConnection(socket, peer);
      return;
    }
    const from = peer === null ? socket.remoteAddress : `${described(peer)} at ${socket.remoteAddress}`;
    this.#note(refusal.kind, from, refusal.detail);
    socket.end(encodeGoodbye(`refused: ${refusal.kind}, ${refusal.detail}`));
    // What it still says has to be read, or it would not read why.
    socket.resume();
    socket.setTimeout(this.#options.handshakeMs, () => socket.destroy());
  }

  #whyRefused(
    socket: TLSSocket,
    hasShown: boolean,
    peer: Identity | null,
    own: Identity,
  ): Pick<Refusal, "kind" | "detail"> | null {
    if (!hasShown) return { kind: "no certificate", detail: "one of this cluster's authority was expected" };
    if (!socket.authorized) {
      // The type says it is an error; it is its code.
      const code = String(socket.authorizationError);
      return { kind: certificateErrors[code] ?? "a certificate that is not trusted", detail: code };
    }
    const why = whyNot(peer, own, this.#options.peers);
    if (why !== null) return { kind: "the certificate of somebody else", detail: why };
    return socket.alpnProtocol === "h2" ? null : { kind: "another protocol", detail: "HTTP/2 was expected" };
  }

  #note(kind: RefusalKind, from: string | undefined, detail: string): void {
    this.#options.refusals.note({ kind, from: from ?? "somebody who is gone", detail });
  }
}

/** By OpenSSL's and Node's codes, which are many: those that an operator tells apart. */
const handshakeErrors: Readonly<Record<string, RefusalKind>> = {
  ERR_SSL_WRONG_VERSION_NUMBER: "plain text on a port for TLS",
  ERR_SSL_HTTP_REQUEST: "plain text on a port for TLS",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "plain text on a port for TLS",
  ERR_SSL_UNSUPPORTED_PROTOCOL: "TLS that is too old",
  ERR_SSL_VERSION_TOO_LOW: "TLS that is too old",
  ERR_SSL_NO_APPLICATION_PROTOCOL: "another protocol",
  ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM: "a certificate that is not trusted",
};

const certificateErrors: Readonly<Record<string, RefusalKind>> = {
  CERT_HAS_EXPIRED: "a certificate that is over",
  CERT_NOT_YET_VALID: "a certificate that is not valid yet",
};

function contextOf(certificates: CertificateFolder) {
  const { ca, certificate, key } = certificates.current;
  return {
    ...({ ca, cert: certificate, key, minVersion } as const),
    // The first is the fastest where processors have instructions for it, and as good as the others.
    ciphers: "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256",
    honorCipherOrder: true,
    // A session that is taken up again would not be looked at again: a certificate may be over, or its authority be gone.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

function listening(server: Server, where: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(where, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => void server.close(() => resolve()));
}

function nameOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** What a failed listen means to the user. */
function listenError(address: string, error: unknown): LockstepError {
  const taken = (error as NodeJS.ErrnoException).code === "EADDRINUSE";
  return new LockstepError(
    "address-unavailable",
    `Cannot listen on ${address}: ${taken ? "the port is in use" : messageOf(error)}.`,
    {
      hint: taken
        ? "Name another port, or 0 for any free one."
        : "Name an address of this machine, for instance 127.0.0.1:0.",
      cause: error,
    },
  );
}
