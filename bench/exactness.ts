/**
 * What exactness costs a step when workers are missing. A cluster at full strength has one worker a shard: each computes
 * one batch of B/S samples, as any data-parallel system does. At half strength each computes two, one after the other,
 * where an inexact system would compute one of twice the size. So one worker, which always computes the whole batch,
 * is timed with S = 1, 2, 4 and 8: what it takes more than with S = 1 is the price.
 *
 *     npm run bench -- exactness
 */

import { systemClock } from "../src/adapters/system/clock.ts";
import type { Reduction } from "../src/core/contribution.ts";
import type { Job } from "../src/core/job.ts";
import { plainMemory } from "../src/core/row-memory.ts";
import type { Reducer } from "../src/ports/compute.ts";
import { PreparedData } from "../src/runtime/prepared-data.ts";
import { Trainer } from "../src/runtime/trainer.ts";
import { TrainingProgram } from "../src/runtime/training-program.ts";
import { testEngine } from "../test/fixtures/engine.ts";
import { points, pointsJob } from "../test/fixtures/trainers.ts";
import { median } from "./results.ts";

const shardCounts = [1, 2, 4, 8];
const rounds = 7;
const batches = 12;

const perceptron = (name: string, width: number, units: readonly number[], batchSize: number) => ({
  name,
  width,
  job: pointsJob({
    batchSize,
    epochs: rounds + 1,
    validation: { fraction: 0.001 },
    model: (tf, { features }) =>
      tf.sequential({
        layers: [
          ...units.map((count, i) =>
            tf.layers.dense({ units: count, activation: "relu", ...(i === 0 ? { inputShape: [...features] } : {}) }),
          ),
          tf.layers.dense({ units: 3, activation: "softmax" }),
        ],
      }),
  }),
});

const models = [
  perceptron("64-256-256-256-3, batch 128", 64, [256, 256, 256], 128),
  perceptron("784-1024-1024-3, batch 512", 784, [1024, 1024], 512),
];

/** One worker has every shard: its own sum is the total. */
const alone: Reducer = {
  async reduce(_round, own, into: Reduction) {
    const { sum } = own[0]!;
    into.values.set(sum!.values);
    into.statistics.set(sum!.statistics);
    return "reduced";
  },
};

/** A trainer, and the times of its steps so far. */
async function openTrainer(job: Job, width: number, shards: number) {
  const data = new PreparedData(points(Math.ceil(job.batchSize * batches * 1.002), width), job);
  const program = new TrainingProgram(await testEngine(), job, data.shapes);
  let last = 0;
  const stepsMs: number[] = [];
  const onStep = () => {
    const now = performance.now();
    stepsMs.push(now - last);
    last = now;
  };
  const trainer = new Trainer({ program, job, data, shards, memory: plainMemory, clock: systemClock, onStep });
  trainer.initialize({ lineage: 1, era: 1 });
  return {
    shards,
    stepsMs,
    async epoch() {
      last = performance.now();
      await trainer.run({ generation: 1, shards: { begin: 0, end: shards } }, alone);
    },
  };
}

export async function run(): Promise<void> {
  for (const { name, width, job } of models) {
    const trainers = await Promise.all(shardCounts.map((shards) => openTrainer(job, width, shards)));
    for (const trainer of trainers) await trainer.epoch();
    for (const trainer of trainers) trainer.stepsMs.length = 0;
    // In turns, so that a noisy minute hits all of them.
    for (let round = 0; round < rounds; round++) for (const trainer of trainers) await trainer.epoch();
    const base = median(trainers[0]!.stepsMs);
    process.stdout.write(`${name}\n`);
    for (const { shards, stepsMs } of trainers) {
      const stepMs = median(stepsMs);
      process.stdout.write(
        `  S = ${shards}: ${stepMs.toFixed(1)} ms a step (median of ${stepsMs.length}), ${(stepMs / base).toFixed(2)} times S = 1\n`,
      );
    }
  }
}
