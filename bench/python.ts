/** The peers' Python environment, which bench/peers/setup.sh makes, and the programs in bench/peers. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheDirectory } from "../src/adapters/system/cache.ts";

const environment = () => join(cacheDirectory(), "peers");

/** Why peers are not measured; null when they can be. */
export function whyNoPeers(noPeers: boolean | undefined): string | null {
  if (noPeers) return "--no-peers";
  if (existsSync(join(environment(), "ready"))) return null;
  return "its Python environment is not there: bench/peers/setup.sh makes it";
}

/** A command of the environment: "python", or what a package brings. */
export function pythonCommand(name: string): string {
  return join(environment(), "bin", name);
}

/** The path of a program in bench/peers. */
export function peerProgram(name: string): string {
  return fileURLToPath(new URL(`./peers/${name}`, import.meta.url));
}

/** The versions that set-up pins. */
export function peerVersions(): Record<string, string> {
  const lines = readFileSync(peerProgram("requirements.txt"), "utf8").trim().split("\n");
  return Object.fromEntries(lines.map((line) => line.split("==") as [string, string])); // one pin a line
}
