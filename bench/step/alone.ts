/**
 * Steps of one process without anything that makes a cluster, on the engine and with the settings that a worker has.
 *
 *     tsx alone.ts bare|fit JOB.ts
 *
 * "bare": the recorded step and its update, as a worker's trainer calls them, on one batch that is there. "fit": TensorFlow.js' own
 * `model.fit` over all samples. Prints a line of JSON, `{ work, samples_ms }`, as the programs in bench/peers do.
 */
import type * as tfjs from "@tensorflow/tfjs";
import { dirname } from "node:path";
import { engineEnvironment } from "../../src/adapters/tfjs/engine-environment.ts";
import { prepareEngine } from "../../src/adapters/tfjs/prepare-engine.ts";
import { RandomStream } from "../../src/core/random.ts";
import { applyEnvironment } from "../../src/cli/common.ts";
import { type OpenedProgram, openProgram } from "../../src/cli/open-program.ts";
import { noSettings } from "../../src/core/settings.ts";
import type { Batch } from "../../src/runtime/training-program.ts";
import { steps, warmUpSteps } from "./models.ts";

const kinds: Readonly<Record<string, (opened: OpenedProgram) => Promise<number[]>>> = { bare, fit };

const [kind = "", jobPath = ""] = process.argv.slice(2);
const say = (line: string) => void process.stderr.write(`${line}\n`);
const choice = await prepareEngine({ engine: "auto", device: "auto" }, say);
applyEnvironment(engineEnvironment(choice, { threads: 1, gpuIndex: choice.device === "gpu" ? 0 : null }));
const opened = await openProgram(
  {
    jobPath,
    settings: noSettings,
    data: { directory: dirname(jobPath) },
    choice,
    mayFallBack: false,
    threads: 1,
    epochs: null,
  },
  say,
);
const stepsMs = (await kinds[kind]!(opened)).slice(warmUpSteps);
process.stdout.write(`${JSON.stringify({ work: opened.job.name, samples_ms: stepsMs })}\n`);

async function bare({ program, job, data }: OpenedProgram): Promise<number[]> {
  const count = job.batchSize;
  program.prepare({ training: [count], validation: [] });
  const batch = data.training(Uint32Array.from({ length: count }, (_, i) => i));
  const row = new Float32Array(program.weightCount);
  const sums = new Float64Array(program.sumNames.length);
  return Array.from({ length: steps }, (_, step) => {
    const begun = performance.now();
    program.gradients(batch, new RandomStream(job.seed, "step", step, 0), row, sums);
    program.update(row, count, { number: step + 1, learningRate: 1e-3, weight: count });
    return performance.now() - begun;
  });
}

async function fit({ engine, program, job, data }: OpenedProgram): Promise<number[]> {
  const { tf } = engine;
  const { model } = program;
  const all = data.training(Uint32Array.from({ length: data.trainingSamples }, (_, i) => i));
  const [x, y] = (["features", "label"] as const).map((column) => tensorOf(tf, all, column, data.shapes[column]));
  const ends: number[] = [];
  class Ends extends tf.Callback {
    override async onTrainBegin(): Promise<void> {
      ends.push(performance.now());
    }
    override async onBatchEnd(): Promise<void> {
      ends.push(performance.now());
    }
  }
  model.compile({ optimizer: tf.train.adam(1e-3), loss: job.loss });
  // Without pauses for a browser, and without a progress bar.
  const settings = { batchSize: job.batchSize, epochs: 1, yieldEvery: "never", verbose: 0 } as const;
  await model.fit(x!, y!, { ...settings, callbacks: new Ends() });
  tf.dispose([x!, y!]);
  return ends.slice(1).map((end, i) => end - ends[i]!);
}

function tensorOf(tf: typeof tfjs, batch: Batch, column: "features" | "label", shape: readonly number[]): tfjs.Tensor {
  return tf.tensor(batch[column], [batch.count, ...shape]);
}
