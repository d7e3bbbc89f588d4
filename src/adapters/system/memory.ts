import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import type { MemoryLimit } from "../../core/memory-need.ts";

/** What this process may have at most: all of the machine, or of its container (cgroup), whichever is less. */
export function memoryLimit(): MemoryLimit {
  const machine = totalmem();
  // 0, or far more than there is, where nothing is limited.
  const container = process.constrainedMemory();
  return container > 0 && container < machine
    ? { bytes: container, whose: "this container" }
    : { bytes: machine, whose: "this machine" };
}

/** Bytes of this process that no file stands for: pages of libraries can be read again, and take nobody's place. */
export function memoryInUse(): number {
  try {
    const [, kilobytes] = /^RssAnon:\s*(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
    if (kilobytes !== undefined) return Number(kilobytes) * 1024;
  } catch {
    // Other systems do not tell them apart.
  }
  return process.memoryUsage.rss();
}
