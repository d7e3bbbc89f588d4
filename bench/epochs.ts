/**
 * What an epoch costs beside its steps, in a run that has few behind it and in one that has many: processor time that each process
 * takes, with epochs so short that hardly anything else is in it. What is kept of an epoch must not make later ones dearer.
 *
 *     npm run bench -- epochs [--epochs N] [--json FILE]
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { systemClock } from "../src/adapters/system/clock.ts";
import { writeRows } from "./rows.ts";
import { committed, processorMs } from "./processes.ts";
import { TrainingCluster } from "./recovery/cluster.ts";
import { load, machine, publish, type Result, resultsOf, versions } from "./results.ts";
import { commonOptions, wholeNumber } from "./words.ts";

const job = "epochs";
const workers = 1;
const [features, batchSize, stepsAnEpoch] = [64, 64, 10];
/** Compiled and warm by then. */
const warmEpochs = 100;
const epochsAWindow = 50;
const windows = 4;
const leastEpochs = warmEpochs + 3 * windows * epochsAWindow;
const startMs = 300_000;
const lookEveryMs = 100;
/** Processor time is counted in hundredths of a second, and no two windows are alike. */
const goal = 0.8;

const jobText = `import { csv, defineJob, oneHot } from "lockstep";

export default defineJob({
  name: "${job}",
  seed: 1,
  data: csv("rows.csv", { label: "label" }),
  preprocess: { label: oneHot(10) },
  model: (tf, { features }) =>
    tf.sequential({ layers: [
      tf.layers.dense({ units: 64, activation: "relu", inputShape: [...features] }),
      tf.layers.dense({ units: 10, activation: "softmax" }),
    ] }),
  compile: { optimizer: { kind: "adam", learningRate: 1e-3 }, loss: "categoricalCrossentropy", metrics: ["accuracy"] },
  checkpoint: { monitor: "loss", mode: "min" },
  batchSize: ${batchSize},
  epochs: 1_000_000,
});
`;

/** What each process took for an epoch, in milliseconds; a figure a window. */
type Costs = Readonly<Record<string, readonly number[]>>;

export async function run(words: string[]): Promise<void> {
  const { values } = parseArgs({
    args: words,
    options: { epochs: { type: "string", default: "1500" }, ...commonOptions },
  });
  const epochs = wholeNumber("epochs", values.epochs, leastEpochs);
  const loadBefore = load();
  const folder = await mkdtemp(join(tmpdir(), "lockstep-bench-"));
  try {
    const cluster = new TrainingCluster(folder, await writeJob(folder), { job, workers, logLevel: "info" });
    try {
      await cluster.whenStatus("training", startMs, ({ state }) => state === "training");
      const early = await costsFrom(cluster, warmEpochs);
      const late = await costsFrom(cluster, epochs - windows * epochsAWindow);
      const peer = `epochs ${warmEpochs} to ${warmEpochs + windows * epochsAWindow}`;
      const results = Object.keys(late).flatMap((role): Result[] =>
        resultsOf({ work: `epochs-${role}`, world: workers, unit: "ms", samples: late[role]! }, [
          { peer, samples: early[role]!, goal },
        ]),
      );
      const report = { benchmark: "epochs", machine: machine(loadBefore), results, skipped: [], versions: versions() };
      await publish(report, [`processor time an epoch up to epoch ${epochs}, beside that of early ones`], values.json);
    } finally {
      await cluster.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function costsFrom(cluster: TrainingCluster, epoch: number): Promise<Costs> {
  const worker = (await cluster.httpOfAll()).get("worker-0")!;
  const { processes } = await cluster.now();
  const pidsOf = (role: string) => processes.flatMap((one) => (one.role === role && one.pid ? [one.pid] : []));
  const pids = {
    launch: [cluster.pid],
    coordinator: pidsOf("coordinator"),
    etcd: await cluster.etcdPids(),
    worker: pidsOf("worker"),
  };
  const reading = async (atLeast: number) => {
    for (;;) {
      const { step } = await committed(worker);
      if (step >= atLeast * stepsAnEpoch) {
        const times = await Promise.all(Object.values(pids).map(processorMs));
        return { epoch: step / stepsAnEpoch, times };
      }
      await systemClock.sleep(lookEveryMs);
    }
  };
  const costs = Object.keys(pids).map((role) => [role, [] as number[]] as const);
  let before = await reading(epoch);
  for (let i = 1; i <= windows; i += 1) {
    const after = await reading(epoch + i * epochsAWindow);
    for (const [at, [, samples]] of costs.entries()) {
      samples.push((after.times[at]! - before.times[at]!) / (after.epoch - before.epoch));
    }
    process.stderr.write(
      `epoch ${Math.floor(after.epoch)}: ${costs.map(([role, all]) => `${role} ${all.at(-1)!.toFixed(1)}`).join(", ")} ms\n`,
    );
    before = after;
  }
  return Object.fromEntries(costs);
}

async function writeJob(folder: string): Promise<string> {
  await writeRows(folder, features, batchSize * stepsAnEpoch);
  const file = join(folder, "job.ts");
  await writeFile(file, jobText);
  return file;
}
