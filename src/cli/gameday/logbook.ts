/** What all processes of a gameday log, in the order of arrival, and waiting for a line. */
import { parseLogLine } from "../../adapters/fs/process-log.ts";
import { systemClock } from "../../adapters/system/clock.ts";
import { LockstepError } from "../../core/errors.ts";
import type { LogLine } from "../../core/log-reading.ts";

export interface Awaited {
  /** For the error, when it does not come: "the leader's election". */
  readonly what: string;
  /** Only lines of this moment or later. */
  readonly sinceMs: number;
  readonly limitMs?: number;
}

/** Longer than anything takes on a busy machine, and short enough that a fault that is never found ends its test. */
export const defaultLimitMs = 60_000;

export class Logbook {
  readonly #lines: LogLine[] = [];
  readonly #listeners = new Set<(line: LogLine) => void>();

  get lines(): readonly LogLine[] {
    return this.#lines;
  }

  add(process: string, text: string): void {
    const line = parseLogLine(process, text);
    if (!line) return;
    this.#lines.push(line);
    for (const listener of [...this.#listeners]) listener(line);
  }

  since(atMs: number): readonly LogLine[] {
    return this.#lines.filter((line) => line.atMs >= atMs);
  }

  /** Resolves with the first line that matches, at once when it is there; rejects after the limit. */
  async when(awaited: Awaited, matches: (line: LogLine) => boolean): Promise<LogLine> {
    const { what, sinceMs, limitMs = defaultLimitMs } = awaited;
    const isIt = (line: LogLine) => line.atMs >= sinceMs && matches(line);
    const known = this.#lines.find(isIt);
    if (known) return known;
    return inTime(what, limitMs, (found) => {
      const listener = (line: LogLine) => isIt(line) && found(line);
      this.#listeners.add(listener);
      return () => this.#listeners.delete(listener);
    });
  }

  /** Resolves with the first answer that is not null, asked now and after every line. */
  async until<T>({ what, limitMs = defaultLimitMs }: Omit<Awaited, "sinceMs">, answer: () => T | null): Promise<T> {
    const known = answer();
    if (known !== null) return known;
    return inTime(what, limitMs, (found) => {
      const listener = () => {
        const value = answer();
        if (value !== null) found(value);
      };
      this.#listeners.add(listener);
      return () => this.#listeners.delete(listener);
    });
  }
}

/** What `begin` finds, unless the time is over before; `begin` returns how it is ended. */
export async function inTime<T>(
  what: string,
  limitMs: number,
  begin: (found: (value: T) => void, failed: (error: unknown) => void) => () => void,
): Promise<T> {
  const timer = new AbortController();
  let end = () => {};
  const late = systemClock.sleep(limitMs, timer.signal).then(
    () => {
      throw new LockstepError("process-failed", `Within ${limitMs / 1000} s there was no sign of ${what}.`);
    },
    () => new Promise<never>(() => {}),
  );
  try {
    const found = new Promise<T>((resolve, reject) => {
      end = begin(resolve, reject);
    });
    return await Promise.race([found, late]);
  } finally {
    timer.abort();
    end();
  }
}
