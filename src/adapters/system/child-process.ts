/**
 * The one place that starts and stops processes. Each gets a process group of its own, so that Ctrl-C at the terminal
 * reaches only the parent, which then stops its children in order. The price: a parent that is killed takes nobody
 * with it, so children must notice its death themselves. Node programs of ours do by their IPC channel
 * (`whenParentEnds`); for others, `guardGraceMs` puts a guard beside them.
 */
import { type ChildProcess as NodeChild, type StdioOptions, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { systemClock } from "./clock.ts";

export interface ProcessOptions {
  readonly program: string;
  readonly args: readonly string[];
  /** The whole environment; this process's own when left out. */
  readonly environment?: NodeJS.ProcessEnv;
  readonly workingDirectory?: string;
  /** Called with every line of output, without its line break. */
  readonly onLine?: (line: string, stream: "stdout" | "stderr") => void;
  /** Opens an IPC channel to a Node program and calls this with every message from it. */
  readonly onMessage?: (message: unknown) => void;
  /**
   * For a program that does not notice its parent's death: a guard outlives the parent, leaves everyone else this long
   * to end in order, and then ends the program by SIGTERM, and by SIGKILL 5 s later. Needs /bin/sh. Not with IPC.
   */
  readonly guardGraceMs?: number;
}

/** How a process ended: with a code, or by a signal. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RunningProcess {
  readonly pid: number;
  /** Resolves when the process has ended and all its lines were delivered; never rejects. */
  readonly exited: Promise<ProcessExit>;
  /** Null while the process runs. */
  readonly exit: ProcessExit | null;
  /** Sends a message over IPC; false when the process is gone or has no channel. */
  send(message: object): boolean;
  /** Sends a signal; false when the process is gone. */
  kill(signal: NodeJS.Signals): boolean;
  /** Asks the process to end (SIGTERM), and ends its whole group by SIGKILL after `graceMs`. */
  stop(graceMs: number): Promise<ProcessExit>;
}

/** Output that comes later than this after the end is another's who holds the pipe open, and is not waited for. */
const lastLinesMs = 500;

/**
 * Run by /bin/sh as `sh -c guard sh GRACE_SECONDS PROGRAM ARGS…`. The shell leaves a guard behind and *becomes* the
 * program, so the program is the parent's own child, under the process id `$$`. That id cannot be given to another
 * process while the guard, a member of the group with that number, is there. The guard reads descriptor 3: a line
 * means that the program has ended and was seen to; the end of the file, that the parent has died.
 */
const guardScript = `
grace=$1; shift
(
  exec >/dev/null 2>&1
  read -r ended <&3 && exit
  while [ "$grace" -gt 0 ] && kill -0 $$; do sleep 1; grace=$((grace - 1)); done
  kill -TERM $$
  rest=5
  while [ "$rest" -gt 0 ] && kill -0 $$; do sleep 1; rest=$((rest - 1)); done
  kill -KILL $$
) </dev/null &
exec "$@" 3<&-
`;

/** Starts a process; "process-failed" when it cannot be started. */
export async function startProcess(options: ProcessOptions): Promise<RunningProcess> {
  const { program, args, environment, workingDirectory, onLine, onMessage, guardGraceMs } = options;
  const guarded = guardGraceMs !== undefined;
  const command = guarded ? "/bin/sh" : program;
  const graceSeconds = String(Math.ceil((guardGraceMs ?? 0) / 1_000));
  const commandArgs = guarded ? ["-c", guardScript, "sh", graceSeconds, program, ...args] : args;
  const output = onLine === undefined ? "ignore" : "pipe";
  const stdio: StdioOptions = ["ignore", output, output];
  if (guarded) stdio.push("pipe");
  if (onMessage !== undefined) stdio.push("ipc");

  const child = spawn(command, commandArgs, {
    detached: true,
    stdio,
    ...(environment && { env: environment }),
    ...(workingDirectory && { cwd: workingDirectory }),
  });
  const exited = watchExit(child, onLine);
  if (onMessage !== undefined) child.on("message", onMessage);
  const pid = await new Promise<number>((resolve, reject) => {
    // Node has set the id when it emits "spawn".
    child.once("spawn", () => resolve(child.pid!));
    child.once("error", (error) => reject(startError(program, error)));
  });
  // Later errors tell of a signal or a message that did not get through; the exit says all that matters.
  child.on("error", () => undefined);
  return running(child, pid, exited);
}

function running(child: NodeChild, pid: number, exited: Promise<ProcessExit>): RunningProcess {
  const ended = (): boolean => child.exitCode !== null || child.signalCode !== null;
  return {
    pid,
    exited,
    get exit() {
      return ended() ? { code: child.exitCode, signal: child.signalCode } : null;
    },
    send: (message) => child.connected && child.send(message, () => undefined),
    kill: (signal) => !ended() && child.kill(signal),
    stop: async (graceMs) => {
      const stopped = new AbortController();
      // As long as Node has not reported the end, nobody else can have the process's id, or its group's.
      const killLater = systemClock.sleep(graceMs, stopped.signal).then(
        () => ended() || process.kill(-pid, "SIGKILL"),
        () => undefined,
      );
      if (!ended()) child.kill("SIGTERM");
      const exit = await exited;
      stopped.abort();
      await killLater;
      return exit;
    },
  };
}

/** Resolves with the exit once the output has been read to its end, or a moment later when others hold it open. */
function watchExit(child: NodeChild, onLine: ProcessOptions["onLine"]): Promise<ProcessExit> {
  if (onLine !== undefined) {
    deliverLines(child.stdout, (line) => onLine(line, "stdout"));
    deliverLines(child.stderr, (line) => onLine(line, "stderr"));
  }
  const guardPipe = child.stdio[3];
  const outputRead = new Promise<void>((resolve) => child.once("close", () => resolve()));
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => {
      if (guardPipe && "write" in guardPipe) {
        guardPipe.on("error", () => undefined);
        guardPipe.end("ended\n");
      }
      const timer = new AbortController();
      const late = systemClock.sleep(lastLinesMs, timer.signal).catch(() => undefined);
      void Promise.race([outputRead, late]).then(() => {
        timer.abort();
        child.stdout?.destroy();
        child.stderr?.destroy();
        resolve({ code, signal });
      });
    });
  });
}

function deliverLines(output: Readable | null, onLine: (line: string) => void): void {
  if (output === null) return;
  createInterface({ input: output, crlfDelay: Number.POSITIVE_INFINITY }).on("line", onLine);
}

function startError(program: string, cause: unknown): LockstepError {
  return new LockstepError("process-failed", `Cannot start "${program}": ${messageOf(cause)}.`, {
    hint: "Check that the program exists and may be executed.",
    cause,
  });
}

/**
 * For a process that was started with an IPC channel: calls `onEnd` once, when the parent has died (even by SIGKILL)
 * or closed the channel. Does nothing in a process started by hand, and keeps no process alive. Returns whether there
 * is a parent to watch.
 */
export function whenParentEnds(onEnd: () => void): boolean {
  if (process.send === undefined) return false;
  if (!process.connected) {
    queueMicrotask(onEnd);
    return true;
  }
  process.once("disconnect", onEnd);
  process.channel?.unref();
  return true;
}
