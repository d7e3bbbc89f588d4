/** Steps as graphs: what they compute is what their ops compute, the same bits every time; what cannot be one is told. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { test } from "node:test";
import type { Tensor } from "@tensorflow/tfjs";
import type { Job, JobDefinition } from "../../src/core/job.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { RandomStream } from "../../src/core/random.ts";
import type { Engine } from "../../src/ports/engine.ts";
import { PreparedData } from "../../src/runtime/prepared-data.ts";
import { TrainingProgram } from "../../src/runtime/training-program.ts";
import { testEngine } from "../fixtures/engine.ts";
import { points, pointsJob, withReading } from "../fixtures/trainers.ts";

type Act = (tf: Parameters<JobDefinition["model"]>[0], x: Tensor, isTraining: boolean) => Tensor;

/** A model with a layer of the job's own, which does what a test wants it to. */
function jobWith(act: Act): Job {
  return pointsJob({
    model: (tf, { features }) => {
      class Own extends tf.layers.Layer {
        static readonly className = "Own";
        override call(inputs: Tensor | Tensor[], words: { training?: boolean }): Tensor {
          return act(tf, Array.isArray(inputs) ? inputs[0]! : inputs, words.training === true);
        }
      }
      return tf.sequential({
        layers: [
          tf.layers.dense({ units: 4, inputShape: [...features] }),
          new Own({}),
          tf.layers.dense({ units: 3, activation: "softmax" }),
        ],
      });
    },
  });
}

interface Trained {
  readonly values: Float32Array;
  readonly losses: readonly number[];
  readonly engine: Engine;
}

/** Some steps with whole batches and small ones, and validation in between. */
async function train(job: Job, { prepares = false, fresh = false, steps = 12 } = {}): Promise<Trained> {
  const engine = await testEngine({ fresh });
  const data = new PreparedData(points(60), job);
  const program = new TrainingProgram(engine, job, data.shapes);
  if (prepares) program.prepare({ training: [10, 3], validation: [5] });
  const row = new Float32Array(program.weightCount);
  const sums = new Float64Array(program.sumNames.length);
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const count = step % 4 === 3 ? 3 : 10;
    const batch = data.training(Uint32Array.from({ length: count }, (_, i) => (step * 10 + i) % data.trainingSamples));
    program.gradients(batch, new RandomStream(1, "step", step), row, sums);
    program.update(row, count, { number: step + 1, learningRate: 0.01, weight: count });
    losses.push(sums[0]! / count);
    if (step % 5 !== 4) continue;
    program.validate(data.validation({ begin: 0, end: 5 }), new RandomStream(1, "validation", step), sums);
    losses.push(sums[0]! / 5);
  }
  return { values: program.save(), losses, engine };
}

test("a recorded step computes the same bits however it was prepared, and to 1e-5 what its ops compute", async (context) => {
  // Not Adam: it makes large numbers of the rounding errors that are the gradient of a bias before batch normalization.
  const optimizer = { kind: "sgd", learningRate: 0.1, momentum: 0.9 } as const;
  const job = pointsJob({ compile: { optimizer, loss: "categoricalCrossentropy", metrics: ["accuracy"] } });
  const { values, losses, engine } = await train(job);
  if (engine.description.kind !== "native") return context.skip("this machine has no native engine");
  assert.equal(engine.description.step, "recorded");
  const prepared = await train(job, { prepares: true });
  assert.deepEqual(prepared.values, values);
  assert.deepEqual(prepared.losses, losses);
  // The same model, with a layer that changes nothing and cannot be recorded.
  const opByOp = await train(withReading(job), { fresh: true });
  assert.equal(opByOp.engine.description.step, "op-by-op");
  for (const [i, value] of opByOp.values.entries()) {
    assert.ok(Math.abs(value - values[i]!) <= 1e-5 * Math.max(1, Math.abs(value)), `${i}: ${value} and ${values[i]}`);
  }
});

