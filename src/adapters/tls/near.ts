/**
 * The shorter way between two processes of one machine: a socket of the system's own, beside the port on loopback. A byte costs a third
 * less of the processor by it than by TCP (docs/performance.md). Its name is an "abstract" one of Linux: there is no file to leave
 * behind, it ends with its process, and it belongs to a network namespace, as loopback addresses do. Whoever reaches the port reaches it,
 * and nobody else; so only loopback addresses have one, and only where there are no certificates: over TLS the bytes themselves cost
 * next to nothing.
 */
import { hostAndPort, isLoopback } from "../../core/addresses.ts";

/** As long as such a name can be: shorter ones Node writes down in different ways, by its version. */
const nameBytes = 108;

/** Null where there is none. */
export function nearName(address: string): string | null {
  const hasOne = process.platform === "linux" && isLoopback(hostAndPort(address).host);
  return hasOne ? `\0lockstep ${address} `.padEnd(nameBytes, "-") : null;
}
