/**
 * A job's leader at work without its training: two workers of one generation, either of which can lead; a state that
 * arrives at the end of each epoch; the real leadership, storage and policy over a disk and an etcd that a cell chooses.
 */
import { openDirectoryStorage } from "../../src/adapters/fs/checkpoint-storage.ts";
import type { FileSystem } from "../../src/adapters/fs/file-system.ts";
import { validateJob } from "../../src/core/job-validation.ts";
import { messageOf } from "../../src/core/errors.ts";
import { decodeJson, encodeJson } from "../../src/core/json.ts";
import { type Keys, keysOf } from "../../src/core/keys.ts";
import type { Running } from "../../src/core/membership.ts";
import { firstOrigin } from "../../src/core/origin.ts";
import { afterEpoch, initialProgress, type Progress } from "../../src/core/progress.ts";
import type { Arrival, JobRecord } from "../../src/core/records.ts";
import type { CheckpointContent, CheckpointStorage } from "../../src/ports/checkpoint-storage.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { ComputeInfo } from "../../src/ports/compute.ts";
import type { Coordination, Lease } from "../../src/ports/coordination.ts";
import type { Log } from "../../src/ports/log.ts";
import type { StateSnapshot } from "../../src/ports/transport.ts";
import { Leadership } from "../../src/runtime/leadership.ts";
import type { Point as TrainingPoint } from "../../src/runtime/point.ts";
import { RunView } from "../../src/runtime/run-view.ts";
import { digestOf, snapshotToContent, weightsDigestOf } from "../../src/runtime/state.ts";
import { Process } from "./process.ts";

/** No hint is ever lost here, so nobody has to look by itself. */
export const neverMs = 3_600_000;
export const leaseTtlMs = 10_000;
export const stepsPerEpoch = 10;
/** Attempts after which a leader that gets nowhere is given up. */
const patience = 8;

export interface Place {
  readonly directory: string;
  readonly disk: FileSystem;
  readonly clock: Clock;
  /** A new client of the one etcd, which lives by this clock. */
  readonly connect: (clock: Clock) => Coordination;
  /** Which run of the job, so that many can share an etcd. */
  readonly run: number;
  /** The monitored loss of each epoch. */
  readonly losses?: readonly number[];
  /** How many float32 numbers the state has. */
  readonly size?: number;
}

/** What a job file comes to that says nothing but `monitor: "loss"`. */
const { checkpoint } = validateJob({
  ...{ name: "matrix", seed: 1, batchSize: 1, epochs: 100 },
  data: { kind: "csv", path: "unused.csv", label: "unused" },
  model: () => {
    throw new Error("there is no model");
  },
  compile: { optimizer: { kind: "sgd", learningRate: 0.1 }, loss: "meanSquaredError" },
  checkpoint: { monitor: "loss" },
});

const defaultLosses = [0.9, 0.5, 0.8, 0.7, 0.4, 0.6];

export class Scene {
  readonly place: Place;
  readonly keys: Keys;
  readonly record: JobRecord;
  readonly observer: Coordination;
  readonly progresses: readonly Progress[];
  readonly info: ComputeInfo;
  /** What every leader said and could not help, in order. */
  readonly warnings: string[] = [];
  #old = new Set<string>();
  #ids = 0;
  #generation = 0;

  constructor(place: Place) {
    this.place = place;
    this.keys = keysOf("matrix", place.run);
    this.observer = place.connect(place.clock);
    this.record = recordOf(place.run);
    this.info = infoOf(place.size ?? 64);
    this.progresses = progressesOf(place.losses ?? defaultLosses);
  }

  get generation(): number {
    return this.#generation;
  }

  /** A process with its name as a worker's id, not a member before the next `form`. */
  enter(name: string, changes: Partial<Pick<Place, "disk" | "clock">> = {}): Process {
    const { directory, disk, clock, connect } = { ...this.place, ...changes };
    const isOld = (id: string) => this.#old.has(id);
    return new Process({ name, keys: this.keys, directory, disk, connect, clock, isOld });
  }

