/**
 * Liveness by a TCP connection that is held open and never written to. When a process dies, its kernel ends its
 * connections at once and refuses new ones; when a host or a network dies, nothing is heard at all.
 */
import { connect, type Socket } from "node:net";
import type { Clock } from "../../ports/clock.ts";
import type { Liveness } from "../../ports/liveness.ts";

/** Between attempts while the address neither accepts nor refuses, and after a connection that ended. */
const retryMs = 100;

export function tcpLiveness(clock: Clock): Liveness {
  return {
    watch(address, onGone) {
      const closed = new AbortController();
      void watchUntilGone(address, clock, closed.signal).then((gone) => {
        if (gone && !closed.signal.aborted) onGone();
      });
      return { close: () => closed.abort() };
    },
  };
}

/** True when the address refuses; false when the signal is aborted. */
async function watchUntilGone(address: string, clock: Clock, signal: AbortSignal): Promise<boolean> {
  while (!signal.aborted) {
    if ((await connectionEnd(address, signal)) === "refused") return true;
    await clock.sleep(retryMs, signal).catch(() => undefined);
  }
  return false;
}

function connectionEnd(address: string, signal: AbortSignal): Promise<"refused" | "ended"> {
  const at = address.lastIndexOf(":");
  const host = address.slice(0, at).replace(/^\[|\]$/g, "");
  return new Promise((resolve) => {
    const socket: Socket = connect({ host, port: Number(address.slice(at + 1)) });
    const end = (how: "refused" | "ended") => {
      signal.removeEventListener("abort", abort);
      socket.destroy();
      resolve(how);
    };
    const abort = () => end("ended");
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    socket.on("error", (error: NodeJS.ErrnoException) => end(error.code === "ECONNREFUSED" ? "refused" : "ended"));
    socket.on("close", () => end("ended"));
    // The other side's bytes (HTTP/2 settings) are of no interest, but must be read for its end to be noticed.
    socket.resume();
  });
}
