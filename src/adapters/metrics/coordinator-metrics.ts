import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import { faultCauses, type GenerationCause, plannedCauses } from "../../core/generation-cause.ts";
import type { ClusterState, ClusterStatus } from "../../core/status.ts";
import { CommonMetrics, setOrRemove } from "./registry.ts";

/** What a coordinator tells of itself and of the run. */
export interface CoordinatorReadings {
  /** Null: it has not read the run's state yet. */
  readonly status: ClusterStatus | null;
  readonly isActive: boolean;
  readonly leaseRemainingMs: number | null;
  /** Milliseconds since 1970. */
  readonly latestWrittenAtMs: number | null;
  readonly refusals: Readonly<Record<string, number>>;
}

const states: readonly ClusterState[] = [
  ...["waiting", "forming", "training", "paused", "stopping", "stopped", "finished", "failed"],
] as readonly ClusterState[]; // all of them

export class CoordinatorMetrics {
  readonly #common: CommonMetrics;
  readonly #active: Gauge;
  readonly #state: Gauge;
  readonly #epoch: Gauge;
  readonly #epochs: Gauge;
  readonly #stepsPerEpoch: Gauge;
  readonly #members: Gauge;
  readonly #epochMetric: Gauge;
  readonly #latestWritten: Gauge;
  readonly #recoveries: Counter;
  readonly #changes: Counter;
  readonly #forming: Histogram;

  constructor(registry: Registry) {
    const registers = [registry];
    const gauge = (name: string, help: string, labelNames: string[] = []) =>
      new Gauge({ name, help, labelNames, registers });
    this.#common = new CommonMetrics(registry);
    this.#active = gauge("lockstep_coordinator_active", "1: this coordinator decides; 0: it stands by");
    this.#state = gauge("lockstep_job_state", "1 for the state that the job is in, 0 for all others", ["state"]);
    this.#epoch = gauge("lockstep_epoch", "Completed epochs");
    this.#epochs = gauge("lockstep_epochs", "Epochs that are wanted");
    this.#stepsPerEpoch = gauge("lockstep_steps_per_epoch", "Steps of an epoch; 0 before a worker has said it");
    this.#members = gauge("lockstep_members", "Workers that are there, whether they train or stand by");
    this.#epochMetric = gauge("lockstep_epoch_metric", "Loss and metrics of the last epoch", ["metric"]);
    this.#latestWritten = gauge(
      "lockstep_checkpoint_latest_timestamp_seconds",
      "When the latest checkpoint was written, in seconds since 1970",
    );
    const counter = (name: string, help: string, reasons: readonly string[]) => {
      const made = new Counter({ name, help, labelNames: ["reason"], registers });
      // Whoever looks for an increase has to see the zero before it.
      for (const reason of reasons) made.inc({ reason }, 0);
      return made;
    };
    this.#recoveries = counter(
      "lockstep_recoveries_total",
      "Generations that this coordinator formed after a fault",
      faultCauses,
    );
    this.#changes = counter(
      "lockstep_membership_changes_total",
      "Generations that this coordinator formed because somebody came, left in order, or started the run",
      plannedCauses,
    );
    this.#forming = new Histogram({
      name: "lockstep_forming_seconds",
      help: "From forming a generation until it ran",
      buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    });
  }

  formed(cause: GenerationCause): void {
    const isPlanned = (plannedCauses as readonly string[]).includes(cause);
    (isPlanned ? this.#changes : this.#recoveries).inc({ reason: cause });
  }

  running(formingMs: number): void {
    this.#forming.observe(formingMs / 1000);
  }

  refresh({ status, isActive, leaseRemainingMs, latestWrittenAtMs, refusals }: CoordinatorReadings): void {
    this.#active.set(isActive ? 1 : 0);
    this.#common.leaseRemaining(leaseRemainingMs);
    this.#common.refusals(refusals);
    setOrRemove(this.#latestWritten, latestWrittenAtMs === null ? null : latestWrittenAtMs / 1000);
    if (status !== null) this.#tell(status);
  }

  #tell(status: ClusterStatus): void {
    const workers = status.processes.filter(({ role }) => role === "worker");
    for (const state of states) this.#state.set({ state }, state === status.state ? 1 : 0);
    this.#common.generation.set(status.generation);
    this.#common.world.set(workers.filter(({ rank }) => rank !== null).length);
    this.#epoch.set(status.epoch);
    this.#common.step.set(status.step);
    this.#common.samplesPerSecond.set(status.running?.samplesPerSecond ?? 0);
    this.#epochs.set(status.epochs);
    this.#stepsPerEpoch.set(status.stepsPerEpoch);
    this.#members.set(workers.length);
    this.#epochMetric.reset();
    const metrics = status.history.at(-1)?.metrics ?? {};
    for (const [metric, value] of Object.entries(metrics)) this.#epochMetric.set({ metric }, value);
  }
}
