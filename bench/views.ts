/**
 * What being looked at costs training. A cluster of two workers is launched again and again, in turns alone and with all views: three
 * clients read the dashboard's stream of changes as three open pages do, every process' metrics are scraped once a second, and
 * TensorBoard's event files are written. What a browser, Prometheus or TensorBoard compute is not in it: they may run anywhere.
 *
 * Two figures of each launch: samples a second, which is what counts, and the processor time that coordinator and etcd took in a
 * second, which other programs on the machine disturb less.
 *
 *     npm run bench -- views [--rounds N] [--views pages,metrics,tensorboard] [--json FILE]
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LockstepError } from "../src/core/errors.ts";
import { systemClock } from "../src/adapters/system/clock.ts";
import { TrainingCluster } from "./recovery/cluster.ts";
import { batchSize, writeJob } from "./recovery/job.ts";
import { load, machine, pairedRatio, publish, resultsOf, versions } from "./results.ts";
import { commonOptions, wholeNumber } from "./words.ts";

/** Two cores have them both. */
const workers = 2;
const pages = 3;
const scrapeEveryMs = 1000;
const warmSteps = 100;
const settleMs = 2000;
const windowMs = 10_000;
const startMs = 300_000;
const views = ["pages", "metrics", "tensorboard"] as const;
type View = (typeof views)[number];

/** Of one launch. */
interface Figures {
  readonly samplesPerSecond: number;
  /** Of coordinator and etcd, in milliseconds a second. */
  readonly processorMs: number;
}

export async function run(words: string[]): Promise<void> {
  const { values } = parseArgs({
    args: words,
    options: {
      rounds: { type: "string", default: "20" },
      views: { type: "string", default: views.join() },
      ...commonOptions,
    },
  });
  const rounds = wholeNumber("rounds", values.rounds);
  const wanted = viewsIn(values.views);
  const loadBefore = load();
  const folder = await mkdtemp(join(tmpdir(), "lockstep-bench-"));
  const [alone, seen]: [Figures[], Figures[]] = [[], []];
  try {
    const jobFile = await writeJob(folder);
    for (let round = 0; round < rounds; round += 1) {
      // Each goes first as often as second: a machine gets slower and faster by itself.
      for (const looks of round % 2 === 0 ? [false, true] : [true, false]) {
        const figures = await launched(await mkdtemp(join(folder, "launch-")), jobFile, looks ? wanted : []);
        (looks ? seen : alone).push(figures);
        process.stderr.write(
          `round ${round + 1}, ${looks ? wanted.join(" and ") : "nobody"}: ${figures.samplesPerSecond.toFixed(0)} samples/s, coordinator and etcd ${figures.processorMs.toFixed(1)} ms/s\n`,
        );
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
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
  await publish(
    { benchmark: "views", machine: machine(loadBefore), results, skipped: [], versions: versions() },
    [
      `samples a second with ${wanted.join(", ")}, of those of the launch beside it: ${pairedRatio(rates!, ratesAlone!)}`,
    ],
    values.json,
  );
}

/** Launches a cluster, measures it once it is warm, and stops it. */
async function launched(folder: string, jobFile: string, wanted: readonly View[]): Promise<Figures> {
  const more = wanted.includes("tensorboard") ? ["--tensorboard", join(folder, "board")] : [];
  const cluster = new TrainingCluster(folder, jobFile, { job: "recovery", workers, logLevel: "info", words: more });
  const over = new AbortController();
  try {
    await cluster.whenStatus("training", startMs, ({ state, step }) => state === "training" && step > warmSteps);
    const opened = await open(cluster, wanted, over.signal);
    // What is done once, as the first view of a page, is not in it.
    await systemClock.sleep(settleMs);
    const figures = await measured(cluster);
    over.abort();
    await Promise.all(opened);
    return figures;
  } finally {
    over.abort();
    await cluster.stop();
  }
}

/** Each resolves once it is closed. */
async function open(
  cluster: TrainingCluster,
  wanted: readonly View[],
  over: AbortSignal,
): Promise<readonly Promise<void>[]> {
  const url = `http://${await cluster.http()}/api/events`;
  const addresses = wanted.includes("metrics") ? await cluster.httpOfAll() : [];
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
  const [first, before, sinceMs] = [await cluster.now(), await processorMsOf(cluster), systemClock.monotonicMs()];
  await systemClock.sleep(windowMs);
  const [last, after] = [await cluster.now(), await processorMsOf(cluster)];
  const seconds = (systemClock.monotonicMs() - sinceMs) / 1000;
  const samples = (last.step - first.step) * batchSize;
  return { samplesPerSecond: samples / seconds, processorMs: (after - before) / seconds };
}

/** Of coordinator and etcd, since they were started: user and system time, which Linux counts in hundredths of a second. */
async function processorMsOf(cluster: TrainingCluster): Promise<number> {
  const { processes } = await cluster.now();
  const coordinator = processes.find(({ role }) => role === "coordinator")!.pid!;
  const times = [coordinator, ...(await cluster.etcdPids())].map(async (pid) => {
    const words = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1]!.split(" ");
    return (Number(words[11]) + Number(words[12])) * 10;
  });
  return (await Promise.all(times)).reduce((sum, ms) => sum + ms, 0);
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
