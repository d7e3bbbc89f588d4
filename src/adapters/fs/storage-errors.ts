import { LockstepError, messageOf } from "../../core/errors.ts";
import { CheckpointError } from "../../core/manifest.ts";
import { errnoOf } from "./file-system.ts";

const freeSpace =
  "Free space there, or give a directory on another disk (--checkpoints); then start the job again: it resumes from " +
  "its latest checkpoint.";
const grantAccess = "Give this user read and write access to the directory, or give another one (--checkpoints).";
const checkDisk =
  "The disk, or the network to it, failed: look at the system's log. What was published before is not touched.";

const hints: Readonly<Record<string, string>> = {
  ENOSPC: freeSpace,
  EDQUOT: freeSpace,
  EFBIG: "This file system does not hold files that large; give a directory on another one (--checkpoints).",
  EROFS: "The file system is mounted read-only; give a directory on another one (--checkpoints).",
  EACCES: grantAccess,
  EPERM: grantAccess,
  EIO: checkDisk,
  ESTALE: checkDisk,
  ETIMEDOUT: checkDisk,
  EMFILE: "This process has too many open files; raise its limit (ulimit -n).",
  ENFILE: "This machine has too many open files; raise its limit.",
};

/** Runs one or more calls to the file system, and says of their errors what could not be done with which path. */
export async function accessing<T>(
  problem: "unreadable" | "unwritable",
  path: string,
  calls: () => Promise<T>,
): Promise<T> {
  try {
    return await calls();
  } catch (error) {
    if (error instanceof LockstepError) throw error;
    const action = problem === "unreadable" ? "read" : "write";
    throw new CheckpointError(problem, `Cannot ${action} ${path}: ${messageOf(error)}.`, {
      hint: hints[errnoOf(error) ?? ""] ?? "Check that the directory exists, and that its file system works.",
      cause: error,
    });
  }
}

/** A file that was read to the end and is not what was written. */
export function corruptFile(path: string, finding: string, cause?: unknown): CheckpointError {
  return new CheckpointError("corrupt", `${path} is not what was written: ${finding}.`, {
    hint: "Use another checkpoint. If more of them are corrupt, check the disk and its cables, and who else writes there.",
    cause,
  });
}

/** Reads what a verified file means, and says of what it cannot mean which file it is. */
export function interpreting<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof SyntaxError || (error instanceof LockstepError && error.code === "corrupt-checkpoint")) {
      throw corruptFile(path, error.message.replace(/\.$/, ""), error);
    }
    if (!(error instanceof LockstepError)) throw error;
    throw new LockstepError(error.code, `${path}: ${error.message}`, {
      cause: error,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
  }
}
