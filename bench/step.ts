/**
 * Training steps of whole clusters, S = W, with all that a step has, beside other systems on the same models: PyTorch's
 * DistributedDataParallel, TensorFlow's MultiWorkerMirroredStrategy, Keras, and TensorFlow.js' own `model.fit`; beside the recorded
 * step alone, and beside fewer workers. All take turns, round by round.
 *
 *     npm run bench -- step [--rounds N] [--worlds 1,2,4] [--models step-mlp512,…] [--json FILE] [--no-peers]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { messageOf } from "../src/core/errors.ts";
import { gaps, stepTimes } from "../src/core/log-reading.ts";
import { TrainingCluster } from "./recovery/cluster.ts";
import { whyNoPeers } from "./python.ts";
import { load, machine, median, publish, type Skipped, versions, writeReport } from "./results.ts";
import { jobFile, modelNamed, models, type StepModel, steps, warmUpSteps, writeJob } from "./step/models.ts";
import { measureWith, type StepPeer, stepPeers } from "./step/peers.ts";
import { own, Readings, rowsOf } from "./step/rows.ts";
import { commonOptions, wholeNumber, wholeNumbers } from "./words.ts";

/** A step of the largest model takes half a second, and several where others use the machine. */
const limitMs = steps * 10_000;

export async function run(words: string[]): Promise<void> {
  const { values } = parseArgs({
    args: words,
    options: {
      rounds: { type: "string", default: "3" },
      worlds: { type: "string", default: "1,2,4" },
      models: { type: "string", default: models.map(({ work }) => work).join(",") },
      ...commonOptions,
    },
  });
  const rounds = wholeNumber("rounds", values.rounds);
  const worlds = wholeNumbers("worlds", values.worlds);
  const chosen = values.models.split(",").map(modelNamed);
  const why = whyNoPeers(values["no-peers"]);
  const peers = stepPeers.filter(({ isPython }) => why === null || !isPython);
  const absent = stepPeers.filter((peer) => !peers.includes(peer)).map(({ peer }): Skipped => ({ peer, why: why! }));
  const skipped = [...absent];
  const loadBefore = load();
  const readings = new Readings();
  const report = () => ({
    ...{ benchmark: "step", machine: machine(loadBefore), versions: versions(), skipped },
    results: rowsOf(chosen, worlds, readings),
  });
  const folder = await mkdtemp(join(tmpdir(), "lockstep-bench-"));
  try {
    for (const model of chosen) await writeJob(folder, model);
    for (let round = 1; round <= rounds; round++) {
      for (const model of chosen) {
        for (const world of worlds) {
          process.stderr.write(`round ${round} of ${rounds}, ${model.work}, W = ${world}\n`);
          skipped.push(...(await takeTurns({ model, peers, world, folder }, readings)));
          // What has been measured is there, whatever happens afterwards.
          await writeReport(report(), values.json);
        }
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const remark = `of one step; a sample is the median of the ${steps - warmUpSteps} steps after ${warmUpSteps}`;
  await publish(report(), [remark], values.json);
}

interface Turns {
  readonly model: StepModel;
  readonly peers: readonly StepPeer[];
  readonly world: number;
  readonly folder: string;
}

/** Everybody's figure for one model, one right after the other, into `readings`; returns who had none, and why. */
async function takeTurns({ model, peers, world, folder }: Turns, readings: Readings): Promise<Skipped[]> {
  const { work } = model;
  const file = jobFile(folder, model);
  readings.add(own, work, world, await measure(file, work, world));
  const skipped: Skipped[] = [];
  for (const { peer, takes, command } of peers) {
    if (!takes(work, world)) continue;
    try {
      readings.add(peer, work, world, await measureWith(command(work, world, file), limitMs));
    } catch (error) {
      skipped.push({ peer: `${peer}, ${work}, W = ${world}`, why: messageOf(error) });
    }
  }
  return skipped;
}

/** Trains one epoch; the median time from step to step. */
async function measure(file: string, job: string, world: number): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-bench-"));
  try {
    const cluster = new TrainingCluster(folder, file, { job, workers: world });
    try {
      await cluster.whenEnded(limitMs);
    } finally {
      await cluster.stop();
    }
    const lines = await cluster.logs();
    const worker = lines.find(({ message }) => message === "ready")?.process ?? "";
    const times = stepTimes(lines, worker, 0, Number.POSITIVE_INFINITY);
    return median(gaps(times).slice(warmUpSteps));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
