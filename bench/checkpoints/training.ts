/** What a save costs training: a cluster trains, saves every few steps, and its workers' logs say how long steps waited. */
import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { LogLine } from "../../src/core/log-reading.ts";
import { TrainingCluster } from "../recovery/cluster.ts";
import { jobName, type PlainCopy, writeJob } from "./job.ts";

const saveEvery = 4;
/** A step of this size takes a second or two, and several where others use the machine. */
const stepLimitMs = 30_000;

export interface TrainingReadings {
  /** What training stood still at each save. */
  readonly pauses: readonly number[];
  /** Between steps that nothing was saved between. */
  readonly others: readonly number[];
  readonly copies: readonly PlainCopy[];
  /** How late the agent's timers were, while it trained: the worst of each half second. */
  readonly eventLoop: readonly number[];
  readonly published: number;
  readonly engine: string;
}

export async function measureTraining(folder: string, saves: number, workers: number): Promise<TrainingReadings> {
  await mkdir(folder);
  const copiesFile = join(folder, "copies.jsonl");
  const eventLoopFile = join(folder, "event-loop.jsonl");
  // The step after the last save is in the same epoch.
  const steps = saves * saveEvery + 1;
  const jobFile = await writeJob(folder, { workers, saveEvery, steps, copiesFile });
  const probe = new URL("./event-loop.mjs", import.meta.url).href;
  const environment = {
    LOCKSTEP_BENCH_EVENT_LOOP: eventLoopFile,
    NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ""} --import=${probe}`,
  };
  const cluster = new TrainingCluster(folder, jobFile, { job: jobName, workers, environment });
  try {
    await cluster.whenEnded(steps * stepLimitMs);
  } finally {
    await cluster.stop();
  }
  const lines = await cluster.logs();
  const taken = lines.filter(({ message }) => message === "step");
  const [from, to] = [Math.min(...taken.map(({ atMs }) => atMs)), Math.max(...taken.map(({ atMs }) => atMs))];
  const eventLoop = await readLines<{ atMs: number; lateMs: number }>(eventLoopFile);
  return {
    pauses: taken.filter(isAfterSave).map(pausedMs),
    others: taken.filter((line) => !isAfterSave(line)).map(pausedMs),
    copies: await readLines<PlainCopy>(copiesFile),
    eventLoop: eventLoop.filter(({ atMs }) => atMs > from && atMs <= to).map(({ lateMs }) => lateMs),
    published: lines.filter(({ message }) => message === "published").length,
    engine: String(lines.find(({ message }) => message === "ready")?.engine ?? "unknown"),
  };
}

function isAfterSave({ step }: LogLine): boolean {
  return Number(step) > 1 && Number(step) % saveEvery === 1;
}

function pausedMs(line: LogLine): number {
  return Number(line.pausedMs);
}

async function readLines<T>(file: string): Promise<T[]> {
  if (!existsSync(file)) return [];
  const text = await readFile(file, "utf8");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T); // what the programs of this folder write
}
