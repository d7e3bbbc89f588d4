/** A server of grpc-js behind this project's own listener, which knows who may come. */
import { type Server, ServerCredentials, type ServerUnaryCall, type ServerWritableStream } from "@grpc/grpc-js";
import { described, type Identity, identityIn, type PeerRule } from "../../core/identity.ts";
import { Listener } from "../tls/listener.ts";
import type { Security } from "../tls/security.ts";
import { status } from "./services.ts";

export interface Serving {
  /** With the port that was bound. */
  readonly address: string;
  close(): void;
}

export async function serve(
  server: Server,
  listen: string,
  security: Security,
  peers: PeerRule,
  handshakeMs: number,
): Promise<Serving> {
  // Connections come to it as they are: TLS, where there is any, is the listener's.
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const onConnection = injector.injectConnection.bind(injector);
  const listener = new Listener({ ...security, peers, handshakeMs, onConnection });
  const address = await listener.listen(listen);
  return {
    address,
    close() {
      void listener.close();
      server.forceShutdown();
    },
  };
}

type AnyCall = Pick<ServerUnaryCall<never, never> & ServerWritableStream<never, never>, "getAuthContext">;

/**
 * Why a call is refused that only some may make, as gRPC's status; null if it may be made. `name`: the call is made in the name
 * of this worker.
 */
export function refusalOf(
  call: AnyCall,
  { certificates, refusals }: Security,
  peers: PeerRule,
  what: string,
): { readonly code: number; readonly details: string } | null {
  if (certificates === null) return null;
  const peer = peerOf(call);
  const mayCall =
    peer !== null && peers.roles.includes(peer.role) && (peers.name === undefined || peers.name === peer.name);
  if (mayCall) return null;
  const who = peer === null ? "nobody" : `the ${described(peer)}`;
  const details = `${who} may not ${what}`;
  refusals.note({ kind: "a call in another's name", from: who, detail: details });
  return { code: status.PERMISSION_DENIED, details };
}

function peerOf(call: AnyCall): Identity | null {
  return identityIn(call.getAuthContext().sslPeerCertificate?.subjectaltname);
}