  /** Whatever is published now is old from here on, in the names of points. */
  async markOld(): Promise<void> {
    const { entries } = await this.observer.list(this.keys.checkpoints);
    this.#old = new Set(entries.map(({ key }) => key.slice(this.keys.checkpoints.length)));
  }

  /** The next generation, of these members. */
  async form(...names: readonly string[]): Promise<void> {
    const known = await this.observer.get(this.keys.generation);
    this.#generation = known ? decodeJson<Running>(known.value).generation + 1 : 1;
    const members = names.map((workerId, rank) => {
      return { workerId, address: "", rank, shards: { begin: rank, end: rank + 1 } };
    });
    const running: Running = {
      kind: "running",
      generation: this.#generation,
      members,
      source: { kind: "seed" },
      origin: firstOrigin,
      start: 1,
      paused: false,
      reason: "the first membership",
    };
    await this.observer.transact([], [{ kind: "put", key: this.keys.generation, value: encodeJson(running) }]);
  }

  /** The generation under way, as a process that has come in from elsewhere reads it. */
  async readGeneration(): Promise<void> {
    const known = await this.observer.get(this.keys.generation);
    if (known) this.#generation = decodeJson<Running>(known.value).generation;
  }

  /** All members have arrived at the end of the epoch. */
  async arrive(epoch: number): Promise<void> {
    const entry = await this.observer.get(this.keys.generation);
    const { members } = decodeJson<Running>(entry!.value);
    const { step, digest } = { step: epoch * stepsPerEpoch, digest: this.#digest(epoch) };
    for (const { workerId, rank } of members) {
      const arrival: Arrival = { workerId, step, digest };
      const key = this.keys.arrival(this.#generation, `epoch-${epoch}`, rank);
      await this.observer.transact([], [{ kind: "put", key, value: encodeJson(arrival) }]);
    }
  }

  async leader(process: Process): Promise<Leader> {
    const storage = await openDirectoryStorage(this.place.directory, this.log, process.fileSystem);
    return this.leaderOver(process, storage);
  }

  async leaderOver(process: Process, storage: CheckpointStorage): Promise<Leader> {
    const lease = await process.coordination.grantLease(leaseTtlMs);
    return new Leader(this, process, storage, lease);
  }

  newId(): string {
    this.#ids += 1;
    return `n${this.#ids}-${process.pid}`;
  }

  point(epoch: number): TrainingPoint {
    const progress = this.progresses[epoch]!;
    const state = { lineage: 1, era: 1, step: progress.step, epoch, digest: this.#digest(epoch) };
    return {
      kind: "boundary",
      periodic: false,
      release: null,
      name: `epoch-${epoch}`,
      generation: this.#generation,
      progress,
      state,
      weightsDigest: weightsDigestOf(this.snapshot(epoch), this.info),
      content: (identity) => this.content(epoch, identity),
      end: null,
      agreed: false,
    };
  }

  /** What a checkpoint of the epoch holds, whoever writes it. */
  content(epoch: number, identity: Parameters<TrainingPoint["content"]>[0]): CheckpointContent {
    const { state, weightsDigest } = this.point(epoch);
    return snapshotToContent(this.snapshot(epoch), this.info, this.record, { ...identity, state, weightsDigest });
  }

  /** The state at the end of the epoch: weights, and then the optimizer's slots, of which there is one. */
  snapshot(epoch: number): StateSnapshot {
    return { progress: encodeJson(this.progresses[epoch]!), values: this.values(epoch) };
  }

  values(epoch: number): Float32Array {
    const { weightCount, trainableCount } = this.info;
    return Float32Array.from({ length: weightCount + trainableCount }, (_, i) =>
      Math.fround(Math.sin(i + 1000 * epoch)),
    );
  }

  get log(): Log {
    const warn = (message: string, fields: object = {}) =>
      void this.warnings.push(`${message} ${JSON.stringify(fields)}`);
    const log: Log = { debug: () => {}, info: () => {}, warn, error: warn, with: () => log };
    return log;
  }

  #digest(epoch: number): string {
    return digestOf(this.snapshot(epoch));
  }
}

/** One process' leadership, driven by hand: nothing happens but inside `work`. */
export class Leader {
  readonly process: Process;
  readonly storage: CheckpointStorage;
  readonly lease: Lease;
  readonly #scene: Scene;
  readonly #view: RunView;
  readonly #leadership: Leadership;
  /** What the leader says when storage has failed for good. */
  alarm: string | null = null;

  constructor(scene: Scene, process: Process, storage: CheckpointStorage, lease: Lease) {
    this.#scene = scene;
    this.process = process;
    this.storage = storage;
    this.lease = lease;
    const { keys, record, log } = scene;
    const { coordination, clock, name: workerId } = process;
    this.#view = new RunView(coordination, keys, record.start, neverMs, log);
    this.#leadership = new Leadership({
      ...{ workerId, record, keys, coordination, storage, clock, log },
      view: this.#view,
      pollMs: neverMs,
      lease: () => lease,
      seen: () => 0,
      newId: () => scene.newId(),
      onFailure: (error) => {
        this.alarm = messageOf(error);
      },
    });
  }

