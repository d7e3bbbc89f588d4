import { readFile } from "node:fs/promises";
import path from "node:path";
import { LockstepError, messageOf } from "../../core/errors.ts";

/** Where a data file lies: absolute paths as they are, others from `baseDirectory`. */
export function locate(filePath: string, baseDirectory: string): string {
  return path.resolve(baseDirectory, filePath);
}

/** A data file's bytes; what keeps it from being read is an "invalid-data" error. `name`: what messages call it. */
export async function readBytes(file: string, name = file): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw unreadable(name, cause);
  }
}

/** `bytes`: the file, or its beginning. */
export function refuseUtf16(file: string, bytes: Uint8Array): void {
  if (!isUtf16(bytes)) return;
  throw new LockstepError("invalid-data", `The data file ${file} is UTF-16 text; expected UTF-8.`, {
    hint: "Save it as UTF-8.",
  });
}

/** What kept a data file from being read, as an error that says what to do. */
export function unreadable(file: string, cause: unknown): LockstepError {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
      return new LockstepError("invalid-data", `There is no data file ${file}.`, {
        hint: "A relative path starts at --data DIR; without it, at the folder data beside the job file, or at the job file's own.",
        cause,
      });
    case "EISDIR":
      return new LockstepError("invalid-data", `${file} is a folder; expected a data file.`, { cause });
    case "EACCES":
    case "EPERM":
      return new LockstepError("invalid-data", `The data file ${file} may not be read by this user.`, { cause });
    default:
      return new LockstepError("invalid-data", `The data file ${file} cannot be read: ${messageOf(cause)}`, { cause });
  }
}

/** A byte-order mark of two bytes, which spreadsheet programs write for "Unicode text". */
function isUtf16(bytes: Uint8Array): boolean {
  return (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
}
