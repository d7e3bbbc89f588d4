/**
 * A worker's connections to its peers. They outlive generations: to open one takes longer than anything else while a
 * generation forms. A connection on which something went wrong is not used again.
 */
import { StreamingClient } from "./client.ts";

export class PeerConnections {
  readonly #connectMs: number;
  readonly #clients = new Map<string, StreamingClient>();

  /** @param connectMs how long a connection may be silent */
  constructor(connectMs: number) {
    this.#connectMs = connectMs;
  }

  to(address: string): StreamingClient {
    const known = this.#clients.get(address);
    if (known && !known.isClosed) return known;
    const client = new StreamingClient(address, this.#connectMs / 2);
    this.#clients.set(address, client);
    return client;
  }

  /** Says whether a connection came about; no later than `connectMs`, and not after the first attempt that failed. */
  whenConnected(address: string, then: (isConnected: boolean) => void): void {
    const client = this.to(address);
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
    if (this.#clients.get(address) === client) this.#clients.delete(address);
    client.close();
  }

  /** Ends the connections to all others. */
  keepOnly(addresses: readonly string[]): void {
    for (const [address, client] of this.#clients) if (!addresses.includes(address)) this.drop(address, client);
  }
}
