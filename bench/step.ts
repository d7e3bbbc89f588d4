/**
 * Training steps of whole clusters, S = W, with all that a step has, beside PyTorch's DistributedDataParallel on the same models. The two
 * take turns, round by round.
 *
 *     npm run bench -- step [--rounds N] [--worlds 1,2,4] [--models step-mlp512,…] [--json FILE] [--no-peers]
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { LockstepError } from "../src/core/errors.ts";
import { gaps, stepTimes } from "../src/core/log-reading.ts";
import { TrainingCluster } from "./recovery/cluster.ts";
import { peerProgram, pythonCommand, whyNoPeers } from "./python.ts";
import { load, machine, median, publish, type Result, resultsOf, type Skipped, versions } from "./results.ts";
import { models, type StepModel, writeJob } from "./step/models.ts";
import { commonOptions, wholeNumber, wholeNumbers } from "./words.ts";

const steps = 40;
/** Until memory is in use and the code is compiled. */
const warmUpSteps = 8;
/** A step of the largest model takes half a second, and several where others use the machine. */
const limitMs = steps * 10_000;
const goal = 1.25;

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
  const loadBefore = load();
  const results: Result[] = [];
  for (const world of worlds) {
    const own = new Map<string, number[]>(chosen.map(({ work }) => [work, []]));
    const ddp = new Map<string, number[]>();
    for (let round = 1; round <= rounds; round++) {
      process.stderr.write(`W = ${world}: round ${round} of ${rounds}\n`);
      for (const model of chosen) own.get(model.work)!.push(await measure(model, world));
      if (why !== null) continue;
      for (const { work, ms } of await measureDdp(chosen, world)) ddp.set(work, [...(ddp.get(work) ?? []), ms]);
    }
    for (const { work } of chosen) {
      const beside = why === null ? [{ peer: "torch DDP", samples: ddp.get(work) ?? [], goal }] : [];
      results.push(...resultsOf({ work, world, unit: "ms", samples: own.get(work)! }, beside));
    }
  }
  const skipped: Skipped[] = why === null ? [] : [{ peer: "torch DDP", why }];
  const report = { benchmark: "step", machine: machine(loadBefore), versions: versions(), results, skipped };
  const remark = `milliseconds a step; a sample is the median of the ${steps - warmUpSteps} steps after ${warmUpSteps}`;
  await publish(report, [remark], values.json);
}

/** Trains one epoch; the median time from step to step. */
async function measure(model: StepModel, world: number): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-bench-"));
  try {
    const jobFile = await writeJob(folder, model, steps);
    const cluster = new TrainingCluster(folder, jobFile, { job: model.work, workers: world });
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

/** What torch_ddp.py prints for a model. */
interface DdpLine {
  readonly work: string;
  readonly samples_ms: readonly number[];
}

async function measureDdp(
  chosen: readonly StepModel[],
  world: number,
): Promise<readonly { readonly work: string; readonly ms: number }[]> {
  const words = [
    "--standalone",
    "--nproc-per-node",
    String(world),
    peerProgram("torch_ddp.py"),
    ...chosen.map(({ work }) => work),
  ];
  const { stdout } = await promisify(execFile)(pythonCommand("torchrun"), words, { timeout: chosen.length * limitMs });
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as DdpLine)
    .map((line) => ({ work: line.work, ms: median(line.samples_ms) }));
}

function modelNamed(name: string): StepModel {
  const found = models.find(({ work }) => work === name);
  if (found) return found;
  const known = models.map(({ work }) => work).join(", ");
  throw new LockstepError("usage", `--models has ${JSON.stringify(name)}; ${known} were expected.`);
}
