/** A worker's spans: of each step, with its phases; and of each change of membership, from the first sign of it to the first step after. */
import type { StepTiming } from "../../ports/compute.ts";
import type { SpanTime, Spans } from "./tracer.ts";

/** What a worker is in a generation that it has read of. */
export interface TracedStanding {
  readonly generation: number;
  readonly kind: "forming" | "running";
  readonly world: number;
  /** Null: it stands by. */
  readonly rank: number | null;
  readonly reason: string;
}

/** When what happened, in milliseconds since 1970. */
interface Change {
  suspicion: { readonly atMs: number; readonly reason: string } | null;
  formingMs: number | null;
  runningMs: number | null;
  standing: TracedStanding | null;
}

const nothing = (): Change => ({ suspicion: null, formingMs: null, runningMs: null, standing: null });

export class WorkerTraces {
  readonly #spans: Spans;
  readonly #wallMs: () => number;
  #change = nothing();
  #hasTrained = false;

  constructor(spans: Spans, wallMs: () => number) {
    this.#spans = spans;
    this.#wallMs = wallMs;
  }

  /** A peer is out of reach, or late. */
  suspected(reason: string): void {
    this.#change.suspicion ??= { atMs: this.#wallMs(), reason };
  }

  stood(standing: TracedStanding): void {
    if (standing.rank === null) {
      this.#change = nothing();
      return;
    }
    if (standing.kind === "forming") {
      this.#change.formingMs ??= this.#wallMs();
      this.#change.runningMs = null;
    } else this.#change.runningMs ??= this.#wallMs();
    this.#change.standing = standing;
  }

  timed(timings: readonly StepTiming[]): void {
    for (const timing of timings) {
      const { standing } = this.#change;
      if (standing?.generation === timing.generation) this.#tellChange(standing, spanOf(timing));
      this.#tellStep(timing);
    }
  }

  close(): Promise<void> {
    return this.#spans.close();
  }

  #tellStep(timing: StepTiming): void {
    const { generation, step, epoch, samples, phases, pausedMs } = timing;
    const whole = spanOf(timing);
    const parent = this.#spans.root(`step/${generation}/${step}`, "step", whole, {
      ...{ "lockstep.generation": generation, "lockstep.epoch": epoch, "lockstep.step": step },
      ...{ "lockstep.samples": samples, "lockstep.paused_ms": pausedMs },
    });
    let startMs = whole.startMs;
    for (const [name, ms] of [
      ["input", phases.inputMs],
      ["compute", phases.computeMs],
      ["all-reduce", phases.allReduceMs],
      ["update", phases.updateMs],
    ] as const) {
      this.#spans.child(parent, name, { startMs, endMs: startMs + ms });
      startMs += ms;
    }
  }

  #tellChange({ generation, world, rank, reason }: TracedStanding, first: SpanTime): void {
    const { suspicion, formingMs, runningMs } = this.#change;
    const isRecovery = this.#hasTrained;
    this.#change = nothing();
    this.#hasTrained = true;
    if (formingMs === null || runningMs === null) return;
    const startMs = suspicion?.atMs ?? formingMs;
    const name = isRecovery ? "recovery" : "joining";
    const parent = this.#spans.root(
      `generation/${generation}`,
      name,
      { startMs, endMs: first.endMs },
      {
        ...{ "lockstep.generation": generation, "lockstep.world": world, "lockstep.reason": reason },
        ...(rank !== null && { "lockstep.rank": rank }),
      },
    );
    if (suspicion) {
      const attributes = { "lockstep.reason": suspicion.reason };
      this.#spans.child(parent, "suspicion", { startMs, endMs: formingMs }, attributes);
    }
    this.#spans.child(parent, "forming", { startMs: formingMs, endMs: runningMs });
    const begunMs = Math.max(runningMs, first.startMs);
    this.#spans.child(parent, "running", { startMs: runningMs, endMs: begunMs });
    this.#spans.child(parent, "first step", { startMs: begunMs, endMs: first.endMs });
  }
}

function spanOf({ endedAtMs, stepMs }: StepTiming): SpanTime {
  return { startMs: endedAtMs - stepMs, endMs: endedAtMs };
}