for (const [what, act, reason] of [
  ["looks at a value", (_, x: Tensor) => (x.dataSync()[0]! > 1e9 ? x.neg() : x), /it looks at a tensor's value/],
  ["counts", counting(), /another one in every run/],
  ["draws numbers in JavaScript", (_, x: Tensor) => x.mul(1 + Math.random() / 1e3), /another one in every run/],
] satisfies [string, Act, RegExp][]) {
  test(`a layer that ${what} has steps run op by op, from the first one, and says why`, async (context) => {
    const engine = await testEngine({ fresh: true });
    if (engine.description.kind !== "native") return context.skip("this machine has no native engine");
    const job = jobWith(act);
    const data = new PreparedData(points(60), job);
    const program = new TrainingProgram(engine, job, data.shapes);
    const sample = data.training(Uint32Array.of(0));
    for (const number of [1, 2]) program.trace(sample, new RandomStream(number, "step"));
    assert.equal(engine.description.step, "op-by-op");
    assert.match(engine.description.notRecorded ?? "", /^gradients: /);
    assert.match(engine.description.notRecorded ?? "", reason);
    const row = new Float32Array(program.weightCount);
    const sums = new Float64Array(program.sumNames.length);
    program.gradients(data.training(Uint32Array.of(0, 1, 2)), new RandomStream(1, "step"), row, sums);
    program.update(row, 3, { number: 1, learningRate: 0.01, weight: 3 });
    assert.ok(row.some((value) => value !== 0) && Number.isFinite(sums[0]));
  });
}

function counting(): Act {
  let calls = 0;
  return (_, x) => x.add(++calls / 1e3);
}

test("a step that was looked at with one sample is recorded with one sample too", async (context) => {
  const engine = await testEngine({ fresh: true });
  if (engine.description.kind !== "native") return context.skip("this machine has no native engine");
  const job = pointsJob();
  const data = new PreparedData(points(60), job);
  const program = new TrainingProgram(engine, job, data.shapes);
  for (const number of [1, 2]) program.trace(data.training(Uint32Array.of(0)), new RandomStream(number, "step"));
  program.prepare({ training: [1, 2], validation: [1] });
  assert.equal(engine.description.step, "recorded");
});

test("hundreds of recorded steps leave no tensor and no file behind", async (context) => {
  const { engine } = await train(pointsJob(), { steps: 1 });
  if (engine.description.kind !== "native") return context.skip("this machine has no native engine");
  const own = `lockstep-graph-${process.pid}-`;
  const folders = async () => (await readdir(tmpdir())).filter((name) => name.startsWith(own)).length;
  const before = engine.tf.memory().numTensors;
  const short = await train(pointsJob(), { steps: 4 });
  const perProgram = short.engine.tf.memory().numTensors - before;
  await train(pointsJob(), { steps: 200 });
  assert.equal(engine.tf.memory().numTensors - before, 2 * perProgram, "as many as after 4 steps");
  assert.equal(await folders(), 0);
});

test("hundreds of op-by-op steps leave no tensor", async () => {
  const job = withReading(pointsJob());
  const { engine } = await train(job, { fresh: true, steps: 1 });
  const countAfter = async (steps: number) => {
    const before = engine.tf.memory().numTensors;
    const trained = await train(job, { fresh: true, steps });
    assert.equal(trained.engine.description.step, "op-by-op");
    return engine.tf.memory().numTensors - before;
  };
  assert.equal(await countAfter(200), await countAfter(1), "the model and its state alone");
});

test("a step that is refused once it has run leaves no tensor", async (context) => {
  const { tf, description } = await testEngine();
  if (description.kind !== "native") return context.skip("this machine has no native engine");
  const input = tf.scalar(1);
  let calls = 0;
  for (const [reason, compute] of [
    [/another one in every run/, () => input.add(++calls)],
    [/a tensor of type string/, () => tf.tensor(["text"])],
  ] satisfies [RegExp, () => Tensor][]) {
    const engine = await testEngine({ fresh: true });
    const step = engine.hold([]).record("refused", () => [input.mul(2), compute()]);
    const before = tf.memory().numTensors;
    for (let look = 0; look < 2; look++) tf.dispose(step.trace([input]));
    assert.match(engine.description.notRecorded ?? "", reason);
    assert.equal(tf.memory().numTensors, before);
  }
});

test("what TensorFlow refuses in a graph is the job's error, in a sentence that says in which step", async (context) => {
  const engine = await testEngine({ fresh: true });
  if (engine.description.kind !== "native") return context.skip("this machine has no native engine");
  const job = pointsJob({
    model: (tf, { features }) =>
      tf.sequential({
        layers: [
          tf.layers.embedding({ inputDim: 2, outputDim: 4, inputShape: [...features] }),
          tf.layers.flatten(),
          tf.layers.dense({ units: 3, activation: "softmax" }),
        ],
      }),
  });
  const data = new PreparedData(points(60), job);
  const program = new TrainingProgram(engine, job, data.shapes);
  const batch = { ...data.training(Uint32Array.of(0, 1)), features: Float32Array.from({ length: 12 }, () => 5) };
  program.prepare({ training: [2], validation: [2] });
  const row = new Float32Array(program.weightCount);
  const sums = new Float64Array(2);
  for (const [what, run] of [
    ["a step", () => program.gradients(batch, new RandomStream(1, "step"), row, sums)],
    ["validation", () => program.validate(batch, new RandomStream(1, "validation"), sums)],
  ] as const) {
    assert.throws(run, (error) => {
      assert.ok(error instanceof LockstepError && error.code === "invalid-job");
      assert.match(
        error.message,
        new RegExp(`^The model fails in ${what}: TensorFlow says: .*= 5 is not in \\[0, 2\\)`),
      );
      return true;
    });
  }
  assert.equal(engine.description.step, "recorded");
});

test("what a layer throws says in which step it is, also where the step is recorded ahead", async (context) => {
  const { description } = await testEngine();
  if (description.kind !== "native") return context.skip("this machine has no native engine");
  const job = jobWith((_, x, isTraining) => {
    if (!isTraining) throw new RangeError("no such day");
    return x;
  });
  const data = new PreparedData(points(60), job);
  const sample = data.training(Uint32Array.of(0));
  for (const run of [
    (program: TrainingProgram) => program.trace(sample, new RandomStream(1, "step")),
    (program: TrainingProgram) => program.prepare({ training: [1], validation: [1] }),
    (program: TrainingProgram) => program.validate(sample, new RandomStream(1, "validation"), new Float64Array(2)),
  ]) {
    const engine = await testEngine({ fresh: true });
    const program = new TrainingProgram(engine, job, data.shapes);
    assert.throws(
      () => run(program),
      (error) => {
        assert.ok(error instanceof LockstepError && error.code === "invalid-job");
        assert.equal(error.message, "The model fails in validation: RangeError: no such day.");
        return true;
      },
    );
  }
});

test("a temporary folder that is not there is said, and the state is as it was once there is one", async (context) => {
  const engine = await testEngine({ fresh: true });
  if (engine.description.kind !== "native") return context.skip("this machine has no native engine");
  const job = pointsJob();
  const data = new PreparedData(points(60), job);
  const row = new Float32Array(1000);
  const sums = new Float64Array(2);
  const steps = (program: TrainingProgram, count: number) => {
    const batch = data.training(Uint32Array.from({ length: count }, (_, i) => i));
    program.gradients(batch, new RandomStream(1, "step", count), row.subarray(0, program.weightCount), sums);
    program.update(row.subarray(0, program.weightCount), count, { number: 1, learningRate: 0.01, weight: count });
  };
  const undisturbed = new TrainingProgram(engine, job, data.shapes);
  for (const count of [3, 4]) steps(undisturbed, count);
  const program = new TrainingProgram(engine, job, data.shapes);
  steps(program, 3);
  const saved = program.save();
  const { TMPDIR } = process.env;
  process.env.TMPDIR = "/nowhere/at-all";
  try {
    // The first time a session is given up for it, the second time there is none.
    for (const attempt of [1, 2]) {
      assert.throws(
        () => steps(program, 4),
        (error) => {
          assert.ok(
            error instanceof LockstepError && error.code === "engine-unavailable",
            `attempt ${attempt}: ${error}`,
          );
          assert.match(error.message, /through the temporary folder \/nowhere\/at-all: ENOENT/);
          assert.match(error.hint ?? "", /TMPDIR/);
          return true;
        },
      );
      assert.deepEqual(program.save(), saved);
    }
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = TMPDIR;
  }
  steps(program, 4);
  assert.deepEqual(program.save(), undisturbed.save());
});
