import { realpathSync } from "node:fs";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { LockstepError, messageOf } from "../../core/errors.ts";

/** What went wrong while a job file was loaded, as one sentence with the file and, where it is known, the line. */
export function describeFailure(cause: unknown, file: string, written: string): LockstepError {
  if (cause instanceof LockstepError) return cause;
  const syntaxError = syntaxErrorIn(cause, file, written);
  if (syntaxError !== null) return syntaxError;
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  if (code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND") {
    return new LockstepError("invalid-job", `${written} imports something that is not there: ${firstLine(cause)}.`, {
      hint: "Correct the import, or install the package next to the job file.",
      cause,
    });
  }
  const kind = cause instanceof Error ? `${cause.name}: ` : "";
  const line = lineIn(cause, file);
  return new LockstepError(
    "invalid-job",
    `${written}${line === null ? "" : `, line ${line},`} threw while it was loaded: ${kind}${firstLine(cause)}.`,
    { cause },
  );
}

/** An error of a job that was loaded, with the file and, where something was thrown in it, the line. */
export function describeJobError(error: unknown, jobPath: string): unknown {
  if (!(error instanceof LockstepError) || error.code !== "invalid-job") return error;
  const line = lineIn(error.cause ?? error, realpathSync(jobPath));
  const fromHere = relative(process.cwd(), jobPath);
  const written = fromHere.startsWith("..") ? jobPath : fromHere;
  const hint = error.hint === undefined ? {} : { hint: error.hint };
  const place = line === null ? written : `${written}, line ${line}`;
  return new LockstepError(error.code, `${place}: ${error.message}`, { ...hint, cause: error });
}

/** esbuild, which `tsx` compiles with, writes "FILE:LINE:COLUMN: ERROR: …" on the second line of its message. */
function syntaxErrorIn(cause: unknown, file: string, written: string): LockstepError | null {
  const transformed = /^(.+?):(\d+):(\d+): ERROR: (.+)$/m.exec(messageOf(cause));
  if (transformed !== null) {
    const [, where, line, column, what] = transformed;
    const place = where === file ? written : where;
    return new LockstepError("invalid-job", `${place}, line ${line}, column ${column}: ${what}.`, { cause });
  }
  if (!(cause instanceof SyntaxError)) return null;
  // Node.js itself found it: in plain JavaScript, or a name that an imported module does not export.
  const line = lineIn(cause, file);
  return new LockstepError("invalid-job", `${written}${line === null ? "" : `, line ${line}`}: ${firstLine(cause)}.`, {
    cause,
  });
}

function firstLine(cause: unknown): string {
  return (messageOf(cause).split("\n")[0] ?? "").replace(/\.$/, "");
}

/** The first line of the job file itself that the stack names. */
function lineIn(cause: unknown, file: string): number | null {
  if (!(cause instanceof Error)) return null;
  for (const match of (cause.stack ?? "").matchAll(
    /(file:\/\/[^\s)]+?|\/[^\s)]+?|[A-Z]:\\[^\n)]+?):(\d+)(?=[:\s)]|$)/g,
  )) {
    if (pathOf(match[1]!) === file) return Number(match[2]);
  }
  return null;
}

function pathOf(place: string): string | null {
  if (!place.startsWith("file:")) return place;
  try {
    return fileURLToPath(place);
  } catch {
    return null;
  }
}
