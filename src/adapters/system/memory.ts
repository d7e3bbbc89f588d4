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
