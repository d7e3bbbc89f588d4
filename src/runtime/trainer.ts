/**
 * Owns the state and takes it from step to step. A step is: the gradients of this worker's shards, added up along the
 * tree; the reduction over all workers; the update. What a step computes depends on the state, the job and the shard
 * numbers alone, so every worker that takes it gets the same bits.
 */
import { measuredOn } from "../core/checkpoint-policy.ts";
import type { Reduction, Round } from "../core/contribution.ts";
import { assert } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import { maxUncoveredBoundaries } from "../core/limits.ts";
import { lossWeightOf } from "../core/metric-sums.ts";
import {
  afterEpoch,
  afterStep,
  type EpochRules,
  initialProgress,
  means,
  type Progress,
  rateOf,
  type Sums,
} from "../core/progress.ts";
import { RandomStream } from "../core/random.ts";
import { largestSubtrees } from "../core/reduce-tree.ts";
import { doublesIn, floatsIn, type RowMemory, wordsIn } from "../core/row-memory.ts";
import { batchRange, epochOrder, type Range, shardRange, slice, stepRanges, stepsPerEpoch } from "../core/sampler.ts";
import { areEqual, checksumEvery, checksumOf } from "../core/state-checksum.ts";
import { splitRule } from "../core/validation-split.ts";
import type { Clock } from "../ports/clock.ts";
import type { Assignment, Reducer, RunOutcome, StepReport } from "../ports/compute.ts";
import type { StateSnapshot } from "../ports/transport.ts";
import type { BatchesAhead } from "./batches-ahead.ts";
import type { PreparedData } from "./prepared-data.ts";
import { ShardSums } from "./shard-sums.ts";
import type { TrainingProgram } from "./training-program.ts";

/** In a reduction's statistics, before the sums of loss and metrics. */
const samplesAt = 0;
const stopVotesAt = 1;
const saveVotesAt = 2;
/** The sums that `areEqual` compares: of 1, of each shard's checksum, and of its square. */
const checksumsAt = 3;
const sumsAt = 6;

/** What a trainer needs of a model: its state as one row, and its three functions. */
export type Program = Pick<
  TrainingProgram,
  | "valueCount"
  | "weightCount"
  | "trainableCount"
  | "reducedCount"
  | "partEnds"
  | "sumNames"
  | "load"
  | "save"
  | "prepare"
  | "gradients"
  | "validate"
  | "update"
>;

/** What a trainer needs of the data, after pre-processing. */
export type TrainingData = Pick<
  PreparedData,
  "digest" | "trainingSamples" | "validationSamples" | "training" | "validation"
>;

export interface TrainerOptions {
  readonly program: Program;
  readonly job: Job;
  readonly data: TrainingData;
  readonly shards: number;
  /** Where sums lie, so that whoever reduces them finds them there. */
  readonly memory: RowMemory;
  readonly clock: Clock;
  /** Left out: batches are prepared when they are needed. */
  readonly ahead?: BatchesAhead;
  /** States are compared before every so many steps; equal on all workers. Left out: as often as it costs little. */
  readonly checksumEvery?: number;
  /** Whether the gradients of the last epochs' last steps are kept for whoever asks. Left out: no. */
  readonly keepGradients?: boolean;
  readonly onStep: (report: StepReport) => void;
}

export class Trainer {
  readonly #program: Program;
  readonly #job: Job;
  readonly #data: TrainingData;
  readonly #shards: number;
  readonly #memory: RowMemory;
  readonly #clock: Clock;
  readonly #ahead: BatchesAhead | null;
  readonly #checksumEvery: number;
  readonly #onStep: (report: StepReport) => void;
  readonly stepsPerEpoch: number;
  readonly statisticsCount: number;
  /** Sums over all shards arrive here. Shared with the thread that receives them. */
  readonly #reduced: Reduction;
  readonly #shardSums: ShardSums;
  /** Of each part of the gradients of the shard that is computed last: whether it is there. Shared with the thread that sends them. */
  readonly #written: Int32Array;
  /** By the number of steps taken; null where none are kept. */
  readonly #gradients: Map<number, Float32Array> | null;
  #progress: Progress | null = null;
  #order: { epoch: number; positions: Uint32Array } | null = null;
  #stopVote = 0;
  #saveVote = 0;
  /** Of the state that the step under way is computed from; null where it is not compared. */
  #checksum: number | null = null;
  /** When the last step ended; null before the first. */
  #endedMs: number | null = null;
  /** What getting its samples has taken of the step under way. */
  #inputMs = 0;

