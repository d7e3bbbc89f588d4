import { readdir } from "node:fs/promises";
import path from "node:path";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { locate } from "./read-file.ts";

/**
 * Absolute paths of files, in the order given. "*" in a path's last part stands for any characters (not for a leading
 * dot); the files that it matches come in the order of their names' code units, the same on every machine.
 */
export async function expandPaths(paths: readonly string[], baseDirectory: string): Promise<string[]> {
  const files: string[] = [];
  for (const written of paths) {
    const located = locate(written, baseDirectory);
    files.push(...(written.includes("*") ? await matches(written, located) : [located]));
  }
  return files;
}

/** The same of folders. */
export async function matchingFolders(written: string, baseDirectory: string): Promise<string[]> {
  const located = locate(written, baseDirectory);
  return written.includes("*") ? matches(written, located, "folder") : [located];
}

async function matches(written: string, located: string, what: "file" | "folder" = "file"): Promise<string[]> {
  const folder = path.dirname(located);
  const name = path.basename(located);
  if (folder.includes("*")) {
    throw new LockstepError("invalid-data", `The path ${written} has a "*" in the name of a folder.`, {
      hint: 'Only the last part may have one, as in "texts/*.txt"; list the folders one by one.',
    });
  }
  const found = (await namesIn(folder, written, what)).filter(matcher(name));
  if (found.length === 0) {
    throw new LockstepError("invalid-data", `No ${what} matches ${written} (looked in ${folder}).`);
  }
  return found.sort().map((file) => path.join(folder, file));
}

async function namesIn(folder: string, written: string, what: "file" | "folder"): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries
      .filter((entry) => (what === "file" ? !entry.isDirectory() : !entry.isFile()))
      .map((entry) => entry.name);
  } catch (cause) {
    const isMissing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    const reason = isMissing ? `there is no folder ${folder}` : messageOf(cause);
    throw new LockstepError("invalid-data", `No ${what} matches ${written}: ${reason}.`, {
      hint: "A relative path starts at --data DIR; without it, at the folder data beside the job file, or at the job file's own.",
      cause,
    });
  }
}

/** "*" in `name` stands for any characters, but for a leading dot. */
export function matcher(name: string): (text: string) => boolean {
  const pattern = new RegExp(`^${name.split("*").map(literally).join(".*")}$`, "s");
  return (text) => pattern.test(text) && (name.startsWith(".") || !text.startsWith("."));
}

function literally(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
