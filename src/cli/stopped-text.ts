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
    ? `step ${latest.step} was saved, and is not whole any more (${wrong.reason.replace(/\.$/, "")}); ${wrong.next}`
    : saved;
  return `Stopped${byUser ? "" : ` (${reason})`}: ${where}. Go on with: ${launchCommand(goOn)}`;
}

interface Wrong {
  readonly reason: string;
  /** What a start goes on from. */
  readonly next: string;
}

/** Null if nothing is wrong, or nobody can tell from here. */
async function wrongWith({ id }: CheckpointPointer, checkpoints: string): Promise<Wrong | null> {
  const log = createLog({ stream: process.stderr, format: "text", level: "error" });
  const storage = await openStorage(checkpoints, log);
  try {
    await storage.check(id);
    return null;
  } catch (error) {
    if (!(error instanceof CheckpointError && ["missing", "corrupt"].includes(error.problem))) return null;
    const others = (await storage.list()).filter((one) => one.id !== id);
    const next =
      others.length > 0
        ? "the next start goes on from an earlier one"
        : "there is no other one: put it back, or begin anew with --resume never";
    return { reason: error.message, next };
  }
}
