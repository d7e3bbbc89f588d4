/** The newest entries of a process' log, kept for whoever looks at the run; and what workers report, in between. */
import { type DecisionEntry, decisionsLength, type Rows } from "../core/dashboard-view.ts";
import { type Generation, memberIds } from "../core/membership.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log, LogFields } from "../ports/log.ts";
import type { WorkerProgress } from "./cluster-status.ts";

export class RecentDecisions {
  readonly #clock: Clock;
  #rows: Rows<DecisionEntry> = { first: 0, items: [] };
  readonly #standing = new Map<string, { readonly generation: number; readonly leaseHeld: boolean }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get rows(): Rows<DecisionEntry> {
    return this.#rows;
  }

  /** A log that also remembers what it is told, from "info" on. */
  around(log: Log, context: LogFields = {}): Log {
    const remember =
      (level: DecisionEntry["level"]) =>
      (message: string, fields: LogFields = {}): void => {
        log[level](message, fields);
        this.#note(level, "coordinator", message, { ...context, ...fields });
      };
    return {
      debug: (message, fields) => log.debug(message, fields),
      info: remember("info"),
      warn: remember("warn"),
      error: remember("error"),
      with: (fields) => this.around(log.with(fields), { ...context, ...fields }),
    };
  }

  /**
   * A worker is in another generation than before, or its lease is lost.
   * @param membership what was read last
   */
  hear({ workerId, generation, step, leaseHeld }: WorkerProgress, membership: Generation | null): void {
    // A generation that was not read yet is told of at the worker's next report: only then is it known who is in it.
    if (leaseHeld && membership?.generation !== generation) return;
    const before = this.#standing.get(workerId);
    if (before?.generation === generation && before.leaseHeld === leaseHeld) return;
    // One that is restarted has another id: the oldest are forgotten.
    if (!before && this.#standing.size >= decisionsLength) {
      this.#standing.delete(this.#standing.keys().next().value!);
    }
    this.#standing.set(workerId, { generation, leaseHeld });
    if (!leaseHeld) this.#note("warn", workerId, "its lease is lost", { generation, step });
    else if (before?.generation !== generation) {
      // Who stands by takes every step too, so that it can step in.
      const isMember = membership !== null && memberIds(membership).includes(workerId);
      this.#note("info", workerId, isMember ? "trains" : "follows", { generation, step });
    }
  }

  #note(level: DecisionEntry["level"], process: string, message: string, fields: LogFields): void {
    const known = Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
    const entry: DecisionEntry = {
      ...{ atMs: this.#clock.wallMs(), level, process, message },
      fields: Object.fromEntries(known) as DecisionEntry["fields"], // without those that are undefined
    };
    const { first, items } = this.#rows;
    const gone = items.length >= decisionsLength ? 1 : 0;
    this.#rows = { first: first + gone, items: [...items.slice(gone), entry] };
  }
}
