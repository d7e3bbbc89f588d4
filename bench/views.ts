/**
 * What being looked at costs training. One cluster of two workers trains; in turns, for a few seconds each, nobody looks and everybody
 * does: three clients read the dashboard's stream of changes as three open pages do, and every process' metrics are scraped once a
 * second. One launch differs from the next by more than what is looked for, so that both are windows of one. What a browser or
 * Prometheus computes is not in it: they may run anywhere.
 *
 * Two figures of each window: samples a second, which is what counts, and the processor time that coordinator and etcd took in a
 * second, which other programs on the machine disturb less.
 *
 * TensorBoard's event files are written from a launch's begin to its end. Of those it is measured how long the leader takes to write
 * an epoch, beside a hundredth of how long the epoch takes to train.
 *
 *     npm run bench -- views [--pairs N] [--views pages,metrics,tensorboard] [--json FILE]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LockstepError } from "../src/core/errors.ts";
import { systemClock } from "../src/adapters/system/clock.ts";
import { TensorBoardLog } from "../src/adapters/tensorboard/tensorboard-log.ts";
import type { EpochHistory } from "../src/core/status.ts";
import { committed, processorMs } from "./processes.ts";
import { TrainingCluster } from "./recovery/cluster.ts";
import { batchSize, stepsAnEpoch, writeJob } from "./recovery/job.ts";
import { load, machine, pairedRatio, publish, type Result, resultsOf, versions } from "./results.ts";
import { commonOptions, wholeNumber } from "./words.ts";

/** Two cores have them both. */
const workers = 2;
const pages = 3;
const scrapeEveryMs = 1000;
const warmSteps = 100;
const settleMs = 1000;
const windowMs = 5000;
const startMs = 300_000;
/** Far more epochs than a run that has converged keeps; each is a few events in each of two files. */
const writtenEpochs = 100;
const views = ["pages", "metrics", "tensorboard"] as const;
type View = (typeof views)[number];

/** Of one window. */
interface Figures {
  readonly samplesPerSecond: number;
  /** Of coordinator and etcd, in milliseconds a second. */
  readonly processorMs: number;
}

