/** The peers' recoveries, from the programs in bench/peers: torchrun, and torchft at two settings. */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { cacheDirectory } from "../../src/adapters/system/cache.ts";
import type { Skipped } from "../results.ts";

const folder = fileURLToPath(new URL("../peers", import.meta.url));
/** A run that hangs ends itself after a minute or two. */
const runLimitMs = 180_000;

export interface PeerReadings {
  readonly peer: string;
  readonly runs: number;
  readonly steps: readonly number[];
  readonly nextStep: readonly number[];
  readonly startToStep: readonly number[];
}

/** What a peer's program prints for one run; null for what did not happen within its limit. */
interface PeerRun {
  readonly step_ms: number | null;
  readonly survivors_ms: number | null;
  /** torchrun starts all workers again, so it has none. */
  readonly start_ms?: number | null;
}

const programs = [
  { peer: "torchrun", file: "torchrun_recovery.py", settings: [] },
  { peer: "torchft", file: "torchft_recovery.py", settings: ["60000"] },
  { peer: "torchft-quickest", file: "torchft_recovery.py", settings: ["100"] },
] as const;

export async function measurePeers(
  runs: number,
  say: (line: string) => void,
): Promise<{ readings: readonly PeerReadings[]; skipped: readonly Skipped[] }> {
  const python = join(cacheDirectory(), "peers", "bin", "python");
  if (!existsSync(join(cacheDirectory(), "peers", "ready"))) {
    const why = "its Python environment is not there: bench/peers/setup.sh makes it";
    return { readings: [], skipped: programs.map(({ peer }) => ({ peer, why })) };
  }
  const readings: PeerReadings[] = [];
  const skipped: Skipped[] = [];
  for (const { peer, file, settings } of programs) {
    say(`${peer}: ${runs} runs`);
    try {
      const words = ["-B", join(folder, file), String(runs), ...settings];
      const { stdout } = await promisify(execFile)(python, words, { timeout: runs * runLimitMs });
      readings.push(readingsOf(peer, stdout));
    } catch (error) {
      skipped.push({ peer, why: String(error) });
    }
  }
  return { readings, skipped };
}

function readingsOf(peer: string, stdout: string): PeerReadings {
  const runs = stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as PeerRun); // what the programs print
  const known = (values: readonly (number | null | undefined)[]) => values.filter((value) => typeof value === "number");
  return {
    peer,
    runs: runs.length,
    steps: known(runs.map((run) => run.step_ms)),
    nextStep: known(runs.map((run) => run.survivors_ms)),
    startToStep: known(runs.map((run) => run.start_ms)),
  };
}

/** The versions that set-up pins. */
export function peerVersions(): Record<string, string> {
  const lines = readFileSync(join(folder, "requirements.txt"), "utf8").trim().split("\n");
  return Object.fromEntries(lines.map((line) => line.split("==") as [string, string])); // one pin a line
}
