/**
 * The undisturbed run, computed by one process without workers, all-reduce or trainer: shard by shard, added up by a
 * tree of its own, closed epoch by epoch. What every simulated cluster has to arrive at, to the bit.
 */
import { createHash } from "node:crypto";
import { measuredOn } from "../../src/core/checkpoint-policy.ts";
import { stoppedEarly } from "../../src/core/early-stopping.ts";
import { encodeJson } from "../../src/core/json.ts";
import { afterEpoch, afterStep, initialProgress, type Progress, rateOf, type Sums } from "../../src/core/progress.ts";
import { RandomStream } from "../../src/core/random.ts";
import { batchRange, epochOrder, shardRange, slice, stepsPerEpoch } from "../../src/core/sampler.ts";
import { splitRule } from "../../src/core/validation-split.ts";
import { isShort, roundTo } from "../../src/core/wire.ts";
import { booksOf, gradientCount, type JobShape, TinyProgram, tinyData, tinyJob } from "./program.ts";

export interface ReferenceState {
  readonly step: number;
  readonly values: Float32Array;
  /** As text, right after the step. */
  readonly progress: string;
  /** Of the state right after the step, and, at an epoch's end, of the closed epoch. */
  readonly digests: readonly string[];
}

export interface Reference {
  readonly stepsPerEpoch: number;
  /** By step, from 0. */
  readonly states: readonly ReferenceState[];
  /** Digest of the closed epoch, by epoch, from 0. */
  readonly boundaries: readonly string[];
  readonly final: Progress;
}

interface Sum {
  readonly values: Float32Array;
  readonly statistics: Float64Array;
}

export function referenceOf(shape: JobShape): Reference {
  const program = new TinyProgram(shape);
  const data = tinyData(shape);
  const job = tinyJob(shape);
  const perEpoch = stepsPerEpoch(shape.trainingSamples, shape.batchSize);
  const rules = {
    policy: job.checkpoint,
    data: measuredOn(job.checkpoint.monitor, {
      data: data.digest,
      seed: job.seed,
      validation: splitRule(job.validation),
    }),
    learningRate: job.optimizer.learningRate,
    stepsPerEpoch: perEpoch,
    epochs: job.epochs,
  };
  let progress = initialProgress(1, 1);
  const digest = () => digestOf(program.values, encodeJson(progress));
  const states: { step: number; values: Float32Array; progress: string; digests: string[] }[] = [];
  const note = () =>
    states.push({
      ...{ step: progress.step, values: program.save(), progress: encodeJson(progress) },
      digests: [digest()],
    });
  note();
  const boundaries = [states[0]!.digests[0]!];
  for (let epoch = 0; epoch < shape.epochs; epoch++) {
    const shards = shape.later && epoch >= shape.later.afterEpoch ? shape.later.shards : shape.shards;
    const order = epochOrder(shape.seed, epoch, shape.trainingSamples);
    while (progress.samples < shape.trainingSamples) {
      const batch = batchRange(shape.trainingSamples, shape.batchSize, progress.samples);
      const leaves = Array.from({ length: shards }, (_, shard): Sum | null => {
        const range = shardRange(batch, shards, shard);
        if (range.begin === range.end) return null;
        const samples = data.training(order.subarray(range.begin, range.end));
        const sum = emptySum(program);
        program.gradients(
          samples,
          new RandomStream(shape.seed, "step", progress.step, shard),
          sum.values,
          sum.statistics,
        );
        return asItTravels(sum, shape);
      });
      const total = treeSum(leaves, (sum) => asItTravels(sum, shape))!;
      const learningRate = rateOf(progress, rules, progress.step);
      const samples = batch.end - batch.begin;
      program.update(total.values, samples, { number: progress.step + 1, learningRate });
      progress = afterStep(progress, sumsOf(program, total, samples), {
        ...{ seed: job.seed, validation: splitRule(job.validation), batchSize: job.batchSize, shards },
        ...{ samples: shape.trainingSamples + shape.validationSamples, data: data.digest },
      });
      note();
    }
    progress = afterEpoch(progress, validationOf({ ...shape, shards }, program, data), rules);
    states.at(-1)!.digests.push(digest());
    boundaries.push(digest());
    checkBooks(program.values, shape, epoch + 1);
    if (stoppedEarly(job.checkpoint, progress) !== null) break;
  }
  return { stepsPerEpoch: perEpoch, states, boundaries, final: progress };
}

/** Every number and every sum of a state is in its digest. */
function digestOf(values: Float32Array, progress: string): string {
  return `sha256:${createHash("sha256").update(new Uint8Array(values.buffer)).update(progress).digest("hex")}`;
}

function validationOf(shape: JobShape, program: TinyProgram, data: ReturnType<typeof tinyData>): Sums | null {
  if (shape.validationSamples === 0) return null;
  const size = Math.ceil(shape.batchSize / shape.shards);
  const leaves = Array.from({ length: shape.shards }, (_, shard): Sum | null => {
    const range = slice(shape.validationSamples, shape.shards, shard);
    if (range.begin === range.end) return null;
    const sum = emptySum(program);
    for (let begin = range.begin; begin < range.end; begin += size) {
      const part = new Float64Array(sum.statistics.length);
      const random = new RandomStream(shape.seed, "validation");
      program.validate(data.validation({ begin, end: Math.min(begin + size, range.end) }), random, part);
      for (let i = 0; i < part.length; i++) sum.statistics[i] = sum.statistics[i]! + part[i]!;
    }
    return sum;
  });
  return sumsOf(program, treeSum(leaves)!, shape.validationSamples);
}

/** The upper half is the smaller one; who is absent changes nothing. */
function treeSum(leaves: readonly (Sum | null)[], rounded: (sum: Sum) => Sum = (sum) => sum): Sum | null {
  if (leaves.length === 1) return leaves[0]!;
  const half = (leaves.length + 1) >> 1;
  const left = treeSum(leaves.slice(0, half), rounded);
  const right = treeSum(leaves.slice(half), rounded);
  if (!left || !right) return left ?? right;
  return rounded({
    values: left.values.map((value, i) => value + right.values[i]!),
    statistics: left.statistics.map((value, i) => value + right.statistics[i]!),
  });
}

/** Gradients are rounded, shard by shard and sum by sum; the books, which count samples, never are. */
function asItTravels(sum: Sum, { wire }: JobShape): Sum {
  if (isShort(wire)) roundTo(wire, sum.values.subarray(0, gradientCount));
  return sum;
}

function emptySum(program: TinyProgram): Sum {
  return {
    values: new Float32Array(program.weightCount),
    statistics: new Float64Array(program.sumNames.length),
  };
}

function sumsOf(program: TinyProgram, { statistics }: Sum, samples: number): Sums {
  return { samples, totals: Object.fromEntries(program.sumNames.map((name, i) => [name, statistics[i]!])) };
}

/** Promise 5, of the reference itself. */
export function checkBooks(values: Float32Array, shape: JobShape, epochs: number): void {
  booksOf(values, shape).forEach((used, sample) => {
    const expected = sample < shape.trainingSamples ? epochs : 0;
    if (used !== expected) throw new Error(`sample ${sample} was used ${used} times in ${epochs} epochs`);
  });
}
