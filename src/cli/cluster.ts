/** The processes of a cluster on this machine: started, watched, started again when they fail, stopped in order. */
import { join } from "node:path";
import { systemClock } from "../adapters/system/clock.ts";
import { type ErrorCode, LockstepError, messageOf } from "../core/errors.ts";
import { type Child, startChild } from "./child.ts";

/** A process that fails is started again after growing pauses, this often; then the cluster gives up. */
const maxRestarts = 5;
const firstPauseMs = 250;

/** Starting again cannot mend these. */
const hopeless: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "usage",
  "invalid-job",
  "invalid-data",
  "engine-unavailable",
  "address-unavailable",
  "incompatible",
  "corrupt-checkpoint",
  "diverged",
]);

export interface ClusterOptions {
  readonly logDirectory: string;
  readonly say: (line: string) => void;
}

/** The words after `lockstep`: of the first start, and of those after a failure. */
export interface StartArguments {
  readonly first: readonly string[];
  readonly again: readonly string[];
}

export class LocalCluster {
  readonly #options: ClusterOptions;
  readonly #members = new Map<string, Child>();
  readonly #failure: Promise<never>;
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
    const child = await this.#spawn(name, args.first);
    void this.#supervise(child, args.again, (next) => {
      next.waitFor<Ready>("ready").then(onRestart, () => undefined);
    });
    return child.waitFor<Ready>("ready");
  }

  /** Starts a process that is not waited for, and keeps it running. */
  launch(name: string, args: readonly string[]): void {
    this.start(name, { first: args, again: args }, () => {}).catch(() => undefined);
  }

  /** From now on processes may end without being started again. */
  letEnd(): void {
    this.#ending = true;
  }

  /** Waits for the ends of all processes whose names begin so, at most `graceMs`; then stops them. */
  async finish(prefix: string, graceMs: number): Promise<void> {
    this.#ending = true;
    const children = [...this.#members.values()].filter((child) => child.name.startsWith(prefix));
    const timer = new AbortController();
    await Promise.race([
      Promise.all(children.map((child) => child.exited)),
      systemClock.sleep(graceMs, timer.signal).catch(() => undefined),
    ]);
    timer.abort();
    await Promise.all(children.map((child) => child.stop(graceMs)));
  }

  async #spawn(name: string, args: readonly string[]): Promise<Child> {
    const { logDirectory, say } = this.#options;
    const child = await startChild({
      name,
      args,
      logFile: join(logDirectory, `${name}.log`),
      onWarning: say,
    });
    this.#members.set(name, child);
    return child;
  }

  async #supervise(first: Child, args: readonly string[], onRestart: (child: Child) => void): Promise<void> {
    const { say } = this.#options;
    try {
      let child = first;
      for (let restarts = 0; ; restarts++) {
        const exit = await child.exited;
        if (this.#ending || exit.code === 0) return;
        const error = child.failure();
        if (error && (hopeless.has(error.code) || restarts === maxRestarts)) throw error;
        const pauseMs = firstPauseMs * 2 ** restarts;
        say(
          `${child.name} ${exit.signal ? `was ended by ${exit.signal}` : `failed: ${error?.message}`}; starting it again.`,
        );
        await systemClock.sleep(pauseMs);
        if (this.#ending) return;
        child = await this.#spawn(child.name, args);
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
}
