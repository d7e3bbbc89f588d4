/** Gradients are written to where they are wanted, and an update reads its sums where they lie: the bits of a copy, without one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { GraphBackend } from "../../src/adapters/tfjs/graph.ts";
import { Arena, arenaMemory } from "../../src/adapters/wasm/arena.ts";
import type { JobDefinition } from "../../src/core/job.ts";
import { RandomStream } from "../../src/core/random.ts";
import { floatsIn, isAligned, isAtMultiple, plainMemory } from "../../src/core/row-memory.ts";
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
      const written = parts.filter(isAtMultiple).length;
      return { gradients, weights: program.save(), reads, parts: parts.length, aligned, written };
    };
    const { weightCount } = new TrainingProgram(engine, job, data.shapes);
    const plain = train(floatsIn(plainMemory.allocate(4 * weightCount)));
    const arena = train(floatsIn(new Arena(arenaMemory()!).allocate(4 * weightCount)));
    assert.deepEqual(arena.gradients, plain.gradients);
    assert.deepEqual(arena.weights, plain.weights);
    assert.ok(plain.aligned === 0 && arena.aligned > 0 && arena.aligned < arena.parts);
    // Each part that is fetched, and the sums of loss and metrics.
    for (const { reads, parts, written } of [plain, arena]) assert.equal(reads, parts - written + 1);
  });
}
