import { readFileSync } from "node:fs";
import { cpus } from "node:os";

/** Instruction sets by which mathematical libraries choose their code, in the kernel's words. */
const notable = /^(sse4_2|avx|avx2|fma|f16c|avx512\w*|avx_\w+|amx_\w+|asimd\w*|sve\w*|i8mm|bf16)$/;

/** The processor's instruction sets as far as they may decide how a library computes; elsewhere than on Linux its name. */
export function instructionSets(): string {
  const model = cpus()[0]?.model ?? process.arch;
  if (process.platform !== "linux") return model;
  const listed = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "latin1"))?.[1] ?? "";
  const found = listed.split(/\s+/).filter((name) => notable.test(name));
  return found.length > 0 ? found.sort().join(" ") : model;
}
