/** What the logs say about the kills: pure functions of log lines and moments. All times in milliseconds. */
import {
  firstStepMessage,
  gaps,
  type LogLine,
  longestGap,
  repeatedSteps,
  stepTimes,
} from "../../src/core/log-reading.ts";
import { type Kill, windowMs } from "./kills.ts";

export interface Readings {
  /** Steps that nothing disturbed. */
  readonly steps: readonly number[];
  /** From a kill until every survivor has committed a step without the killed process; by victim. */
  readonly nextStep: Readonly<Record<"worker" | "leader", readonly number[]>>;
  /** The longest time without a step in the three seconds before each kill of the coordinator, and after it. */
  readonly gapBefore: readonly number[];
  readonly gapAfter: readonly number[];
  /** From the start of a killed worker's new process to its first step, and from when it was ready. */
  readonly startToStep: readonly number[];
  readonly readyToStep: readonly number[];
  /** From the kill of the leader to the next one's election. */
  readonly election: readonly number[];
  /** Committed steps that a process took a second time. */
  readonly repeatedSteps: number;
}

export function readingsOf(lines: readonly LogLine[], kills: readonly Kill[]): Readings {
  const ofWorkers = kills.filter(({ victim }) => victim !== "coordinator");
  const ofCoordinator = kills.filter(({ victim }) => victim === "coordinator");
  const after = (kill: Kill) => new Moments(lines, kill, kills);
  const nextStepAfter = (victim: Kill["victim"]) =>
    present(kills.filter((kill) => kill.victim === victim).map((kill) => after(kill).nextStep));
  return {
    steps: kills.flatMap(({ quietFromMs, atMs, survivors }) =>
      gaps(stepTimes(lines, survivors[0]!, quietFromMs, atMs)),
    ),
    nextStep: { worker: nextStepAfter("worker"), leader: nextStepAfter("leader") },
    gapBefore: ofCoordinator.map((kill) => longestGap(lines, kill.survivors, kill.atMs - windowMs, kill.atMs)),
    gapAfter: ofCoordinator.map((kill) => longestGap(lines, kill.survivors, kill.atMs, kill.atMs + windowMs)),
    startToStep: present(ofWorkers.map((kill) => after(kill).startToStep)),
    readyToStep: present(ofWorkers.map((kill) => after(kill).readyToStep)),
    election: present(kills.filter(({ victim }) => victim === "leader").map((kill) => after(kill).election)),
    repeatedSteps: repeatedSteps(lines),
  };
}

/** What followed one kill, until the next. */
class Moments {
  readonly #lines: readonly LogLine[];
  readonly #kill: Kill;

  constructor(lines: readonly LogLine[], kill: Kill, kills: readonly Kill[]) {
    const nextMs = Math.min(...kills.map(({ atMs }) => atMs).filter((atMs) => atMs > kill.atMs));
    this.#lines = lines.filter(({ atMs }) => atMs >= kill.atMs && atMs < nextMs);
    this.#kill = kill;
  }

  get nextStep(): number | null {
    const firsts = this.#kill.survivors.map((name) => this.#when(name, firstStepMessage, 0));
    return firsts.some((at) => at === null) ? null : Math.max(...present(firsts)) - this.#kill.atMs;
  }

  get startToStep(): number | null {
    const ready = this.#ready;
    return ready && this.#sinceReady(ready)! + Number(ready.afterMs);
  }

  get readyToStep(): number | null {
    return this.#ready && this.#sinceReady(this.#ready);
  }

  get election(): number | null {
    const at = this.#kill.survivors.map((name) => this.#when(name, "elected leader", 0)).find((when) => when !== null);
    return at === undefined ? null : at! - this.#kill.atMs;
  }

  get #ready(): LogLine | null {
    return this.#lines.find((line) => line.process === this.#kill.process && line.message === "ready") ?? null;
  }

  #sinceReady(ready: LogLine): number | null {
    const at = this.#when(this.#kill.process, firstStepMessage, ready.atMs);
    return at === null ? null : at - ready.atMs;
  }

  #when(process: string, message: string, fromMs: number): number | null {
    const found = this.#lines.find(
      (line) => line.process === process && line.message === message && line.atMs >= fromMs,
    );
    return found?.atMs ?? null;
  }
}

function present(values: readonly (number | null)[]): number[] {
  return values.filter((value) => value !== null);
}