  constructor(options: TrainerOptions) {
    this.#program = options.program;
    this.#job = options.job;
    this.#data = options.data;
    this.#shards = options.shards;
    this.#memory = options.memory;
    this.#clock = options.clock;
    this.#ahead = options.ahead ?? null;
    this.#checksumEvery = options.checksumEvery ?? checksumEvery(options.program.valueCount);
    this.#onStep = options.onStep;
    this.#gradients = options.keepGradients ? new Map() : null;
    this.stepsPerEpoch = stepsPerEpoch(this.#data.trainingSamples, this.#job.batchSize);
    this.statisticsCount = sumsAt + this.#program.sumNames.length;
    const allocate = () => this.#allocate();
    this.#reduced = allocate();
    const gradients = { count: this.#program.trainableCount, wire: this.#job.wire };
    this.#shardSums = new ShardSums({ shards: this.#shards, memory: this.#memory, allocate, gradients });
    this.#written = wordsIn(this.#memory.allocate(this.#program.partEnds.length * Int32Array.BYTES_PER_ELEMENT));
  }

  /** Gets ready to compute any shard of any step, so that the first one takes no longer than the others. */
  prepare(): void {
    const { trainingSamples, validationSamples } = this.#data;
    const { batchSize } = this.#job;
    const shares = (count: number) => [slice(count, this.#shards, 0), slice(count, this.#shards, this.#shards - 1)];
    const sizes = (ranges: readonly Range[]) => ranges.map(({ begin, end }) => end - begin);
    const batches = [Math.min(batchSize, trainingSamples), trainingSamples % batchSize];
    const validated = sizes(shares(validationSamples)).flatMap((share) => [
      Math.min(share, this.#validationBatch),
      share % this.#validationBatch,
    ]);
    const some = (counts: readonly number[]) => [...new Set(counts)].filter((count) => count > 0);
    this.#program.prepare({
      training: some(batches.flatMap((count) => sizes(shares(count)))),
      validation: some(validated),
    });
  }

  /** Samples that are validated at once. */
  get #validationBatch(): number {
    return Math.ceil(this.#job.batchSize / this.#shards);
  }

  initialize(place: { lineage: number; era: number }): void {
    // The program begins with the values that are a function of the seed, and was not trained yet.
    assert(this.#progress === null, "the seed's state is taken by a worker that has none");
    this.#progress = initialProgress(place.lineage, place.era);
  }

  restore(state: StateSnapshot): void {
    assert(
      state.values.length === this.#program.valueCount,
      "a state has as many values as the model and its optimizer",
    );
    this.#program.load(state.values);
    this.#progress = decodeJson<Progress>(state.progress);
  }

  /** A copy, in `into` where it is given. */
  snapshot(into?: Float32Array): StateSnapshot {
    assert(this.#progress !== null, "a worker that is asked for its state has one");
    return { progress: encodeJson(this.#progress), values: this.#program.save(into) };
  }

  /** The mean gradient of the step that ended an epoch, where it is kept. */
  gradient(step: number): Float32Array | null {
    return this.#gradients?.get(step) ?? null;
  }

  voteToStop(): void {
    this.#stopVote = 1;
  }

  /** Until a save was voted for, by whomever. */
  voteToSave(): void {
    this.#saveVote = 1;
  }

  async run(assignment: Assignment, reducer: Reducer): Promise<RunOutcome> {
    const nodes = largestSubtrees(this.#shards, assignment.shards);
    for (;;) {
      if (this.#isEpochUsedUp) return { kind: (await this.#closeEpoch(nodes, reducer)) ? "boundary" : "aborted" };
      const votes = await this.#step(nodes, reducer);
      if (votes === "aborted" || votes === "differs") return { kind: votes };
      // What is saved at an epoch's end is the closed epoch.
      if (this.#isEpochUsedUp) continue;
      if (votes.stop) return { kind: "stopped" };
      if (votes.save || this.#isSaveDue) return { kind: "save" };
    }
  }

  /** A function of the step, so that all members save after the same one. */
  get #isSaveDue(): boolean {
    const { saveFreq } = this.#job.checkpoint;
    return typeof saveFreq === "object" && "steps" in saveFreq && this.#now.step % saveFreq.steps === 0;
  }

  /** Every sample has been used once; a dataset that was changed on purpose may even have fewer. */
  get #isEpochUsedUp(): boolean {
    return this.#now.samples >= this.#data.trainingSamples;
  }

  get #now(): Progress {
    assert(this.#progress !== null, "a worker that trains has a state");
    return this.#progress;
  }

  /** One step; what was voted for, or "aborted" or "differs" with the state as it was. */
  async #step(
    nodes: readonly Range[],
    reducer: Reducer,
  ): Promise<{ stop: boolean; save: boolean } | "aborted" | "differs"> {
    const begun = this.#clock.monotonicMs();
    const pausedMs = begun - (this.#endedMs ?? begun);
    this.#inputMs = 0;
    const progress = this.#now;
    const batch = batchRange(this.#data.trainingSamples, this.#job.batchSize, progress.samples);
    const isCompared = progress.step % this.#checksumEvery === 0;
    this.#checksum = isCompared ? checksumOf(this.#program.save(), this.#shards) : null;
    const next = batchRange(this.#data.trainingSamples, this.#job.batchSize, batch.end);
    const positions = stepRanges(nodes, this.#shards, next).map((range) => this.#positions(progress.epoch, range));
    this.#ahead?.expect(progress.epoch, positions);
    const round: Round = { step: progress.step, pass: 0 };
    const own = this.#shardSums.contributions(
      nodes,
      batch.end - batch.begin,
      (shard, into, isOpen) => this.#shardGradients(progress, batch, shard, into, isOpen),
      reducer.open &&
        ((own) => {
          this.#written.fill(0);
          reducer.open!({ round, own, into: this.#reduced, partEnds: this.#program.partEnds, written: this.#written });
        }),
    );
    const computedMs = this.#clock.monotonicMs();
    if ((await reducer.reduce(round, own, this.#reduced)) === "aborted") return "aborted";
    if (!this.#statesAreEqual) return "differs";
    const reducedMs = this.#clock.monotonicMs();
    const sums = this.#sumsOf(this.#reduced);
    const learningRate = rateOf(progress, this.#rules, progress.step);
    const weight = lossWeightOf(sums);
    this.#program.update(this.#reduced.values, sums.samples, { number: progress.step + 1, learningRate, weight });
    this.#progress = afterStep(progress, sums, this.#sampling);
    if (this.#gradients && this.#isEpochUsedUp) this.#keepGradient(this.#gradients, weight || 1);
    this.#endedMs = this.#clock.monotonicMs();
    const stepMs = this.#endedMs - begun;
    this.#ahead?.stepped(this.#inputMs, stepMs);
    this.#onStep({
      progress: this.#progress,
      samples: sums.samples,
      stepMs,
      phases: {
        inputMs: this.#inputMs,
        computeMs: computedMs - begun - this.#inputMs,
        allReduceMs: reducedMs - computedMs,
        updateMs: this.#endedMs - reducedMs,
      },
      pausedMs,
      samplesPerSecond: (sums.samples / stepMs) * 1000,
      metrics: means(this.#progress),
    });
    const votes = this.#reduced.statistics;
    const save = votes[saveVotesAt]! > 0;
    if (save) this.#saveVote = 0;
    return { stop: votes[stopVotesAt]! > 0, save };
  }

  /** Training runs ahead of what is published, and so of what is asked for, by a bounded number of epochs. */
  #keepGradient(gradients: Map<number, Float32Array>, weight: number): void {
    gradients.set(
      this.#now.step,
      this.#reduced.values.slice(0, this.#program.trainableCount).map((sum) => sum / weight),
    );
    const [oldest] = gradients.keys();
    if (gradients.size > maxUncoveredBoundaries + 1 && oldest !== undefined) gradients.delete(oldest);
  }

  /** Of all whose shards were computed, as far as their checksums tell. */
  get #statesAreEqual(): boolean {
    const [count = 0, sum = 0, squares = 0] = this.#reduced.statistics.subarray(checksumsAt, sumsAt);
    return areEqual({ count, sum, squares });
  }

  /** @param isOpen whether the round was opened: then it is said what is there, and whoever reduces rounds it */
  #shardGradients(progress: Progress, batch: Range, shard: number, into: Reduction, isOpen: boolean): void {
    const range = shardRange(batch, this.#shards, shard);
    const begun = this.#clock.monotonicMs();
    const positions = this.#positions(progress.epoch, range);
    const samples = this.#ahead?.take(positions, progress.epoch) ?? this.#data.training(positions, progress.epoch);
    this.#inputMs += this.#clock.monotonicMs() - begun;
    const random = new RandomStream(this.#job.seed, "step", progress.step, shard);
    const written = isOpen ? this.#written : undefined;
    this.#program.gradients(samples, random, into.values, into.statistics.subarray(sumsAt), written);
    if (!isOpen) this.#shardSums.round(into);
    into.statistics[samplesAt] = samples.count;
    into.statistics[stopVotesAt] = this.#stopVote;
    into.statistics[saveVotesAt] = this.#saveVote;
    const checksum = this.#checksum;
    into.statistics.set(checksum === null ? [0, 0, 0] : [1, checksum, checksum * checksum], checksumsAt);
  }

  /** Validates and closes the epoch. False when frozen first; validation is then repeated in the next generation. */
  async #closeEpoch(nodes: readonly Range[], reducer: Reducer): Promise<boolean> {
    let validation: Sums | null = null;
    const { validationSamples } = this.#data;
    if (validationSamples > 0) {
      const own = this.#shardSums.contributions(nodes, validationSamples, (shard, into) =>
        this.#shardValidation(shard, into),
      );
      const round: Round = { step: this.#now.step, pass: 1 };
      if ((await reducer.reduce(round, own, this.#reduced)) === "aborted") return false;
      validation = this.#sumsOf(this.#reduced);
    }
    this.#progress = afterEpoch(this.#now, validation, this.#rules);
    return true;
  }

  /** The sums over one of S fixed slices of the validation data, in batches of a fixed size. */
  #shardValidation(shard: number, into: Reduction): void {
    const range = slice(this.#data.validationSamples, this.#shards, shard);
    const size = this.#validationBatch;
    const sums = new Float64Array(this.#program.sumNames.length);
    into.statistics.fill(0);
    for (let begin = range.begin, number = 0; begin < range.end; begin += size, number++) {
      const batch = this.#data.validation({ begin, end: Math.min(begin + size, range.end) });
      const random = new RandomStream(this.#job.seed, "validation", this.#now.step, shard, number);
      this.#program.validate(batch, random, sums);
      for (let i = 0; i < sums.length; i++) into.statistics[sumsAt + i]! += sums[i]!;
    }
    into.statistics[samplesAt] = range.end - range.begin;
  }

  #positions(epoch: number, { begin, end }: Range): Uint32Array {
    if (this.#order?.epoch !== epoch) {
      this.#order = { epoch, positions: epochOrder(this.#job.seed, epoch, this.#data.trainingSamples) };
    }
    return this.#order.positions.subarray(begin, end);
  }

  get #sampling(): Parameters<typeof afterStep>[2] {
    const { seed, validation, batchSize } = this.#job;
    const { trainingSamples, validationSamples, digest } = this.#data;
    const samples = trainingSamples + validationSamples;
    return { seed, samples, validation: splitRule(validation), batchSize, shards: this.#shards, data: digest };
  }

  get #rules(): EpochRules {
    const { checkpoint, optimizer, epochs } = this.#job;
    const { stepsPerEpoch } = this;
    const data = measuredOn(checkpoint.monitor, this.#sampling);
    return { policy: checkpoint, data, learningRate: optimizer.learningRate, stepsPerEpoch, epochs };
  }

  #sumsOf({ statistics }: Reduction): Sums {
    const totals = this.#program.sumNames.map((name, i) => [name, statistics[sumsAt + i]!] as const);
    return { samples: statistics[samplesAt]!, totals: Object.fromEntries(totals) };
  }

  #allocate(): Reduction {
    return {
      values: floatsIn(this.#memory.allocate(this.#program.reducedCount * Float32Array.BYTES_PER_ELEMENT)),
      statistics: doublesIn(this.#memory.allocate(this.statisticsCount * Float64Array.BYTES_PER_ELEMENT)),
    };
  }
}
