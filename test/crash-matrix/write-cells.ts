/**
 * Every point of writing, publishing and deleting × what can go wrong at it inside one machine: a call that fails once or
 * from then on, a write that is short, a bit that turns over on its way to the disk, and a loss of power.
 */
import assert from "node:assert/strict";
import { LockstepError } from "../../src/core/errors.ts";
import { systemError } from "../fixtures/disturbed-file-system.ts";
import { checkFenced, checkGoesOn, checkWhole, pointersOf } from "./checks.ts";
import type { Cell, FaultKind } from "./matrix.ts";
import type { Disturbance, Point } from "./process.ts";
import { beginDisturbed, disturbedEpoch, openStage, type Stage, stopAt } from "./stage.ts";

const changing = ["makeDirectory", "create", "write", "rename", "removeFile", "removeTree"];

/** Which calls can fail in which way. */
const failures: readonly {
  readonly fault: FaultKind;
  readonly code: string;
  readonly operations: readonly string[];
}[] = [
  {
    fault: "enospc",
    code: "ENOSPC",
    operations: ["makeDirectory", "create", "write", "sync", "close", "rename", "syncDirectory"],
  },
  { fault: "eio-write", code: "EIO", operations: [...changing, "close"] },
  { fault: "eio-fsync", code: "EIO", operations: ["sync", "syncDirectory"] },
  { fault: "eio-read", code: "EIO", operations: ["exists", "names", "open", "sizeBytes", "read"] },
];

export function writeCells(
  points: readonly Point[],
  all: readonly Point[],
  powerLossSeeds: readonly number[],
): readonly Cell[] {
  return points.flatMap((point): Cell[] => {
    const cells: Cell[] = [];
    const cell = (fault: FaultKind, run: () => Promise<number>) => cells.push({ fault, where: point.name, run });
    for (const { fault, code, operations } of failures) {
      if (operations.includes(point.operation)) cell(fault, () => failing(point, all, code));
    }
    if (point.operation === "write") {
      cell("short-write", () => shortWrite(point));
      cell("flip-on-the-way", () => flippedOnTheWay(point));
    }
    if (point.operation === "reply") cell("lost-reply", () => lostReply(point));
    cell("power-loss", () => powerLoss(point, powerLossSeeds));
    return cells;
  });
}

async function failing(point: Point, all: readonly Point[], code: string): Promise<number> {
  // Once: the leader tries again by itself, and gets through.
  const once = await openStage();
  let faults = 0;
  const fail = () => {
    faults += 1;
    throw systemError(code, "simulated");
  };
  await publishDisturbed(once, { at: ({ name }) => name === point.name && fail() });
  assert.equal(faults, 1);
  assert.equal((await pointersOf(once.scene)).latest?.epoch, disturbedEpoch, "after one failure it is published");
  await checkAll(once);

  // From there on: it gives up aloud, and what was published before stands.
  const always = await openStage();
  await publishDisturbed(always, {
    at: ({ name, operation }) =>
      withoutCount(name) === withoutCount(point.name) && operation === point.operation && fail(),
  });
  const publishing = all.findIndex(({ name }) => name === "transact publish");
  const isBefore = all.findIndex(({ name }) => withoutCount(name) === withoutCount(point.name)) < publishing;
  const { latest } = await pointersOf(always.scene);
  assert.equal(latest?.epoch, isBefore ? disturbedEpoch - 1 : disturbedEpoch);
  if (isBefore) assert.match(always.first.alarm ?? "no alarm", /^Cannot (read|write) .*simulated/);
  await checkAll(always);
  return faults;
}

async function shortWrite(point: Point): Promise<number> {
  const stage = await openStage();
  let faults = 0;
  await publishDisturbed(stage, {
    alter: ({ name, operation }, buffers) => {
      if (operation !== "write" || withoutCount(name) !== point.name) return buffers;
      faults += 1;
      return [buffers[0]!.subarray(0, Math.ceil(buffers[0]!.length / 2))];
    },
  });
  assert.deepEqual(stage.scene.warnings, [], "a short write is carried on, and nothing has failed");
  assert.equal((await pointersOf(stage.scene)).latest?.epoch, disturbedEpoch);
  await checkAll(stage);
  return faults;
}

async function flippedOnTheWay(point: Point): Promise<number> {
  const stage = await openStage();
  let faults = 0;
  await publishDisturbed(stage, {
    alter: ({ name }, buffers) => {
      if (name !== point.name) return buffers;
      faults += 1;
      const [last, ...rest] = buffers.map((buffer) => Uint8Array.from(buffer)).reverse();
      last![last!.length >> 1]! ^= 1;
      return [...rest.reverse(), last!];
    },
  });
  assert.match(stage.scene.warnings.join(), /is not what was written/, "it was found when it was read back");
  assert.equal((await pointersOf(stage.scene)).latest?.epoch, disturbedEpoch, "and written anew");
  await checkAll(stage);
  return faults;
}

/** The transaction took effect, and whoever made it is not told. */
async function lostReply(point: Point): Promise<number> {
  const stage = await openStage();
  let faults = 0;
  await publishDisturbed(stage, {
    at: ({ name }) => {
      if (name !== point.name) return;
      faults += 1;
      throw new LockstepError("coordination-unavailable", "The reply was lost; whether it took effect is unknown.");
    },
  });
  assert.equal((await pointersOf(stage.scene)).latest?.epoch, disturbedEpoch);
  const times = stage.publications.filter(({ pointer }) => pointer.epoch === disturbedEpoch).length;
  assert.equal(times, 1, "it is published once");
  await checkAll(stage);
  return faults;
}

/** All machines at once; etcd keeps what it has acknowledged. */
async function powerLoss(point: Point, seeds: readonly number[]): Promise<number> {
  let faults = 0;
  for (const seed of seeds) {
    const stage = await openStage();
    const { scene, first, second } = stage;
    await stopAt(stage, first, point.name);
    second.process.stop();
    for (const { lease } of [first, second]) await scene.observer.revokeLease(lease.id);
    const disk = stage.disk.afterPowerLoss(randomOf(seed));
    faults += 1;
    try {
      await checkWhole(scene, disk);
      await checkGoesOn(scene, disk, disturbedEpoch + 1);
      checkFenced(stage.publications);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
    for (const leader of [first, second]) leader.close();
  }
  return faults;
}

async function publishDisturbed(stage: Stage, disturbance: Disturbance): Promise<void> {
  const { working } = await beginDisturbed(stage, stage.first, disturbance);
  await working;
  stage.first.process.disturb({});
}

/** Nothing is broken, and when the leader has gone, the next one goes on. */
async function checkAll(stage: Stage): Promise<void> {
  const { scene, disk, first, second, publications } = stage;
  await checkWhole(scene, disk);
  await first.leave();
  await second.leave();
  await checkGoesOn(scene, disk, disturbedEpoch + 1);
  checkFenced(publications);
}

function withoutCount(name: string): string {
  return name.replace(/ #\d+$/, "");
}

/** A small generator that is good enough to choose by (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = (seed * 0x9e3779b9) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