  /** Everyone has arrived at the end of the epoch, and this process knows its state. */
  add(epoch: number): void {
    this.#leadership.add(this.#scene.point(epoch));
  }

  /** Leads until nothing is left to do, or it gets no further. */
  async work(): Promise<void> {
    for (let attempt = 0; attempt < patience; attempt += 1) {
      await this.#view.refresh();
      await this.#leadership.tend();
      if (this.#leadership.uncovered === 0 || this.alarm !== null || !this.lease.isHeld()) return;
    }
  }

  /** Begins to lead, and does no more than that: it has nothing to publish. */
  async stand(): Promise<void> {
    await this.#view.refresh();
    await this.#leadership.tend();
  }

  /** Leaves in order: what it holds ends with it. */
  async leave(): Promise<void> {
    await this.#leadership.resign();
    this.close();
    await this.lease.revoke();
  }

  close(): void {
    this.#view.close();
  }
}

function infoOf(weightCount: number): ComputeInfo {
  const fitted = { field: "preprocess", shape: [1], steps: [] };
  return {
    ...{
      fingerprint: { shards: "2" },
      weightCount,
      trainableCount: weightCount,
      reducedCount: weightCount,
      wire: "float32",
      slotNames: ["m"],
      statisticsCount: 0,
    },
    parameters: [{ name: "w", shape: [weightCount], size: weightCount, offset: 0 }],
    preprocessing: { features: fitted, label: fitted },
    ...{ trainingSamples: 10, validationSamples: 0, stepsPerEpoch, engine: "none", topology: null },
  };
}

function recordOf(run: number): JobRecord {
  return {
    ...{ job: "matrix", run, shards: 2, workers: { start: 1, min: 1, max: 2 }, budgetMs: 5000, threads: 1, fields: {} },
    ...{ epochs: 100, checkpoint, replicas: 0, mayChange: false, isAskedFor: false, start: 1 },
  };
}

/** Epoch 0 is the state before training; each loss closes one more. */
function progressesOf(losses: readonly number[]): readonly Progress[] {
  const progresses = [initialProgress(1, 1)];
  for (const loss of losses) {
    const before = progresses.at(-1)!;
    const ended = { ...before, step: before.step + stepsPerEpoch, samples: 1, totals: { loss } };
    const rules = { policy: checkpoint, data: "", learningRate: 0.1, stepsPerEpoch, epochs: 100 };
    progresses.push(afterEpoch(ended, null, rules));
  }
  return progresses;
}
