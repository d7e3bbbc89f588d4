/**
 * The network of a gameday: between any two processes lies a TCP proxy, and each direction between them can be cut. A cut
 * swallows: nothing passes, and nobody is told, as when a cable is pulled. Bytes that were lost are lost, so when a cut is
 * healed the connections that lost some end, as TCP's own would in time.
 */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { ownerOfPort } from "./socket-owner.ts";

export interface NetworkProxy {
  /** As "127.0.0.1:port". */
  readonly address: string;
  /** Where it leads from now on; null: nowhere. */
  lead(to: string | null): void;
  close(): Promise<void>;
}

interface Link {
  readonly from: string;
  readonly to: string;
  readonly end: () => void;
  lostBytes: boolean;
}

export class Network {
  /** "a>b" for every direction that is cut. */
  readonly #cuts = new Set<string>();
  readonly #links = new Set<Link>();
  readonly #proxies: NetworkProxy[] = [];
  /** Bytes that cuts have swallowed. */
  swallowed = 0;
  /** Process ids by name, for proxies that many call. */
  readonly #pids: () => ReadonlyMap<number, string>;

  constructor(pids: () => ReadonlyMap<number, string>) {
    this.#pids = pids;
  }

  /** Nothing that `from` sends reaches `to`. */
  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
  }

  heal(): void {
    this.#cuts.clear();
    for (const link of [...this.#links]) if (link.lostBytes) link.end();
  }

  /**
   * A proxy before `to`. Without `from`, its callers are told apart by the process that owns their socket. While it leads
   * nowhere it refuses, as the port of a process that is gone does.
   */
  async open(to: string, from: string | null, target: string | null): Promise<NetworkProxy> {
    let lead = target;
    const server = createServer({ pauseOnConnect: true }, (caller) => {
      if (lead === null) return void caller.destroy();
      this.#join(caller, lead, from ?? ownerOfPort(caller.remotePort ?? 0, this.#pids()) ?? "somebody", to);
    });
    // Another process has taken the port meanwhile: peers find out as they would of any broken network.
    server.on("error", () => undefined);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    // A server that listens on TCP has an address of this kind.
    const { port } = server.address() as AddressInfo;
    if (target === null) server.close();
    const proxy: NetworkProxy = {
      address: `127.0.0.1:${port}`,
      lead: (next) => {
        lead = next;
        if (next === null) server.close();
        else if (!server.listening) server.listen(port, "127.0.0.1");
      },
      close: () => new Promise((resolve) => server.close(() => resolve())),
    };
    this.#proxies.push(proxy);
    return proxy;
  }

  async close(): Promise<void> {
    const closed = this.#proxies.map((proxy) => proxy.close());
    for (const link of [...this.#links]) link.end();
    await Promise.all(closed);
  }

  #join(caller: Socket, target: string, from: string, to: string): void {
    const at = target.lastIndexOf(":");
    const called = connect({ host: target.slice(0, at), port: Number(target.slice(at + 1)) });
    caller.on("error", () => undefined);
    caller.setNoDelay(true);
    called.setNoDelay(true);
    const link: Link = {
      from,
      to,
      lostBytes: false,
      end: () => {
        caller.destroy();
        called.destroy();
        this.#links.delete(link);
      },
    };
    this.#links.add(link);
    const pass = (source: Socket, sink: Socket, direction: string) => {
      source.on("data", (bytes: Buffer) => {
        if (this.#cuts.has(direction)) {
          link.lostBytes = true;
          this.swallowed += bytes.length;
        } else if (!sink.write(bytes)) {
          source.pause();
          sink.once("drain", () => source.resume());
        }
      });
      source.on("error", link.end);
      // An end that does not get through is lost too.
      source.on("close", () => {
        if (this.#cuts.has(direction)) link.lostBytes = true;
        else link.end();
      });
    };
    pass(caller, called, `${from}>${to}`);
    pass(called, caller, `${to}>${from}`);
    caller.resume();
  }
}
