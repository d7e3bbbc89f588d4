/**
 * Liveness by a TCP connection that is held open and never written to. When a process dies, its kernel ends its
 * connections at once and refuses new ones; when a host or a network dies, nothing is heard at all.
 */
import type { Clock } from "../../ports/clock.ts";
import type { Liveness } from "../../ports/liveness.ts";
import type { CertificateFolder } from "../tls/certificate-folder.ts";
import { dial } from "../tls/dial.ts";

/** Between attempts while the address neither accepts nor refuses, and after a connection that ended. */
const retryMs = 100;

/** @param certificates shown to whoever asks for one before it keeps a connection open; null: nobody does */
export function tcpLiveness(clock: Clock, certificates: CertificateFolder | null): Liveness {
  return {
    watch(address, onGone) {
      const closed = new AbortController();
      void watchUntilGone(address, certificates, clock, closed.signal).then((gone) => {
        if (gone && !closed.signal.aborted) onGone();
      });
      return { close: () => closed.abort() };
    },
  };
}

/** True when the address refuses; false when the signal is aborted. */
async function watchUntilGone(
  address: string,
  certificates: CertificateFolder | null,
  clock: Clock,
  signal: AbortSignal,
): Promise<boolean> {
  while (!signal.aborted) {
    if ((await connectionEnd(address, certificates, signal)) === "refused") return true;
    await clock.sleep(retryMs, signal).catch(() => undefined);
  }
  return false;
}

function connectionEnd(
  address: string,
  certificates: CertificateFolder | null,
  signal: AbortSignal,
): Promise<"refused" | "ended"> {
  return new Promise((resolve) => {
    const socket = dial(address, certificates, { roles: ["worker", "coordinator"] });
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
