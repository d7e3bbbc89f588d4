/** How far the workers say they are, and how fast they have been lately. */
import { type Pace, stepsPerSecond, withStep } from "../core/pace.ts";
import type { RunReading } from "./run-reading.ts";
import type { StatusInput, WorkerProgress } from "./cluster-status.ts";
import type { Clock } from "../ports/clock.ts";

export class ReportedProgress {
  readonly #clock: Clock;
  readonly #progress = new Map<string, WorkerProgress>();
  #pace: Pace = [];
  /** When a worker has reported last. */
  #updatedMs: number | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  note(progress: WorkerProgress): void {
    this.#progress.set(progress.workerId, progress);
    this.#pace = withStep(this.#pace, progress.step, this.#clock.monotonicMs());
    this.#updatedMs = this.#clock.wallMs();
  }

  /** Of those who are not there any more. */
  forget({ members }: RunReading): void {
    const here = new Set(members.map(({ workerId }) => workerId));
    for (const workerId of this.#progress.keys()) if (!here.has(workerId)) this.#progress.delete(workerId);
  }

  /** What a status says of it. */
  told(): Pick<StatusInput, "progresses" | "speed" | "updatedAt"> {
    return {
      progresses: [...this.#progress.values()],
      speed: stepsPerSecond(this.#pace, this.#clock.monotonicMs()),
      updatedAt: this.#updatedMs === null ? null : new Date(this.#updatedMs).toISOString(),
    };
  }
}
