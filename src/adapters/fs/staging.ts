/** The names of the folders that checkpoints are written in before they have their own: `.staging-ID-` and 16 digits. */
import { randomBytes } from "node:crypto";

const prefix = ".staging-";

/** A new one: no other writer takes it. Hidden, and so never the name of a checkpoint. */
export function stagingName(id: string): string {
  return `${prefix}${id}-${randomBytes(8).toString("hex")}`;
}

/** Whether it is the name of such a folder, whichever checkpoint was to come of it. */
export function isStaging(name: string): boolean {
  return name.startsWith(prefix);
}

/** The id of the checkpoint that was to come of it; null for any other name. */
export function stagedId(name: string): string | null {
  return /^\.staging-(.+)-[0-9a-f]{16}$/.exec(name)?.[1] ?? null;
}
