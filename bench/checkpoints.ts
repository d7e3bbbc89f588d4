/**
 * What a checkpoint of 300 MB costs: 25 million weights with Adam. Training stands still for a copy of the state, beside a
 * plain copy in the same thread and run; a checkpoint is written, beside `dd` with fsync of as many bytes and `torch.save`;
 * it is verified and loaded, beside `torch.load`.
 *
 *     npm run bench -- checkpoints [--saves N] [--rounds N] [--workers N] [--directory DIR] [--json FILE] [--no-peers]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { formatValue } from "../src/core/number-format.ts";
import { weightCount } from "./checkpoints/job.ts";
import { measureStorage, stateBytes, type StorageReadings } from "./checkpoints/storage.ts";
import { Torch } from "./checkpoints/torch.ts";
import { measureTraining, type TrainingReadings } from "./checkpoints/training.ts";
import { whyNoPeers } from "./python.ts";
import {
  load,
  machine,
  median,
  publish,
  type Report,
  type Result,
  resultsOf,
  type Skipped,
  versions,
  worst,
} from "./results.ts";
import { commonOptions, wholeNumber } from "./words.ts";

/** How much longer than the other it may take. */
const mostOfCopy = 1.2;
const mostOfTorchLoad = 1.5;
/** How much of its throughput. */
const leastOfDd = 0.7;

export async function run(words: string[]): Promise<void> {
  const { values } = parseArgs({
    args: words,
    options: {
      saves: { type: "string", default: "12" },
      rounds: { type: "string", default: "7" },
      workers: { type: "string", default: "1" },
      directory: { type: "string" },
      ...commonOptions,
    },
  });
  const saves = wholeNumber("saves", values.saves);
  const rounds = wholeNumber("rounds", values.rounds);
  const workers = wholeNumber("workers", values.workers);
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const loadBefore = load();
  const folder = await mkdtemp(join(values.directory ?? tmpdir(), "lockstep-bench-"));
  try {
    say(`${saves} saves in a training with ${workers === 1 ? "one worker" : `${workers} workers`}`);
    const training = await measureTraining(join(folder, "training"), saves, workers);
    const torch = whyNoPeers(values["no-peers"]) ?? (await Torch.open(join(folder, "state.pt"), weightCount));
    say(`${rounds} rounds of writing and loading`);
    const storage = await measureStorage(join(folder, "storage"), rounds, typeof torch === "string" ? null : torch);
    if (typeof torch !== "string") await torch.close();
    const skipped: Skipped[] = typeof torch === "string" ? [{ peer: "torch", why: torch }] : [];
    const report: Report = {
      benchmark: "checkpoints",
      machine: machine(loadBefore),
      versions: { ...versions(), engine: training.engine },
      results: resultsWith(training, storage, workers),
      skipped,
    };
    await publish(report, remarksOn(training, storage), values.json);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function resultsWith(training: TrainingReadings, storage: StorageReadings, world: number): Result[] {
  const { pauses, copies, others } = training;
  const newMemory = { peer: "copy, new memory", samples: copies.map(({ newMs }) => newMs) };
  const usedMemory = { peer: "copy, used memory", samples: copies.map(({ usedMs }) => usedMs), goal: null };
  const pause = { world, unit: "ms" as const, samples: pauses };
  const alone = { world: 1, unit: "ms" as const };
  const goal = 1 / mostOfCopy;
  const torch = (samples: readonly number[], goal: number | null) =>
    samples.length === 0 ? [] : [{ peer: "torch", samples, goal }];
  return [
    ...resultsOf({ ...pause, work: "checkpoint-pause" }, [{ ...newMemory, goal }, usedMemory]),
    ...resultsOf({ ...pause, work: "checkpoint-pause-worst", of: worst }, [{ ...newMemory, goal }, usedMemory]),
    ...resultsOf({ world, unit: "ms", work: "between-other-steps", samples: others }, []),
    ...resultsOf({ ...alone, work: "checkpoint-write", samples: storage.write }, [
      { peer: "dd, fsync", samples: storage.dd, goal: leastOfDd },
      ...torch(storage.torchSave, null),
    ]),
    ...resultsOf(
      { ...alone, work: "checkpoint-load", samples: storage.load },
      torch(storage.torchLoad, 1 / mostOfTorchLoad),
    ),
  ].map((result) => ({ ...result, goal: result.goal && Number(result.goal.toFixed(2)) }));
}

function remarksOn(training: TrainingReadings, storage: StorageReadings): string[] {
  const throughput = (samples: readonly number[]) => formatValue(stateBytes / 1000 / median(samples));
  const late = (samples: readonly number[]) => (samples.length === 0 ? "–" : formatValue(worst(samples)));
  return [
    `${formatValue(stateBytes / 1e6)} MB; written at ${throughput(storage.write)} MB/s, by dd at ${throughput(storage.dd)}, loaded at ${throughput(storage.load)}; medians`,
    `the main thread's timers were late by at most ${late(training.eventLoop)} ms in training, ${late(storage.lateInWrite)} in a write alone, ${late(storage.lateInLoad)} in a load`,
    `${training.published} checkpoints were published in training`,
  ];
}
