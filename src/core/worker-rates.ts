/** How fast each worker has been in the last minutes: a bounded ring of points, made of their progress reports. */

/** One worker's speed over the time since its point before. */
export interface RatePoint {
  readonly workerId: string;
  /** Wall-clock time, for people. */
  readonly atMs: number;
  readonly step: number;
  readonly samplesPerSecond: number;
  /** Time from step to step; null where no step was finished, or it is not known how many. */
  readonly stepMs: number | null;
}

export interface RateReport {
  readonly workerId: string;
  readonly generation: number;
  readonly step: number;
  readonly samplesPerSecond: number;
}

const keptMs = 5 * 60_000;
const pointEveryMs = 2000;
/** More workers than these are not followed, so that the ring stays small in a large cluster. */
const mostWorkers = 64;

export class WorkerRates {
  #points: RatePoint[] = [];
  #first = 0;
  readonly #last = new Map<string, { readonly report: RateReport; readonly monotonicMs: number }>();

  /** The points, oldest first, and the index of the first one counted from the beginning. */
  get ring(): { readonly first: number; readonly items: readonly RatePoint[] } {
    return { first: this.#first, items: this.#points };
  }

  note(report: RateReport, { monotonicMs, wallMs }: { readonly monotonicMs: number; readonly wallMs: number }): void {
    const { workerId, generation, step, samplesPerSecond } = report;
    const before = this.#last.get(workerId);
    if (!before && this.#last.size >= mostWorkers && !this.#forgetOne(monotonicMs)) return;
    if (before && before.report.generation === generation && monotonicMs - before.monotonicMs < pointEveryMs) return;
    this.#last.set(workerId, { report: { workerId, generation, step, samplesPerSecond }, monotonicMs });
    // The first report of a generation may come any time after its first step.
    if (!before || before.report.generation !== generation) return;
    const steps = step - before.report.step;
    const stepMs = steps > 0 ? (monotonicMs - before.monotonicMs) / steps : null;
    const old = this.#points.findIndex(({ atMs }) => atMs >= wallMs - keptMs);
    const gone = old < 0 ? this.#points.length : old;
    // A new array each time: whoever has the one before may compare.
    this.#points = [...this.#points.slice(gone), { workerId, atMs: wallMs, step, samplesPerSecond, stepMs }];
    this.#first += gone;
  }

  /** Makes place for another worker, if one has been silent for as long as points are kept. */
  #forgetOne(nowMs: number): boolean {
    for (const [workerId, { monotonicMs }] of this.#last) {
      if (nowMs - monotonicMs < keptMs) continue;
      return this.#last.delete(workerId);
    }
    return false;
  }
}