export async function run(words: string[]): Promise<void> {
  const { values } = parseArgs({
    args: words,
    options: {
      pairs: { type: "string", default: "60" },
      views: { type: "string", default: views.join() },
      ...commonOptions,
    },
  });
  const pairs = wholeNumber("pairs", values.pairs);
  const wanted = viewsIn(values.views);
  const loadBefore = load();
  const folder = await mkdtemp(join(tmpdir(), "lockstep-bench-"));
  try {
    const cluster = new TrainingCluster(folder, await writeJob(folder), { job: "recovery", workers, logLevel: "info" });
    try {
      await cluster.whenStatus("training", startMs, ({ state, step }) => state === "training" && step > warmSteps);
      const watched = wanted.filter((view) => view !== "tensorboard");
      const [results, remarks] = watched.length > 0 ? await inTurns(cluster, watched, pairs) : [[], []];
      if (wanted.includes("tensorboard")) results.push(...(await eventFiles(cluster, folder)));
      const report = { benchmark: "views", machine: machine(loadBefore), results, skipped: [], versions: versions() };
      await publish(report, remarks, values.json);
    } finally {
      await cluster.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function inTurns(
  cluster: TrainingCluster,
  watched: readonly View[],
  pairs: number,
): Promise<[results: Result[], remarks: string[]]> {
  const [alone, seen]: [Figures[], Figures[]] = [[], []];
  for (let pair = 0; pair < pairs; pair += 1) {
    // Each goes first as often as second: a machine gets slower and faster by itself.
    for (const looks of pair % 2 === 0 ? [false, true] : [true, false]) {
      const figures = await window(cluster, looks ? watched : []);
      (looks ? seen : alone).push(figures);
      process.stderr.write(
        `pair ${pair + 1}, ${looks ? watched.join(" and ") : "nobody"}: ${figures.samplesPerSecond.toFixed(0)} samples/s, coordinator and etcd ${figures.processorMs.toFixed(1)} ms/s\n`,
      );
    }
  }
  const [rates, ratesAlone] = [seen, alone].map((all) => all.map(({ samplesPerSecond }) => samplesPerSecond));
  const [times, timesAlone] = [seen, alone].map((all) => all.map(({ processorMs }) => processorMs));
  const peer = "nobody looks";
  const results = [
    ...resultsOf({ work: "views", world: workers, unit: "samples/s", samples: rates! }, [
      { peer, samples: ratesAlone!, goal: 0.99 },
    ]),
    ...resultsOf({ work: "views-coordinator-etcd", world: workers, unit: "ms", samples: times! }, [
      { peer, samples: timesAlone!, goal: null },
    ]),
  ];
  const remark = `samples a second with ${watched.join(" and ")}, of those of the window beside it: ${pairedRatio(rates!, ratesAlone!)}`;
  return [results, [remark]];
}

/** What is opened is closed again before the next window. */
async function window(cluster: TrainingCluster, watched: readonly View[]): Promise<Figures> {
  const over = new AbortController();
  try {
    const opened = await open(cluster, watched, over.signal);
    // What is done once, as the first view of a page, is not in it.
    await systemClock.sleep(settleMs);
    const figures = await measured(cluster);
    over.abort();
    await Promise.all(opened);
    return figures;
  } finally {
    over.abort();
  }
}

/** Each resolves once it is closed. */
async function open(
  cluster: TrainingCluster,
  wanted: readonly View[],
  over: AbortSignal,
): Promise<readonly Promise<void>[]> {
  const url = `http://${await cluster.http()}/api/events`;
  const addresses = wanted.includes("metrics") ? [...(await cluster.httpOfAll()).values()] : [];
  return [
    ...Array.from({ length: wanted.includes("pages") ? pages : 0 }, () => read(url, over)),
    ...addresses.map((address) => scrape(`http://${address}/metrics`, over)),
  ];
}

function viewsIn(text: string): readonly View[] {
  return text.split(",").map((word) => {
    const view = views.find((one) => one === word);
    if (view) return view;
    throw new LockstepError(
      "usage",
      `--views has ${JSON.stringify(word)}; some of ${views.join(", ")} were expected, with commas between them.`,
    );
  });
}

async function measured(cluster: TrainingCluster): Promise<Figures> {
  const worker = (await cluster.httpOfAll()).get("worker-0")!;
  const [first, before] = [await committed(worker), await processorMsOf(cluster)];
  await systemClock.sleep(windowMs);
  const [last, after] = [await committed(worker), await processorMsOf(cluster)];
  const seconds = (last.atMs - first.atMs) / 1000;
  return {
    samplesPerSecond: ((last.step - first.step) * batchSize) / seconds,
    processorMs: (after - before) / seconds,
  };
}

/** What the leader does for TensorBoard at an epoch's end, which training does not wait for, as if it did. */
async function eventFiles(cluster: TrainingCluster, folder: string): Promise<Result[]> {
  const { samplesPerSecond } = await window(cluster, []);
  const epochMs = (stepsAnEpoch * batchSize * 1000) / samplesPerSecond;
  const files = { directory: join(folder, "board"), writer: "bench", histograms: [], topology: null };
  const log = new TensorBoardLog({ ...files, clock: () => systemClock.wallMs() });
  const history: EpochHistory[] = [];
  const samples: number[] = [];
  for (let epoch = 1; epoch <= writtenEpochs; epoch += 1) {
    const metrics = { loss: 1 / epoch, accuracy: 0.5, val_loss: 1 / epoch, val_accuracy: 0.5, learningRate: 1e-3 };
    history.push({ epoch, step: epoch * stepsAnEpoch, metrics, improved: true });
    const sinceMs = systemClock.monotonicMs();
    await log.record({ token: 1, history, weights: () => [], gradients: () => Promise.resolve(null) });
    samples.push(systemClock.monotonicMs() - sinceMs);
  }
  return resultsOf({ work: "views-tensorboard", world: workers, unit: "ms", samples }, [
    { peer: "1 % of an epoch", samples: [epochMs / 100], goal: 1 },
  ]);
}

/** Of coordinator and etcd, since they were started. */
async function processorMsOf(cluster: TrainingCluster): Promise<number> {
  const { processes } = await cluster.now();
  const coordinator = processes.find(({ role }) => role === "coordinator")!.pid!;
  return processorMs([coordinator, ...(await cluster.etcdPids())]);
}

/** As a page does: reads what comes, until it is closed. */
async function read(url: string, over: AbortSignal): Promise<void> {
  try {
    const response = await fetch(url, { signal: over });
    for await (const _ of response.body!);
  } catch (error) {
    if (!over.aborted) throw error;
  }
}

/** As Prometheus does, until it is closed. */
async function scrape(url: string, over: AbortSignal): Promise<void> {
  try {
    while (!over.aborted) {
      const response = await fetch(url, { signal: over });
      if (!response.ok) throw new Error(`${url} answers with status ${response.status}.`);
      await response.text();
      await systemClock.sleep(scrapeEveryMs, over);
    }
  } catch (error) {
    if (!over.aborted) throw error;
  }
}
