/** A checkpoint of the benchmark's state in a directory: written, and verified and loaded, beside what else does so. */
import { execFile } from "node:child_process";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { promisify } from "node:util";
import { openDirectoryStorage } from "../../src/adapters/fs/checkpoint-storage.ts";
import { assert } from "../../src/core/errors.ts";
import { sharedMemory } from "../../src/core/shared-memory.ts";
import type { CheckpointContent, NamedTensor } from "../../src/ports/checkpoint-storage.ts";
import type { Log } from "../../src/ports/log.ts";
import { stateLength, weightCount, weightShapes } from "./job.ts";
import type { Torch } from "./torch.ts";

export const stateBytes = stateLength * Float32Array.BYTES_PER_ELEMENT;

export interface StorageReadings {
  readonly write: number[];
  readonly dd: number[];
  readonly torchSave: number[];
  readonly load: number[];
  readonly torchLoad: number[];
  /** How late a timer of the writing thread was at worst, a write or a load each. */
  readonly lateInWrite: number[];
  readonly lateInLoad: number[];
}

/** All take turns, so that a noisy minute hits all of them. */
export async function measureStorage(folder: string, rounds: number, torch: Torch | null): Promise<StorageReadings> {
  await mkdir(folder);
  const storage = await openDirectoryStorage(join(folder, "checkpoints"), silent);
  // As a worker has what it saves.
  const values = new Float32Array(sharedMemory(stateBytes));
  for (let i = 0; i < stateLength; i++) values[i] = i / stateLength;
  const readings: StorageReadings = {
    ...{ write: [], dd: [], torchSave: [], load: [], torchLoad: [], lateInWrite: [], lateInLoad: [] },
  };
  // The first round is for warming up.
  for (let round = 0; round <= rounds; round++) {
    const keep = (into: number[], value: number) => round > 0 && into.push(value);
    const plain = join(folder, "plain");
    const id = `round-${round}`;
    keep(readings.dd, await timeOf(() => dd(plain)));
    const written = await withDelay(() => storage.write(contentOf(id, values)));
    keep(readings.write, written.ms);
    keep(readings.lateInWrite, written.lateMs);
    if (torch) keep(readings.torchSave, await torch.save());
    const loaded = await withDelay(async () => {
      const { weights, optimizer } = await storage.load(id);
      const last = optimizer.at(-1)!.values;
      assert(weights[0]!.values[1] === values[1] && last.at(-1) === values.at(-1), "what was written is loaded");
    });
    keep(readings.load, loaded.ms);
    keep(readings.lateInLoad, loaded.lateMs);
    if (torch) keep(readings.torchLoad, await torch.load());
    await storage.delete(id);
    await rm(plain);
  }
  return readings;
}

async function dd(file: string): Promise<void> {
  const words = ["if=/dev/zero", `of=${file}`, "bs=1M", `count=${stateBytes}`, "iflag=count_bytes", "conv=fsync"];
  await promisify(execFile)("dd", words);
}

async function timeOf(run: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await run();
  return performance.now() - begun;
}

async function withDelay(run: () => Promise<unknown>): Promise<{ ms: number; lateMs: number }> {
  const resolution = 5;
  const delay = monitorEventLoopDelay({ resolution });
  delay.enable();
  const ms = await timeOf(run);
  delay.disable();
  return { ms, lateMs: Math.max(0, delay.max / 1e6 - resolution) };
}

function contentOf(id: string, values: Float32Array): CheckpointContent {
  const tensors = (prefix: string, row: number): NamedTensor[] => {
    let offset = row * weightCount;
    return weightShapes.map(({ name, shape }) => {
      const size = shape.reduce((a, b) => a * b, 1);
      offset += size;
      return { name: `${prefix}${name}`, shape, values: values.subarray(offset - size, offset) };
    });
  };
  const digest = `sha256:${"0".repeat(64)}`; // of no interest to storage
  return {
    manifest: {
      ...{ formatVersion: 1, id, job: "checkpoints", run: "1", lineage: 1, era: 1, step: 1, epoch: 0, stepInEpoch: 1 },
      ...{ generation: 1, fencingToken: 1, stateDigest: digest, weightsDigest: digest, fingerprint: {} },
      ...{ equivalences: [], openings: [], members: ["w1"], metrics: null, writtenAt: new Date().toISOString() },
    },
    weights: tensors("", 0),
    optimizer: [...tensors("m/", 1), ...tensors("v/", 2)],
    state: {},
  };
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, with: () => silent };
