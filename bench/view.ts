/**
 * What looking costs training. A cluster of two workers trains; in turns nobody looks, and three clients read the dashboard's
 * stream of changes, as three open pages do; beside it stands what coordinator and etcd compute in a second. What a browser computes for its pages is not in it: it may run anywhere.
 *
 *     npm run bench -- view [--rounds N] [--json FILE]
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { systemClock } from "../src/adapters/system/clock.ts";
import { TrainingCluster } from "./recovery/cluster.ts";
import { batchSize, writeJob } from "./recovery/job.ts";
import { load, machine, publish, resultsOf, versions } from "./results.ts";
import { commonOptions, wholeNumber } from "./words.ts";

/** Two cores have them both. */
const workers = 2;
const pages = 3;
const windowMs = 8000;
const settleMs = 1500;

export async function run(words: string[]): Promise<void> {
  const { values } = parseArgs({
    args: words,
    options: { rounds: { type: "string", default: "10" }, ...commonOptions },
  });
  const rounds = wholeNumber("rounds", values.rounds);
  const loadBefore = load();
  const folder = await mkdtemp(join(tmpdir(), "lockstep-bench-"));
  const [alone, seen, aloneMs, seenMs]: number[][] = [[], [], [], []];
  try {
    const jobFile = await writeJob(folder);
    const cluster = new TrainingCluster(folder, jobFile, { job: "recovery", workers, logLevel: "info" });
    try {
      await cluster.whenStatus("training", 180_000, ({ state, step }) => state === "training" && step > 50);
      const url = `http://${await cluster.http()}/api/events`;
      for (let round = 0; round < rounds; round += 1) {
        // Each goes first as often as second: a machine gets slower and faster by itself.
        for (const looks of round % 2 === 0 ? [false, true] : [true, false]) {
          const over = new AbortController();
          const readers = looks ? Array.from({ length: pages }, () => read(url, over.signal)) : [];
          await systemClock.sleep(settleMs);
          const { rate, processorMs } = await windowOf(cluster);
          (looks ? seen : alone)!.push(rate);
          (looks ? seenMs : aloneMs)!.push(processorMs);
          over.abort();
          await Promise.all(readers);
          process.stderr.write(
            `round ${round + 1}, ${looks ? `${pages} pages` : "nobody"}: ${rate.toFixed(0)} samples/s, coordinator and etcd ${processorMs.toFixed(1)} ms/s\n`,
          );
        }
      }
    } finally {
      await cluster.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const peer = "nobody looks";
  const work = { work: "view-three-pages", world: workers };
  const results = [
    ...resultsOf({ ...work, unit: "samples/s", samples: seen! }, [{ peer, samples: alone!, goal: 0.99 }]),
    ...resultsOf({ ...work, work: "view-coordinator-etcd", unit: "ms", samples: seenMs! }, [
      { peer, samples: aloneMs!, goal: null },
    ]),
  ];
  await publish(
    { benchmark: "view", machine: machine(loadBefore), results, skipped: [], versions: versions() },
    [],
    values.json,
  );
}

/** Samples a second, and the processor time of coordinator and etcd in a second, as it is known to a hundredth of one. */
async function windowOf(cluster: TrainingCluster): Promise<{ rate: number; processorMs: number }> {
  const [first, before, startMs] = [await cluster.now(), await processorMsOf(cluster), systemClock.monotonicMs()];
  await systemClock.sleep(windowMs);
  const [last, after] = [await cluster.now(), await processorMsOf(cluster)];
  const seconds = (systemClock.monotonicMs() - startMs) / 1000;
  return { rate: ((last.step - first.step) * batchSize) / seconds, processorMs: (after - before) / seconds };
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
