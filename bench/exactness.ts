/**
 * What exactness costs a step when workers are missing. A cluster at full strength has one worker a shard: each computes
 * one batch of B/S samples, as any data-parallel system does. At half strength each computes two, one after the other,
 * where an inexact system would compute one of twice the size. So one worker, which always computes the whole batch,
 * is timed with S = 1, 2, 4 and 8: what it takes more than with S = 1 is the price.
 *
 *     npm run bench -- exactness [--json FILE]
 */
import { parseArgs } from "node:util";
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
import { load, machine, publish, type Result, resultsOf, versions } from "./results.ts";
import { commonOptions } from "./words.ts";

const shardCounts = [1, 2, 4, 8];
const rounds = 7;
const batches = 12;

const perceptron = (work: string, name: string, width: number, units: readonly number[], batchSize: number) => ({
  work,
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
  perceptron("exactness-mlp256", "64-256-256-256-3, batch 128", 64, [256, 256, 256], 128),
  perceptron("exactness-mlp1024", "784-1024-1024-3, batch 512", 784, [1024, 1024], 512),
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

export async function run(words: string[]): Promise<void> {
  const { values } = parseArgs({ args: words, options: { json: commonOptions.json } });
  const loadBefore = load();
  const results: Result[] = [];
  for (const { work, width, job } of models) {
    const trainers = await Promise.all(shardCounts.map((shards) => openTrainer(job, width, shards)));
    for (const trainer of trainers) await trainer.epoch();
    for (const trainer of trainers) trainer.stepsMs.length = 0;
    // In turns, so that a noisy minute hits all of them.
    for (let round = 0; round < rounds; round++) for (const trainer of trainers) await trainer.epoch();
    const beside = { peer: "S = 1", samples: trainers[0]!.stepsMs, goal: null };
    for (const { shards, stepsMs } of trainers) {
      const measured = { work: `${work}-S${shards}`, world: 1, unit: "ms" as const, samples: stepsMs };
      results.push(...resultsOf(measured, shards === 1 ? [] : [beside]));
    }
  }
  const report = { benchmark: "exactness", machine: machine(loadBefore), versions: versions(), results, skipped: [] };
  const remarks = models.map(({ work, name }) => `${work}: ${name}`);
  await publish(report, [...remarks, "milliseconds a step; the ratio says how much of the speed is left"], values.json);
}
