/**
 * A model so small that thousands of whole trainings fit into a minute, and as awkward as a real one: its sums depend on
 * the order of their terms, its gradients on weights, samples and the shard's random numbers, its update on a slot. And
 * it keeps books: one number a sample, raised by that sample's gradient, so the state itself says how often each was
 * used.
 */
import { checkpointRule } from "../../src/core/checkpoint-validation.ts";
import type { Fingerprint } from "../../src/core/fingerprint.ts";
import type { Job, SaveFrequency } from "../../src/core/job.ts";
import type { RandomStream } from "../../src/core/random.ts";
import type { Range } from "../../src/core/sampler.ts";
import type { WireFormat } from "../../src/core/wire.ts";
import type { ComputeInfo } from "../../src/ports/compute.ts";
import type { Program, TrainingData } from "../../src/runtime/trainer.ts";
import { noSettings } from "../../src/core/settings.ts";

/** A job to simulate; a function of the seed. */
export interface JobShape {
  readonly seed: number;
  readonly trainingSamples: number;
  readonly validationSamples: number;
  readonly batchSize: number;
  readonly epochs: number;
  readonly shards: number;
  /** From the end of that epoch on there is another S; null: it stays. */
  readonly later?: { readonly afterEpoch: number; readonly shards: number } | null;
  readonly monitor: string;
  readonly mode: "min" | "max";
  readonly hasSchedule: boolean;
  readonly wire: WireFormat;
  /** So many epochs without improvement end the run; null: it trains all. */
  readonly patience: number | null;
  readonly saveFreq: SaveFrequency;
}

const weights = 5;
/** Of the values, those that are gradients; behind them lie the books. */
export const gradientCount = weights;

/** Lives are short, so states are compared often. */
export const checksumEvery = 2;

export class TinyProgram implements Program {
  readonly sumNames = ["loss", "meanAbsoluteError"];
  readonly weightCount: number;
  readonly trainableCount = weights;
  readonly reducedCount: number;
  readonly partEnds: readonly number[];
  readonly valueCount: number;
  /** Weights, then the books, then the slot. */
  #values: Float32Array;

  constructor({ trainingSamples, validationSamples }: JobShape) {
    this.weightCount = weights + trainingSamples + validationSamples;
    this.reducedCount = this.weightCount;
    this.partEnds = [weights, this.weightCount];
    this.valueCount = this.weightCount + weights;
    this.#values = new Float32Array(this.valueCount);
    for (let i = 0; i < weights; i++) this.#values[i] = 0.5 - 0.3 * i;
  }

  /** The state itself; whoever looks at it does not write to it. */
  get values(): Float32Array {
    return this.#values;
  }

  load(values: Float32Array): void {
    this.#values = values.slice();
  }

