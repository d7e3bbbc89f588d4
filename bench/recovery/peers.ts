/** The peers' recoveries, from the programs in bench/peers: torchrun, and torchft at two settings. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { peerProgram, pythonCommand } from "../python.ts";

/** A run that hangs ends itself after a minute or two. */
const runLimitMs = 180_000;

export interface PeerReadings {
  readonly peer: string;
  readonly runs: number;
  readonly steps: readonly number[];
  readonly nextStep: readonly number[];
  readonly startToStep: readonly number[];
  /** What kept it from more runs; null when it made all. */
  readonly failure: string | null;
}

/** What a peer's program prints for one run; null for what did not happen within its limit. */
interface PeerRun {
  readonly step_ms: number | null;
  readonly survivors_ms: number | null;
  /** torchrun starts all workers again, so it has none. */
  readonly start_ms?: number | null;
}

export interface Peer {
  readonly peer: string;
  readonly file: string;
  readonly settings: readonly string[];
}

export const peers: readonly Peer[] = [
  { peer: "torchrun", file: "torchrun_recovery.py", settings: [] },
  { peer: "torchft", file: "torchft_recovery.py", settings: ["60000"] },
  { peer: "torchft-quickest", file: "torchft_recovery.py", settings: ["100"] },
];

/** Each run is kept as soon as it is over: whatever happens in a later one, these have been measured. */
export async function measurePeer(
  { peer, file, settings }: Peer,
  runs: number,
  say: (line: string) => void,
): Promise<PeerReadings> {
  const done: PeerRun[] = [];
  const words = ["-B", peerProgram(file), String(runs), ...settings];
  const child = spawn(pythonCommand("python"), words, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<string | null>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) => resolve(code === 0 ? null : `it ended with ${signal ?? code}`));
  });
  let isLate = false;
  const giveUp = () => {
    isLate = true;
    child.kill("SIGKILL");
  };
  let timer = setTimeout(giveUp, runLimitMs);
  for await (const line of createInterface({ input: child.stdout })) {
    clearTimeout(timer);
    timer = setTimeout(giveUp, runLimitMs);
    done.push(JSON.parse(line) as PeerRun); // what the programs print
    say(`${peer}: run ${done.length} of ${runs}`);
  }
  clearTimeout(timer);
  const why = await ended;
  const known = (values: readonly (number | null | undefined)[]) => values.filter((value) => typeof value === "number");
  return {
    peer,
    runs: done.length,
    steps: known(done.map((run) => run.step_ms)),
    nextStep: known(done.map((run) => run.survivors_ms)),
    startToStep: known(done.map((run) => run.start_ms)),
    failure: isLate ? `a run was not over within ${runLimitMs / 1000} s` : why,
  };
}
