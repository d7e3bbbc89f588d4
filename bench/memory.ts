/**
 * What a long training leaves behind: real workers train a small recorded model, with an epoch's end and a checkpoint in every thousand
 * steps, and are looked at a hundred times: the memory that no file stands for (their threads collect their garbage before), the
 * tensors and handles that the engine holds, and the open descriptors, each summed over the workers. The last quarter of what was seen stands beside the first.
 *
 *     npm run bench -- memory [--steps N] [--worlds 1,2] [--json FILE]
 */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LockstepError } from "../src/core/errors.ts";
import { formatValue } from "../src/core/number-format.ts";
import { countsFile, type EngineCounts, jobName, stepsAnEpoch, writeJob } from "./memory/job.ts";
import { TrainingCluster } from "./recovery/cluster.ts";
import { load, machine, median, publish, type Result, resultsOf, type Unit, versions } from "./results.ts";
import { commonOptions, wholeNumber, wholeNumbers } from "./words.ts";

const looks = 100;
/** Parts of all steps: until code is compiled, and every heap has its size. */
const warmUp = 0.2;
const startMs = 60_000;
/** Training goes on behind the last look, which it would else end before where there are few steps. */
const epochsBehind = 5;
/** A step takes two milliseconds, and several times as long where others use the machine. */
const stepLimitMs = 100;

/** What is looked at, and what of the memory at first may not have been added at the end. */
const measures = [
  { work: "memory-resident", of: "residentMiB", unit: "MiB", goal: 0.98 },
  { work: "memory-tensors", of: "tensors", unit: "count", goal: 1 },
  { work: "memory-handles", of: "handles", unit: "count", goal: 1 },
  { work: "memory-descriptors", of: "descriptors", unit: "count", goal: 1 },
] as const satisfies readonly { work: string; of: keyof Look; unit: Unit; goal: number }[];

interface Look extends EngineCounts {
  readonly step: number;
  readonly residentMiB: number;
  readonly descriptors: number;
}

export async function run(words: string[]): Promise<void> {
  const { values } = parseArgs({
    args: words,
    options: {
      steps: { type: "string", default: "100000" },
      worlds: { type: "string", default: "1,2" },
      json: commonOptions.json,
    },
  });
  const epochs = Math.ceil(wholeNumber("steps", values.steps, looks) / stepsAnEpoch);
  const worlds = wholeNumbers("worlds", values.worlds);
  if (process.platform !== "linux") {
    throw new LockstepError(
      "usage",
      `This benchmark reads /proc, which ${process.platform} has not; Linux was expected.`,
    );
  }
  const loadBefore = load();
  const results: Result[] = [];
  const remarks: string[] = [];
  for (const world of worlds) {
    const seen = await train(world, epochs);
    const quarter = Math.ceil(seen.length / 4);
    for (const { work, of, unit, goal } of measures) {
      const values = seen.map((look) => look[of]);
      const [first, last] = [values.slice(0, quarter), values.slice(-quarter)];
      const beside = { peer: "after warm-up", samples: first, goal };
      results.push(...resultsOf({ work, world, unit, samples: last }, [beside]));
      remarks.push(
        `${work}, W = ${world}: ${trend(
          seen.map(({ step }) => step),
          values,
          unit,
        )}`,
      );
    }
  }
  const report = { benchmark: "memory", machine: machine(loadBefore), versions: versions(), results, skipped: [] };
  const about = `the last quarter of ${epochs * stepsAnEpoch} steps beside the first after ${warmUp * 100} %; the sum of all workers`;
  await publish(report, [about, ...remarks], values.json);
}

/** Trains to the end; what was seen after the warm-up. */
async function train(workers: number, epochs: number): Promise<readonly Look[]> {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-bench-"));
  try {
    const steps = epochs * stepsAnEpoch;
    const every = steps / looks;
    const jobFile = await writeJob(folder, epochs + epochsBehind);
    const collect = new URL("./memory/collect.mjs", import.meta.url).href;
    const environment = { NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ""} --import=${collect}` };
    const cluster = new TrainingCluster(folder, jobFile, { job: jobName, workers, logLevel: "info", environment });
    const seen: Look[] = [];
    try {
      for (let next = warmUp * steps; next < steps; ) {
        const { step, processes } = await cluster.whenStatus(
          `step ${next}`,
          startMs + steps * stepLimitMs,
          (status) => status.step >= next,
        );
        const pids = processes.flatMap(({ role, pid }) => (role === "worker" && pid !== null ? [pid] : []));
        const each = await Promise.all(pids.map((pid) => lookAt(folder, pid)));
        const sum = (of: (one: (typeof each)[number]) => number) => each.reduce((total, one) => total + of(one), 0);
        seen.push({
          step,
          residentMiB: sum(({ residentMiB }) => residentMiB),
          tensors: sum(({ tensors }) => tensors),
          handles: sum(({ handles }) => handles),
          descriptors: sum(({ descriptors }) => descriptors),
        });
        process.stderr.write(
          `W = ${workers}: step ${step} of ${steps}, ${formatValue(seen.at(-1)!.residentMiB)} MiB\n`,
        );
        while (next <= step) next += every;
      }
      await cluster.whenEnded(startMs + (every + epochsBehind * stepsAnEpoch) * stepLimitMs);
    } finally {
      await cluster.stop();
    }
    return seen;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function lookAt(folder: string, pid: number): Promise<Omit<Look, "step">> {
  const [status, descriptors, counts] = await Promise.all([
    readFile(`/proc/${pid}/status`, "utf8"),
    readdir(`/proc/${pid}/fd`),
    readFile(countsFile(folder, pid), "utf8"),
  ]);
  const [, kilobytes] = /^RssAnon:\s*(\d+) kB$/m.exec(status) ?? [];
  const { tensors, handles } = JSON.parse(counts) as EngineCounts; // written by the job file
  return { residentMiB: Number(kilobytes) / 1024, tensors, handles, descriptors: descriptors.length };
}

/** "flat", or what is added in 10,000 steps: the median of the slopes between all pairs of looks (Theil, Sen). */
function trend(steps: readonly number[], values: readonly number[], unit: Unit): string {
  const slopes = values.flatMap((value, i) =>
    values.slice(i + 1).map((later, k) => (later - value) / (steps[i + 1 + k]! - steps[i]!)),
  );
  const added = 10_000 * median(slopes);
  const range = `${formatValue(Math.min(...values))} to ${formatValue(Math.max(...values))} ${unit}`;
  return `${Math.abs(added) < 0.05 ? "flat" : `${added > 0 ? "+" : ""}${formatValue(added)} ${unit} in 10,000 steps`}, ${range}`;
}