  save(into?: Float32Array): Float32Array {
    const values = into ?? new Float32Array(this.valueCount);
    values.set(this.#values);
    return values;
  }

  prepare(): void {
    // It computes at once.
  }

  gradients(samples: Batch, random: RandomStream, row: Float32Array, sums: Float64Array): void {
    row.fill(0);
    sums.fill(0);
    for (let i = 0; i < samples.count; i++) {
      const sample = samples.features[i]!;
      const noise = random.nextFloat();
      for (let j = 0; j < weights; j++) {
        const term = Math.fround(termOf(sample, j) * this.#values[j]! - samples.label[i]! * noise);
        row[j] = row[j]! + term;
      }
      row[weights + sample] = row[weights + sample]! + 1;
      this.#addLoss(sample, samples.label[i]!, sums);
    }
  }

  validate(samples: Batch, _random: RandomStream, sums: Float64Array): void {
    sums.fill(0);
    for (let i = 0; i < samples.count; i++) this.#addLoss(samples.features[i]!, samples.label[i]!, sums);
  }

  update(row: Float32Array, samples: number, update: { number: number; learningRate: number }): void {
    const values = this.#values;
    for (let j = 0; j < weights; j++) {
      const slot = this.weightCount + j;
      values[slot] = 0.9 * values[slot]! + row[j]! / samples;
      const pull = values[slot]! / (1 + Math.abs(values[slot]!));
      values[j] = 0.9 * values[j]! - update.learningRate * pull + 1e-3 * (update.number % 7);
    }
    for (let i = weights; i < this.weightCount; i++) values[i] = values[i]! + row[i]!;
  }

  /** One bit of one weight turns over, as a cosmic ray or a bad memory cell would have it. */
  flip(weight: number, bit: number): void {
    const bits = new Uint32Array(this.#values.buffer);
    bits[weight % weights] = bits[weight % weights]! ^ (1 << bit);
  }

  #addLoss(sample: number, label: number, sums: Float64Array): void {
    const error = label - this.#values[sample % weights]! * termOf(sample, 1);
    sums[0] = sums[0]! + error * error;
    sums[1] = sums[1]! + Math.abs(error) / 3;
  }
}

/** How often each sample of the training split, and after them of the validation split, was used. */
export function booksOf(values: Float32Array, { trainingSamples, validationSamples }: JobShape): Float32Array {
  return values.subarray(weights, weights + trainingSamples + validationSamples);
}

type Batch = Parameters<Program["gradients"]>[0];

/** Of very different sizes, so that another order of additions gives other bits. */
function termOf(sample: number, weight: number): number {
  return ((sample * 7919 + weight * 104729) % 97) * 10 ** ((sample % 7) - 3) * 0.013;
}

/** Samples are their own features. */
export function tinyData({ trainingSamples, validationSamples }: JobShape): TrainingData {
  const batchOf = (samples: number[]): Batch => ({
    count: samples.length,
    features: Float32Array.from(samples),
    label: Float32Array.from(samples, (sample) => ((sample * 31) % 17) / 17),
  });
  return {
    digest: "tiny",
    trainingSamples,
    validationSamples,
    training: (positions: Uint32Array) => batchOf([...positions]),
    validation: ({ begin, end }: Range) =>
      batchOf(Array.from({ length: end - begin }, (_, i) => trainingSamples + begin + i)),
  };
}

export function tinyJob(shape: JobShape): Job {
  const validation = shape.validationSamples > 0 ? ({ fraction: 0.2, take: "random" } as const) : null;
  const { monitor, mode, patience, saveFreq } = shape;
  const checkpoint = { monitor, mode, saveFreq, ...(patience === null ? {} : { earlyStopping: { patience } }) };
  return {
    name: "tiny",
    seed: shape.seed,
    data: { kind: "csv", path: "none.csv", label: "none" },
    preprocess: { features: [], label: [] },
    augment: [],
    validation,
    model: () => {
      throw new Error("a simulated job has no model");
    },
    optimizer: {
      kind: "sgd",
      learningRate: shape.hasSchedule ? { kind: "plateau", initial: 0.05, factor: 0.5, patience: 1 } : 0.05,
      momentum: 0.9,
    },
    loss: "meanSquaredError",
    ...{ lossSettings: {}, initialWeights: null, customLoss: null, step: null, outputs: null },
    metrics: ["meanAbsoluteError"],
    clip: null,
    classWeight: null,
    checkpoint: checkpointRule(checkpoint, { metrics: ["meanAbsoluteError"], outputs: null, validation }, () => null),
    batchSize: shape.batchSize,
    epochs: shape.epochs,
    wire: shape.wire,
    test: null,
    report: null,
    callbacks: null,
    settings: noSettings,
    params: null,
  };
}

export function tinyInfo(shape: JobShape, statisticsCount: number, stepsPerEpoch: number): ComputeInfo {
  const samples = shape.trainingSamples + shape.validationSamples;
  const fingerprint: Fingerprint = { "job.graph": "tiny", "engine.kind": "simulated", shards: String(shape.shards) };
  return {
    fingerprint,
    weightCount: weights + samples,
    slotNames: ["velocity"],
    trainableCount: weights,
    reducedCount: weights + samples,
    wire: shape.wire,
    statisticsCount,
    parameters: [
      { name: "weights", shape: [weights], size: weights, offset: 0 },
      { name: "books", shape: [samples], size: samples, offset: weights },
    ],
    preprocessing: nothingLearned,
    trainingSamples: shape.trainingSamples,
    validationSamples: shape.validationSamples,
    stepsPerEpoch,
    engine: "simulated",
    topology: null,
  };
}

const nothingLearned: ComputeInfo["preprocessing"] = {
  features: { field: "preprocess.features", shape: [], steps: [] },
  label: { field: "preprocess.label", shape: [], steps: [] },
};
