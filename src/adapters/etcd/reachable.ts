import { connect } from "node:net";

/**
 * Rejects unless something accepts TCP connections there in time. Asked before gRPC is: gRPC cannot be told to give an
 * attempt up, so each one at an address that swallows packets would outlive its client by up to minutes, and hold the
 * process with it. This one ends when it should, and its errors are short ones.
 *
 * @param url as "http://host:port"
 */
export function checkReachable(url: string, timeoutMs: number, signal: AbortSignal): Promise<void> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    // URL writes an IPv6 address in brackets, and drops a port that is its protocol's default.
    const host = hostname.replace(/^\[(.*)\]$/, "$1");
    const defaultPort = url.startsWith("https:") ? 443 : 80;
    const socket = connect({ host, port: Number(port) || defaultPort });
    const abort = (): void => {
      socket.destroy(signal.reason);
    };
    socket.setTimeout(Math.max(1, timeoutMs), () => {
      socket.destroy(new Error(`no connection within ${Math.round(timeoutMs)} ms`));
    });
    socket.once("connect", () => {
      socket.destroy();
      resolve();
    });
    socket.once("error", reject);
    socket.once("close", () => signal.removeEventListener("abort", abort));
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
  });
}
