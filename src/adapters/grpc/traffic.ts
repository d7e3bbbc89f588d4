/** Bytes that went over a process' connections to its peers, those included that are closed by now. Before TLS. */
import type { Socket } from "node:net";

export interface TrafficCounts {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

export class Traffic {
  readonly #open = new Set<Socket>();
  #closed: TrafficCounts = { sentBytes: 0, receivedBytes: 0 };

  follow(socket: Socket): void {
    this.#open.add(socket);
    socket.once("close", () => {
      this.#open.delete(socket);
      this.#closed = sum(this.#closed, socket);
    });
  }

  get counts(): TrafficCounts {
    return [...this.#open].reduce(sum, this.#closed);
  }
}

function sum({ sentBytes, receivedBytes }: TrafficCounts, { bytesWritten, bytesRead }: Socket): TrafficCounts {
  return { sentBytes: sentBytes + bytesWritten, receivedBytes: receivedBytes + bytesRead };
}
