import { readFileSync } from "node:fs";

/**
 * Whether the processor has AVX2, the instruction set that exactness is fixed to (see `engineEnvironment`). True where
 * that does not matter or cannot be known: on other architectures, and on other systems than Linux.
 */
export function hasAvx2(): boolean {
  if (process.platform !== "linux" || process.arch !== "x64") return true;
  return / avx2( |$)/m.test(readFileSync("/proc/cpuinfo", "latin1"));
}
