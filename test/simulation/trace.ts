/** What happened, line by line: time, who, what. Lines are put into words only when somebody reads them. */
import { createHash } from "node:crypto";
import type { Log, LogFields } from "../../src/ports/log.ts";

interface Line {
  readonly atMs: number;
  readonly who: string;
  readonly what: string;
  readonly fields: LogFields | undefined;
}

export class Trace {
  readonly #lines: Line[] = [];
  clock: () => number = () => 0;

  note(who: string, what: string, fields?: LogFields): void {
    this.#lines.push({ atMs: this.clock(), who, what, fields });
  }

  /** What a process logs becomes part of the trace. */
  logOf(who: string, common: LogFields = {}): Log {
    const line = (level: string) => (message: string, fields?: LogFields) =>
      this.note(who, level + message, { ...common, ...fields });
    return {
      debug: line(""),
      info: line(""),
      warn: line("warning: "),
      error: line("error: "),
      with: (fields) => this.logOf(who, { ...common, ...fields }),
    };
  }

  /** The last lines, or all. */
  text(last = this.#lines.length): string[] {
    return this.#lines.slice(-last).map(describe);
  }

  /** Equal for equal runs. */
  hash(): string {
    const hash = createHash("sha256");
    for (const line of this.#lines) hash.update(describe(line)).update("\n");
    return hash.digest("hex");
  }
}

function describe({ atMs, who, what, fields }: Line): string {
  const values = Object.entries(fields ?? {}).map(([name, value]) => ` ${name}=${value}`);
  return `${atMs.toFixed(2).padStart(10)}  ${who.padEnd(9)} ${what}${values.join("")}`;
}
