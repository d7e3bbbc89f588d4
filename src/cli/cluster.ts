/** The processes of a cluster on this machine: started, watched, started again when they fail, stopped in order. */
import { join } from "node:path";
import { systemClock } from "../adapters/system/clock.ts";
import { type ErrorCode, exitCodes, LockstepError, messageOf } from "../core/errors.ts";
import { type Child, startChild } from "./child.ts";

/** A process that fails is started again after growing pauses, this often. */
export const defaultMaxRestarts = 5;
const firstPauseMs = 250;
const longestPauseMs = 30_000;
/** A process that is asked to leave is killed after this. */
const leaveMs = 30_000;
/** A process that ran for so long was well. */
const wellMs = 60_000;

/** Starting again cannot mend these. */
const hopeless: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "usage",
  "invalid-job",
  "invalid-data",
  "engine-unavailable",
  "out-of-memory",
  "address-unavailable",
  "incompatible",
  "corrupt-checkpoint",
  "diverged",
]);

export interface ClusterOptions {
  readonly maxRestarts: number;
  readonly logDirectory: string;
  readonly say: (line: string) => void;
  /** Told of every process that is started, the first time and again. */
  readonly onStart?: (child: Child) => void;
  /** Told of every line that a process writes. */
  readonly onLine?: (name: string, line: string) => void;
}

/** The words after `lockstep`: of the first start, and of those after a failure. */
export interface StartArguments {
  readonly first: readonly string[];
  readonly again: () => readonly string[];
}

