/** Gradients are written to where they are wanted, and an update reads its sums where they lie: the bits of a copy, without one. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import type { GraphBackend } from "../../src/adapters/tfjs/graph.ts";
import { Arena, arenaMemory } from "../../src/adapters/wasm/arena.ts";
import type { JobDefinition } from "../../src/core/job.ts";
import { RandomStream } from "../../src/core/random.ts";
import { floatsIn, isAligned, plainMemory, wordsIn } from "../../src/core/row-memory.ts";
import { PreparedData } from "../../src/runtime/prepared-data.ts";
import { TrainingProgram } from "../../src/runtime/training-program.ts";
import { testEngine } from "../fixtures/engine.ts";
import { points, pointsJob } from "../fixtures/trainers.ts";

/** TensorFlow makes another graph of its gradients when they are written than when they are fetched, which rounds differently. */
const withPenalty: JobDefinition["model"] = (tf, { features }) => {
  const kernelRegularizer = () => tf.regularizers.l2({ l2: 0.01 });
  const hidden = {
    units: 8,
    activation: "relu" as const,
    kernelRegularizer: kernelRegularizer(),
    inputShape: [...features],
  };
  const last = { units: 3, activation: "softmax" as const, kernelRegularizer: kernelRegularizer() };
  return tf.sequential({ layers: [tf.layers.dense(hidden), tf.layers.dense(last)] });
};

for (const [name, changes] of [
  ["plain layers", {}],
  ["layers with a penalty", { model: withPenalty }],
] as const) {
  test(`${name}: a row in the arena gets the bits of a row elsewhere, whether its parts are aligned or not, and is written in place`, async (context) => {
    const engine = await testEngine();
    if (engine.description.kind !== "native") return context.skip("this machine has no native engine");
    const backend = engine.tf.backend() as unknown as GraphBackend; // as open-engine.ts has it
    const job = pointsJob(changes);
    const data = new PreparedData(points(60), job);
    const train = (row: Float32Array) => {
      const program = new TrainingProgram(engine, job, data.shapes);
      const sums = new Float64Array(program.sumNames.length);
      const gradients: Float32Array[] = [];
      let reads = 0;
      for (let step = 0; step < 4; step++) {
        const batch = data.training(Uint32Array.from({ length: 8 }, (_, i) => 8 * step + i));
        const { readSync } = backend;
        const countReads = (dataId: object) => {
          if (step === 3) reads++; // by then nothing is recorded any more
          return Reflect.apply(readSync, backend, [dataId]) as ArrayBufferView;
        };
        Object.assign(backend, { readSync: countReads });
        try {
          program.gradients(batch, new RandomStream(1, "step", step), row.fill(-7), sums);
        } finally {
          Object.assign(backend, { readSync });
        }
        gradients.push(row.slice());
        program.update(row, 8, { number: step + 1, learningRate: 0.01, weight: 8 });
        assert.deepEqual(row, gradients.at(-1), "an update leaves its sums as they are");
      }
      const parts = program.parameters.map(({ offset }) => row.subarray(offset));
      const aligned = parts.filter(isAligned).length;
      return { gradients, weights: program.save(), reads, parts: parts.length, aligned };
    };
    const { weightCount } = new TrainingProgram(engine, job, data.shapes);
    const plain = train(floatsIn(plainMemory.allocate(4 * weightCount)));
    const arena = train(floatsIn(new Arena(arenaMemory()!).allocate(4 * weightCount)));
    assert.deepEqual(arena.gradients, plain.gradients);
    assert.deepEqual(arena.weights, plain.weights);
    assert.ok(plain.aligned === 0 && arena.aligned > 0 && arena.aligned < arena.parts);
    assert.deepEqual([plain.reads, arena.reads], [1, 1], "nothing is fetched but the sums of loss and metrics");
  });
}

/** Three times the same layer, which takes long enough to be seen. */
const deep: JobDefinition["model"] = (tf, { features }) =>
  tf.sequential({
    layers: [
      tf.layers.dense({ units: 512, activation: "relu", inputShape: [...features] }),
      tf.layers.dense({ units: 512, activation: "relu" }),
      tf.layers.dense({ units: 512, activation: "relu" }),
      tf.layers.dense({ units: 3, activation: "softmax" }),
    ],
  });

test("while a step is computed, another thread has the gradients of its last layers, whole, before those of its first", async (context) => {
  const engine = await testEngine();
  if (engine.description.kind !== "native") return context.skip("this machine has no native engine");
  if (process.arch !== "x64") return context.skip("only processors of Intel's kind tell before the step's end");
  const job = pointsJob({ model: deep });
  const count = 512;
  const data = new PreparedData(points(2 * count, 512), job);
  const program = new TrainingProgram(engine, job, data.shapes);
  program.prepare({ training: [count], validation: [] });
  const arena = new Arena(arenaMemory()!);
  const row = floatsIn(arena.allocate(4 * program.reducedCount));
  const written = wordsIn(arena.allocate(4 * program.partEnds.length));
  const parts = program.partEnds.map((end, i) => ({ begin: program.partEnds[i - 1] ?? 0, end }));
  const batch = data.training(Uint32Array.from({ length: count }, (_, i) => i));
  /** Of each layer, from the last one on: how many of the eight parts another thread had before the later one of kernel and bias. */
  const watched = async () => {
    const watch = new URL("../fixtures/watch-rows.mjs", import.meta.url);
    const thread = new Worker(watch, { workerData: { written, row, parts }, execArgv: [] });
    try {
      await once(thread, "message");
      const sums = new Float64Array(program.sumNames.length);
      program.gradients(batch, new RandomStream(1, "step", 0), row, sums, written);
      const [seen] = (await once(thread, "message")) as [{ others: number; numbers: Float32Array }[]];
      for (const [i, { begin, end }] of parts.entries()) {
        assert.deepEqual(seen[i]!.numbers, row.slice(begin, end), `part ${i}`);
      }
      return [6, 4, 2, 0].map((kernel) => Math.max(seen[kernel]!.others, seen[kernel + 1]!.others));
    } finally {
      await thread.terminate();
    }
  };
  // On a busy machine the other thread may not come to look in between.
  const attempts: number[][] = [];
  const isInOrder = (before: readonly number[]) => before.every((others, layer) => others <= 2 * layer + 1);
  do {
    row.fill(-7);
    written.fill(0);
    attempts.push(await watched());
  } while (!isInOrder(attempts.at(-1)!) && attempts.length < 30);
  assert.ok(isInOrder(attempts.at(-1)!), String(attempts.at(-1)));
});
