/**
 * A worker's connections to its peers. They outlive generations: to open one takes longer than anything else while a
 * generation forms. A connection on which something went wrong is not used again.
 */
import type { CertificateFolder } from "../tls/certificate-folder.ts";
import { StreamingClient } from "./client.ts";
import type { Traffic } from "./traffic.ts";

interface PeerClient {
  readonly client: StreamingClient;
  /** The worker that has to answer; null: any. */
  readonly name: string | null;
}

export class PeerConnections {
  readonly #connectMs: number;
  readonly #certificates: CertificateFolder | null;
  readonly #traffic: Traffic;
  readonly #clients = new Map<string, PeerClient>();

  /** @param connectMs how long a connection may be silent */
  constructor(connectMs: number, certificates: CertificateFolder | null, traffic: Traffic) {
    this.#traffic = traffic;
    this.#connectMs = connectMs;
    this.#certificates = certificates;
  }

  /** @param name whom its certificate has to name, if anybody in particular; without certificates nobody looks */
  to(address: string, name: string | null): StreamingClient {
    const known = this.#clients.get(address);
    if (known && !known.client.isClosed && (name === null || name === known.name)) return known.client;
    known?.client.close();
    const peers = { roles: ["worker"], ...(name !== null && { name }) } as const;
    const client = new StreamingClient(address, this.#connectMs / 2, this.#certificates, peers, this.#traffic);
    this.#clients.set(address, { client, name });
    return client;
  }

  /** Says whether a connection came about; no later than `connectMs`, and not after the first attempt that failed. */
  whenConnected(address: string, name: string | null, then: (isConnected: boolean) => void): void {
    const client = this.to(address, name);
    let isSaid = false;
    const say = (isConnected: boolean) => {
      if (isSaid) return;
      isSaid = true;
      clearTimeout(deadline);
      if (!isConnected) this.drop(address, client);
      then(isConnected);
    };
    const deadline = setTimeout(() => say(false), this.#connectMs);
    client.whenConnected(say);
  }

  /** Ends this connection; the next one to the address is a new one. */
  drop(address: string, client: StreamingClient): void {
    if (this.#clients.get(address)?.client === client) this.#clients.delete(address);
    client.close();
  }

  /** Ends the connections to all others. */
  keepOnly(addresses: readonly string[]): void {
    for (const [address, { client }] of this.#clients) if (!addresses.includes(address)) this.drop(address, client);
  }
}
