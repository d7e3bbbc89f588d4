/** Opens connections: in plain text, or by TLS with both ends' certificates, of which the other's must name who is meant. */
import { connect, type Socket, type TcpSocketConnectOpts } from "node:net";
import { type ConnectionOptions, connect as connectTls, createSecureContext, type PeerCertificate } from "node:tls";
import { credentials as grpc, type ChannelCredentials } from "@grpc/grpc-js";
import { hostAndPort } from "../../core/addresses.ts";
import { identityIn, type PeerRule, whyNot } from "../../core/identity.ts";
import type { CertificateFolder } from "./certificate-folder.ts";
import { nearName } from "./near.ts";

/** The oldest TLS that is spoken. */
export const minVersion = "TLSv1.3";
export const protocols = ["h2"];

/** @param certificates null: in plain text, and whoever answers is taken for who was meant */
export function dial(
  address: string,
  certificates: CertificateFolder | null,
  peers: PeerRule,
  onread?: TcpSocketConnectOpts["onread"],
): Socket {
  const { host, port } = hostAndPort(address);
  const reading = onread === undefined ? {} : { onread };
  if (certificates === null) return connect({ host, port, ...reading });
  const { ca, certificate, key } = certificates.current;
  const options: ConnectionOptions = { host, port, ca, cert: certificate, key, minVersion, ALPNProtocols: protocols };
  const socket = connectTls({ ...options, ...reading, ...checks(certificates, peers) });
  socket.once("secureConnect", () => {
    if (socket.alpnProtocol !== "h2") socket.destroy(new Error("it does not speak HTTP/2 over TLS"));
  });
  return socket;
}

/**
 * The same by the shorter way where there is one (near.ts). A proxy, or a server that is none of this project's, has none: nobody
 * answers there, and the port is asked.
 */
export function dialNear(
  address: string,
  certificates: CertificateFolder | null,
  peers: PeerRule,
  onread: TcpSocketConnectOpts["onread"],
  then: (socket: Socket) => void,
): void {
  const path = certificates === null ? nearName(address) : null;
  if (path === null) return void then(dial(address, certificates, peers, onread));
  const failed = () => then(dial(address, certificates, peers, onread));
  // Node takes `onread` here too, which its types do not say.
  const socket = connect({ path, onread } as TcpSocketConnectOpts & { path: string });
  socket.once("error", failed);
  socket.once("connect", () => {
    socket.off("error", failed);
    then(socket);
  });
}

/** The same for a client of grpc-js: with the certificates as they are now. */
export function channelCredentials(certificates: CertificateFolder | null, peers: PeerRule): ChannelCredentials {
  if (certificates === null) return grpc.createInsecure();
  const { ca, certificate, key } = certificates.current;
  const context = createSecureContext({ ca, cert: certificate, key, minVersion });
  return grpc.createFromSecureContext(context, checks(certificates, peers));
}

/** What such a client says whom it calls: it would say the address, which TLS does not allow. */
export const targetName = { "grpc.ssl_target_name_override": "lockstep" } as const;

/** In place of the comparison of host names: addresses change, and say nothing about who is there. */
function checks(certificates: CertificateFolder, peers: PeerRule) {
  return {
    checkServerIdentity(_host: string, { subjectaltname }: PeerCertificate): Error | undefined {
      const why = whyNot(identityIn(subjectaltname), certificates.current.identity, peers);
      return why === null ? undefined : new Error(`whoever answers is not who was called: ${why}`);
    },
  };
}
