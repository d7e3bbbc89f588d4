/** Other programs of this machine: where they are, and running one to its end. */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, resolve } from "node:path";

/** The absolute path of an executable on PATH, or null. Looks, starts nothing. */
export function findProgram(name: string): string | null {
  for (const directory of (process.env.PATH ?? "").split(delimiter)) {
    if (directory === "") continue;
    const path = resolve(directory, name);
    if (isExecutable(path)) return path;
  }
  return null;
}

/** Whether a path is a file that this user may execute. */
export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

export interface ProgramOptions {
  readonly directory?: string;
  /** Added to this process's environment. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Ends the program by SIGKILL after this time. */
  readonly timeoutMs?: number;
}

export interface ProgramResult {
  readonly succeeded: boolean;
  readonly output: string;
  /** What was wrong, in one line: the program's last words and its exit code or signal; "" if nothing was. */
  readonly failure: string;
}

/** A program may say this much on one stream; the rest is dropped. */
const outputLimit = 1_000_000;

const running = new Set<ChildProcess>();
/** A set-up that is interrupted must not leave a download running behind it. */
function endAll(): void {
  for (const child of running) child.kill("SIGKILL");
}

/** Runs a program without input to its end. Never rejects: a program that cannot be started is a failure like others. */
export function runProgram(
  path: string,
  programArguments: readonly string[],
  options: ProgramOptions = {},
): Promise<ProgramResult> {
  return new Promise((settle) => {
    const child = spawn(path, programArguments, {
      cwd: options.directory,
      env: { ...process.env, ...options.environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    if (running.size === 0) process.on("exit", endAll);
    running.add(child);
    let output = "";
    let errors = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (output.length < outputLimit) output += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (errors.length < outputLimit) errors += text;
    });
    const { timeoutMs } = options;
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    const startedMs = performance.now();
    const finish = (end: string) => {
      clearTimeout(timer);
      running.delete(child);
      if (running.size === 0) process.off("exit", endAll);
      const lastWords = lastLine(errors) || lastLine(output);
      const failure = end === "" ? "" : [lastWords, end].filter((part) => part !== "").join(" — ");
      settle({ succeeded: end === "", output, failure });
    };
    child.once("error", (error) => finish(`${path} cannot be started: ${error.message}`));
    child.once("close", (code, signal) => {
      const timedOut = timeoutMs !== undefined && signal === "SIGKILL" && performance.now() - startedMs >= timeoutMs;
      if (timedOut) finish(`no end after ${timeoutMs / 1_000} s`);
      else if (signal !== null) finish(`ended by ${signal}`);
      else finish(code === 0 ? "" : `exit code ${code}`);
    });
  });
}

function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1)?.trim() ?? "";
}