export class LocalCluster {
  readonly #options: ClusterOptions;
  readonly #members = new Map<string, Child>();
  readonly #failure: Promise<never>;
  readonly #givenUp = new Set<string>();
  /** Those that are not started again for now, and what ends that. */
  readonly #held = new Map<string, { readonly released: Promise<void>; readonly release: () => void }>();
  /** Those that run, or will be started again. */
  readonly #kept = new Map<string, Keeping>();
  #fail: (error: Error) => void = () => {};
  #ending = false;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#failure = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.#failure.catch(() => undefined);
  }

  /** Rejects when the cluster cannot go on. */
  get failure(): Promise<never> {
    return this.#failure;
  }

  /**
   * Starts a process and keeps it running. Resolves with the "ready" message of the first start; `onRestart` gets that
   * of every later one.
   */
  async start<Ready>(name: string, args: StartArguments, onRestart: (ready: Ready) => void): Promise<Ready> {
    const keeping = newKeeping();
    this.#kept.set(name, keeping);
    const child = await this.#spawn(name, args.first, keeping).catch((error: unknown) => {
      this.#keepNoMore(name, keeping);
      throw error;
    });
    void this.#supervise(child, args.again, keeping, (next) => {
      next.waitFor<Ready>("ready").then(onRestart, () => undefined);
    }).then(() => this.#keepNoMore(name, keeping));
    return child.waitFor<Ready>("ready");
  }

  /** Starts a process that is not waited for, and keeps it running. */
  launch(name: string, args: readonly string[]): void {
    this.start(name, { first: args, again: () => args }, () => {}).catch(() => undefined);
  }

  /** Whether it runs, or will be started again. */
  isKept(name: string): boolean {
    return this.#kept.has(name);
  }

  /** Asks a process to leave, and does not start it again, however it ends. Resolves when it has ended. */
  async dismiss(name: string): Promise<void> {
    const keeping = this.#kept.get(name);
    if (!keeping) return;
    keeping.dismissal.abort();
    const child = this.#members.get(name);
    if (child?.exit === null) void child.stop(leaveMs);
    await keeping.over;
  }

  /** The process of this name as it was started last. */
  child(name: string): Child | undefined {
    return this.#members.get(name);
  }

  names(): readonly string[] {
    return [...this.#members.keys()];
  }

  /** Whether it was given up: it failed too often. */
  isGivenUp(name: string): boolean {
    return this.#givenUp.has(name);
  }

  /** All that were given up, in the order of their names. */
  givenUp(): readonly string[] {
    return [...this.#givenUp].sort();
  }

  /** Should a process of this name end, it is not started again before it is released. */
  hold(name: string): void {
    if (this.#held.has(name)) return;
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.#held.set(name, { released, release });
  }

  /** It may be started again, at once and with a new count: its end was no failure of its own. */
  release(name: string): void {
    this.#held.get(name)?.release();
    this.#held.delete(name);
  }

  /** Processes that end are not started again. */
  get isEnding(): boolean {
    return this.#ending;
  }

  /** From now on processes may end without being started again. */
  letEnd(): void {
    this.#ending = true;
    for (const name of this.#held.keys()) this.release(name);
  }

  /** Waits for the ends of all processes whose names begin so, at most `graceMs`; then stops them. */
  async finish(prefix: string, graceMs: number): Promise<void> {
    this.letEnd();
    const children = [...this.#members.values()].filter((child) => child.name.startsWith(prefix));
    const timer = new AbortController();
    await Promise.race([
      Promise.all(children.map((child) => child.exited)),
      systemClock.sleep(graceMs, timer.signal).catch(() => undefined),
    ]);
    timer.abort();
    await Promise.all(children.map((child) => child.stop(graceMs)));
  }

  /** Stops all processes that are left. */
  async stop(graceMs: number): Promise<void> {
    this.letEnd();
    await Promise.all([...this.#members.values()].map((child) => child.stop(graceMs)));
  }

  #keepNoMore(name: string, keeping: Keeping): void {
    if (this.#kept.get(name) === keeping) this.#kept.delete(name);
    keeping.end();
  }

  async #spawn(name: string, args: readonly string[], keeping: Keeping): Promise<Child> {
    const { logDirectory, say, onStart, onLine } = this.#options;
    this.#givenUp.delete(name);
    const child = await startChild({
      name,
      args,
      logFile: join(logDirectory, `${name}.log`),
      onWarning: say,
      ...(onLine && { onLine: (line: string) => onLine(name, line) }),
    });
    this.#members.set(name, child);
    onStart?.(child);
    if (keeping.dismissal.signal.aborted) void child.stop(leaveMs);
    return child;
  }

  async #supervise(
    first: Child,
    args: StartArguments["again"],
    keeping: Keeping,
    onRestart: (child: Child) => void,
  ): Promise<void> {
    const { say, maxRestarts } = this.#options;
    const dismissed = keeping.dismissal.signal;
    try {
      let child = first;
      for (let restarts = 0; ; restarts++) {
        const startedMs = systemClock.monotonicMs();
        const exit = await child.exited;
        // An end in order; whoever has asked for it says whether it is started again.
        if (this.#ending || dismissed.aborted || exit.code === 0 || exit.code === exitCodes["start-again"]) return;
        const held = this.#held.get(child.name);
        if (held) {
          await held.released;
          if (this.#ending || dismissed.aborted) return;
          restarts = -1;
          child = await this.#spawn(child.name, args(), keeping);
          onRestart(child);
          continue;
        }
        // Whoever ran well for a long time has earned a new count.
        if (systemClock.monotonicMs() - startedMs > wellMs) restarts = 0;
        const error = child.failure();
        if (error && (hopeless.has(error.code) || restarts >= maxRestarts)) {
          return this.#giveUp(child.name, error, restarts);
        }
        const pauseMs = Math.min(firstPauseMs * 2 ** restarts, longestPauseMs);
        say(
          `${child.name} ${exit.signal ? `was ended by ${exit.signal}` : `failed: ${error?.message}`}; starting it again.`,
        );
        await systemClock.sleep(pauseMs, dismissed).catch(() => undefined);
        if (this.#ending || dismissed.aborted) return;
        child = await this.#spawn(child.name, args(), keeping);
        onRestart(child);
      }
    } catch (error) {
      this.#fail(
        error instanceof LockstepError
          ? error
          : new LockstepError("process-failed", messageOf(error), { cause: error }),
      );
    }
  }

  /** A process is not started again. The cluster goes on as long as the others can train without it. */
  #giveUp(name: string, error: LockstepError, restarts: number): void {
    this.#givenUp.add(name);
    const others = [...this.#members.keys()].filter((other) => other !== name && isWorker(other));
    if (!isWorker(name) || others.every((other) => this.#givenUp.has(other))) {
      this.#fail(error);
      return;
    }
    const tries = restarts === 0 ? "" : ` after ${restarts} restart${restarts === 1 ? "" : "s"}`;
    this.#options.say(`${name} is given up${tries}: ${error.message} It is not started again.`);
  }
}

/** That a process of some name is to run. */
interface Keeping {
  /** Once it is aborted, the process may go. */
  readonly dismissal: AbortController;
  /** Resolves when the process has ended and is not started again. */
  readonly over: Promise<void>;
  readonly end: () => void;
}

function newKeeping(): Keeping {
  let end = () => {};
  const over = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { dismissal: new AbortController(), over, end };
}

function isWorker(name: string): boolean {
  return name.startsWith("worker-");
}
