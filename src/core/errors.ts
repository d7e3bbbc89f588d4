/**
 * One error type for everything a user or another process can meet. The code is from a closed set, so that callers
 * decide by code and never by message text; each code has one documented exit code.
 */
export const exitCodes = {
  /** A fault of lockstep itself. */
  internal: 1,
  /** The command line is wrong: an unknown flag, a missing value, two flags that contradict each other. */
  usage: 2,
  /** The job file is wrong, or asks for something that its data or model cannot give. */
  "invalid-job": 3,
  /** A data file is missing or malformed. */
  "invalid-data": 4,
  /** The engine that was asked for, or the device, cannot be had on this machine. */
  "engine-unavailable": 5,
  /** etcd cannot be found, started or reached. */
  "coordination-unavailable": 6,
  /** The job's name is taken by live processes. */
  "job-running": 7,
  /** An address to listen on is taken, or not this machine's. */
  "address-unavailable": 8,
  /** This process does not fit the cluster, or the cluster does not fit the state it should resume from. */
  incompatible: 9,
  /** A checkpoint's bytes are not those that were written. */
  "corrupt-checkpoint": 10,
  /** Replicas that must be equal are not. */
  diverged: 11,
  /** A process of the cluster kept failing. */
  "process-failed": 12,
  /** This process was left out of the cluster: a newer generation or fencing token exists. */
  "fenced-off": 13,
  /** The job needs more memory than there is. */
  "out-of-memory": 14,
  /** A certificate, or its key, is missing, over, not signed by whom it should be, or somebody else's. */
  "bad-certificate": 15,
  /** A worker left in order, and whoever started it should start it again: an operator has asked for that. */
  "start-again": 75,
  /** Stopped by the user (Ctrl-C, SIGTERM) after an orderly end. */
  interrupted: 130,
} as const;

export type ErrorCode = keyof typeof exitCodes;

export interface LockstepErrorOptions {
  /** What the reader should do next, as a sentence. */
  hint?: string;
  /** The foreign error behind this one. */
  cause?: unknown;
}

/** An error that says what happened, with values; and, in `hint`, what to do about it. */
export class LockstepError extends Error {
  override readonly name = "LockstepError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: LockstepErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }

  get exitCode(): number {
    return exitCodes[this.code];
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Fails on a broken invariant of lockstep's own; never used for input. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new LockstepError("internal", `Broken invariant: ${invariant}.`);
}

/** Makes a `switch` over a tagged union exhaustive. */
export function unreachable(value: never): never {
  throw new LockstepError("internal", `Unexpected value: ${JSON.stringify(value)}.`);
}
