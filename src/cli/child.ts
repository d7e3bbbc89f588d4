/** lockstep's own commands as child processes: started, followed by their log lines, and asked for their results. */
import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { type ProcessExit, type RunningProcess, startProcess } from "../adapters/system/child-process.ts";
import { sectionHead } from "../adapters/fs/process-log.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { packageRoot } from "../adapters/system/package-root.ts";
import { type ErrorCode, exitCodes, LockstepError } from "../core/errors.ts";

/** The `lockstep` command itself. */
export const program = join(packageRoot, "bin/lockstep.mjs");

export interface Child extends RunningProcess {
  readonly name: string;
  /** Resolves with the first message of this event; rejects with the child's error when it ends first. */
  waitFor<T>(event: string): Promise<T>;
  /** The error that the child ended with; null while it runs, and after a good end. */
  failure(): LockstepError | null;
}

export interface ChildOptions {
  readonly name: string;
  readonly args: readonly string[];
  /** Where its output goes; null: nowhere. */
  readonly logFile: string | null;
  /** Warnings and errors that it logs. */
  readonly onWarning: (line: string) => void;
  /** Everything that it writes, line by line. */
  readonly onLine?: (line: string) => void;
}

interface ErrorMessage {
  readonly event: "error";
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

/** Starts `lockstep …args`. */
export async function startChild(options: ChildOptions): Promise<Child> {
  const { name, args, logFile, onWarning, onLine } = options;
  const log = logFile === null ? null : createWriteStream(logFile, { flags: "a" });
  log?.write(`${sectionHead(name, new Date(systemClock.wallMs()))}\n`);
  const messages = new Map<string, unknown>();
  const waiting = new Map<string, ((value: never) => void)[]>();
  let reported: ErrorMessage | null = null;
  let lastWords = "";
  // Whose certificates it has is said in its words: the variable may name those of whoever starts it.
  const { LOCKSTEP_TLS: _, ...environment } = process.env;
  const running = await startProcess({
    program: process.execPath,
    environment,
    args: [program, ...args],
    onLine: (line) => {
      lastWords = wordsOf(line);
      log?.write(`${line}\n`);
      onLine?.(line);
      const warning = warningOf(line);
      if (warning) onWarning(`${name}: ${warning}`);
    },
    onMessage: (message) => {
      if (isError(message)) reported = message;
      const event = (message as { event?: unknown }).event;
      if (typeof event !== "string") return;
      messages.set(event, message);
      for (const resolve of waiting.get(event) ?? []) resolve(message as never); // the event's name says what it carries
    },
  });
  const failure = (exit: ProcessExit | null): LockstepError | null => {
    if (exit === null || exit.code === 0) return null;
    if (reported)
      return new LockstepError(codeOf(reported.code), reported.message, reported.hint ? { hint: reported.hint } : {});
    const how = exit.signal ? `was ended by ${exit.signal}` : `ended with code ${exit.code}`;
    return new LockstepError(
      "process-failed",
      `${name} ${how}${lastWords ? `; the last that it said was: ${lastWords.replace(/\.$/, "")}` : ""}.`,
      logFile ? { hint: `Its log is ${logFile}.` } : {},
    );
  };
  void running.exited.then(() => log?.end());
  return {
    name,
    get pid() {
      return running.pid;
    },
    get exit() {
      return running.exit;
    },
    exited: running.exited,
    send: (message) => running.send(message),
    kill: (signal) => running.kill(signal),
    stop: (graceMs) => running.stop(graceMs),
    failure: () => failure(running.exit),
    waitFor<T>(event: string): Promise<T> {
      if (messages.has(event)) return Promise.resolve(messages.get(event) as T); // see onMessage
      return new Promise<T>((resolve, reject) => {
        waiting.set(event, [...(waiting.get(event) ?? []), resolve]);
        void running.exited.then((exit) =>
          reject(failure(exit) ?? new LockstepError("process-failed", `${name} ended before it was ready.`)),
        );
      });
    },
  };
}

function codeOf(code: string): ErrorCode {
  return code in exitCodes ? (code as ErrorCode) : "internal"; // checked
}

function isError(message: unknown): message is ErrorMessage {
  return typeof message === "object" && message !== null && (message as { event?: unknown }).event === "error";
}

/** The text of a log line of level warn or above; null for everything else. */
function warningOf(line: string): string | null {
  const logged = loggedIn(line);
  return logged?.level === "warn" || logged?.level === "error" ? logged.text : null;
}

/** A line as a person would say it: of a log line, its message with the reason. */
function wordsOf(line: string): string {
  return loggedIn(line)?.text ?? line;
}

/** What a log line says; null for any other line. */
function loggedIn(line: string): { readonly level: unknown; readonly text: string } | null {
  if (!line.startsWith("{")) return null;
  try {
    const { level, message, reason, error } = JSON.parse(line) as Record<string, unknown>;
    const detail = reason ?? error;
    return { level, text: typeof detail === "string" ? `${String(message)}: ${detail}` : String(message) };
  } catch {
    return null;
  }
}
