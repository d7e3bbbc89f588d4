import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { StepPhases, StepReport, StepTiming } from "../../ports/compute.ts";
import { CommonMetrics } from "./registry.ts";

/** What a worker tells of itself when it is asked. */
export interface WorkerReadings {
  readonly leaseRemainingMs: number | null;
  /** Since the process began, before TLS. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly earlyBuckets: number;
  /** By kind, of each thread that counts. */
  readonly refusals: readonly Readonly<Record<string, number>>[];
}

/** A checkpoint that was written, whole and verified. */
export interface WrittenCheckpoint {
  readonly writeMs: number;
  readonly sizeBytes: number;
}

const stepBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const writeBuckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** As the label `phase` has them. */
const phaseNames: Readonly<Record<keyof StepPhases, string>> = {
  inputMs: "input",
  computeMs: "compute",
  allReduceMs: "all-reduce",
  updateMs: "update",
};

export class WorkerMetrics {
  readonly #common: CommonMetrics;
  readonly #step: Histogram;
  readonly #phase: Histogram;
  readonly #samples: Counter;
  readonly #sent: Counter;
  readonly #received: Counter;
  readonly #early: Counter;
  readonly #write: Histogram;
  readonly #writeFailures: Counter;
  readonly #size: Gauge;

  constructor(registry: Registry) {
    const registers = [registry];
    const counter = (name: string, help: string) => new Counter({ name, help, registers });
    this.#common = new CommonMetrics(registry);
    this.#step = new Histogram({
      name: "lockstep_step_seconds",
      help: "How long steps took, from the first sample to the update",
      buckets: stepBuckets,
      registers,
    });
    this.#phase = new Histogram({
      name: "lockstep_step_phase_seconds",
      help: "Where that time went; paused is the time between a step and the one before",
      labelNames: ["phase"],
      buckets: stepBuckets,
      registers,
    });
    this.#samples = counter("lockstep_samples_total", "Samples of all workers in the steps that this one took part in");
    this.#sent = counter("lockstep_exchange_sent_bytes_total", "Bytes sent to other workers, before TLS");
    this.#received = counter("lockstep_exchange_received_bytes_total", "Bytes received from other workers, after TLS");
    this.#early = counter(
      "lockstep_exchange_early_buckets_total",
      "Buckets of gradients sent while the rest of a step was computed",
    );
    this.#write = new Histogram({
      name: "lockstep_checkpoint_write_seconds",
      help: "From the first byte of a checkpoint until it was durable, read back and verified",
      buckets: writeBuckets,
      registers,
    });
    this.#writeFailures = counter("lockstep_checkpoint_write_failures_total", "Checkpoints that could not be written");
    this.#size = new Gauge({
      name: "lockstep_checkpoint_size_bytes",
      help: "Size of the checkpoint that this worker wrote last",
      registers,
    });
    this.#size.remove();
  }

  stood({ generation, kind, world }: { generation: number; kind: "forming" | "running"; world: number }): void {
    this.#common.generation.set(generation);
    this.#common.world.set(kind === "running" ? world : 0);
  }

  stepped({ samplesPerSecond }: StepReport): void {
    this.#common.samplesPerSecond.set(samplesPerSecond);
  }

  timed(timings: readonly StepTiming[]): void {
    for (const { step, samples, stepMs, pausedMs, phases } of timings) {
      this.#common.step.set(step);
      this.#samples.inc(samples);
      this.#step.observe(stepMs / 1000);
      this.#phase.observe({ phase: "paused" }, pausedMs / 1000);
      for (const [name, phase] of Object.entries(phaseNames)) {
        this.#phase.observe({ phase }, phases[name as keyof StepPhases] / 1000); // its own keys
      }
    }
  }

  written({ writeMs, sizeBytes }: WrittenCheckpoint): void {
    this.#write.observe(writeMs / 1000);
    this.#size.set(sizeBytes);
  }

  writeFailed(): void {
    this.#writeFailures.inc();
  }

  refresh({ leaseRemainingMs, sentBytes, receivedBytes, earlyBuckets, refusals }: WorkerReadings): void {
    this.#common.leaseRemaining(leaseRemainingMs);
    this.#common.refusals(...refusals);
    for (const [counter, count] of [
      [this.#sent, sentBytes],
      [this.#received, receivedBytes],
      [this.#early, earlyBuckets],
    ] as const) {
      counter.reset();
      counter.inc(count);
    }
  }
}
