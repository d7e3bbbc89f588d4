/**
 * Which of some processes a TCP connection on loopback comes from: peers all call the same address, and nothing that they
 * send says who they are. Linux only; elsewhere nobody is known, and what needs it is skipped.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export const socketOwnersAreKnown = process.platform === "linux";

/** The name of the process whose socket has this local port; null when it is none of them. */
export function ownerOfPort(port: number, names: ReadonlyMap<number, string>): string | null {
  if (!socketOwnersAreKnown) return null;
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const inodes = ["tcp", "tcp6"].flatMap((file) =>
    read(`/proc/net/${file}`)
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local = ""]) => local.endsWith(`:${hex}`))
      .map((fields) => `socket:[${fields[9]}]`),
  );
  for (const [pid, name] of names) {
    if (descriptors(pid).some((link) => inodes.includes(link))) return name;
  }
  return null;
}

function descriptors(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return ""; // closed meanwhile
      }
    });
  } catch {
    return []; // the process has ended
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
