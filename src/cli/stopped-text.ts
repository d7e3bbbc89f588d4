/** What a launch that was stopped says at its end: what is saved, and how to go on. */
import { createLog } from "../adapters/system/log.ts";
import { CheckpointError } from "../core/manifest.ts";
import type { GoOn } from "../core/run-result.ts";
import type { CheckpointPointer, ClusterStatus } from "../core/status.ts";
import { launchCommand } from "../core/summary-table.ts";
import { openStorage } from "./open-storage.ts";

export interface Stopped {
  /** By whoever launched it, and not by somebody else. */
  readonly byUser: boolean;
  readonly goOn: GoOn;
  /** Where the run's checkpoints are. */
  readonly checkpoints: string;
}

/** Reads the checkpoint back that it names, as hands may have been on it. */
export async function stoppedText(
  { latest, reason }: Pick<ClusterStatus, "latest" | "reason">,
  { byUser, goOn, checkpoints }: Stopped,
): Promise<string> {
  const wrong = latest && (await wrongWith(latest, checkpoints));
  const saved = latest ? `step ${latest.step} is saved` : "nothing was trained yet";
  const where = wrong
    ? `step ${latest.step} was saved, and is not whole any more (${wrong.replace(/\.$/, "")}), so the next start goes on from what is whole`
    : saved;
  return `Stopped${byUser ? "" : ` (${reason})`}: ${where}. Go on with: ${launchCommand(goOn)}`;
}

/** As a sentence; null if nothing is wrong, or nobody can tell from here. */
async function wrongWith({ id }: CheckpointPointer, checkpoints: string): Promise<string | null> {
  const log = createLog({ stream: process.stderr, format: "text", level: "error" });
  try {
    await (await openStorage(checkpoints, log)).check(id);
    return null;
  } catch (error) {
    const isWrong = error instanceof CheckpointError && ["missing", "corrupt"].includes(error.problem);
    return isWrong ? error.message : null;
  }
}
