/** What the processes of a cluster say and take, as a benchmark reads it: without asking the coordinator. */
import { readFile } from "node:fs/promises";
import { systemClock } from "../src/adapters/system/clock.ts";

/** Steps that are committed, by a worker's own word: the coordinator's is a moment old. */
export async function committed(address: string): Promise<{ readonly step: number; readonly atMs: number }> {
  const text = await (await fetch(`http://${address}/metrics`)).text();
  const [, step] = /^lockstep_step(?:{[^}]*})? (\S+)$/m.exec(text) ?? [];
  if (step === undefined) throw new Error(`http://${address}/metrics says no step.`);
  return { step: Number(step), atMs: systemClock.monotonicMs() };
}

/** Of these processes together, since they were started: user and system time, which Linux counts in hundredths of a second. */
export async function processorMs(pids: readonly number[]): Promise<number> {
  const times = pids.map(async (pid) => {
    const words = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1]!.split(" ");
    return (Number(words[11]) + Number(words[12])) * 10;
  });
  return (await Promise.all(times)).reduce((sum, ms) => sum + ms, 0);
}
