/**
 * A worker's connections to its peers. They outlive generations: to open one takes longer than anything else while a
 * generation forms. A connection on which something went wrong is not used again.
 */
import { connectivityState, credentials } from "@grpc/grpc-js";
import { CollectiveClient, keepalive, peerOptions } from "./services.ts";

export type PeerClient = InstanceType<typeof CollectiveClient>;

export class PeerConnections {
  readonly #connectMs: number;
  readonly #clients = new Map<string, PeerClient>();

  /** @param connectMs how long a connection may be silent */
  constructor(connectMs: number) {
    this.#connectMs = connectMs;
  }

  to(address: string): PeerClient {
    const known = this.#clients.get(address);
    if (known) return known;
    const silenceMs = this.#connectMs / 2;
    const client = new CollectiveClient(address, credentials.createInsecure(), {
      ...peerOptions,
      ...keepalive(silenceMs, silenceMs),
    });
    this.#clients.set(address, client);
    return client;
  }

  /** Says whether a connection came about; no later than `connectMs`, and not after the first attempt that failed. */
  whenConnected(address: string, then: (isConnected: boolean) => void): void {
    const client = this.to(address);
    const deadline = Date.now() + this.#connectMs;
    const look = () => {
      const state = client.getChannel().getConnectivityState(true);
      if (state === connectivityState.READY) return void then(true);
      const fail = () => {
        this.drop(address, client);
        then(false);
      };
      if (state === connectivityState.TRANSIENT_FAILURE || state === connectivityState.SHUTDOWN) return void fail();
      client.getChannel().watchConnectivityState(state, deadline, (error) => (error ? fail() : look()));
    };
    look();
  }

  /** Ends this connection; the next one to the address is a new one. */
  drop(address: string, client: PeerClient): void {
    client.close();
    if (this.#clients.get(address) === client) this.#clients.delete(address);
  }

  /** Ends the connections to all others. */
  keepOnly(addresses: readonly string[]): void {
    for (const [address, client] of this.#clients) if (!addresses.includes(address)) this.drop(address, client);
  }
}
