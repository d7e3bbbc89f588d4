/** A leader that is stopped past its lease and continued, two that both believe to lead, and one that deletes too late. */
import assert from "node:assert/strict";
import { openDirectoryStorage } from "../../src/adapters/fs/checkpoint-storage.ts";
import { failureBudget } from "../../src/core/failure-budget.ts";
import { decodeJson } from "../../src/core/json.ts";
import { CheckpointError } from "../../src/core/manifest.ts";
import type { CheckpointRecord } from "../../src/core/records.ts";
import { withReaderPin } from "../../src/runtime/pins.ts";
import { checkFenced, checkGoesOn, checkWhole, pointersOf } from "./checks.ts";
import type { Cell } from "./matrix.ts";
import type { Point, PointName } from "./process.ts";
import type { Leader } from "./scene.ts";
import { beginDisturbed, disturbedEpoch, openStage, outliveLease, publishUpTo, type Stage, stopAt } from "./stage.ts";

const nextEpoch = disturbedEpoch + 1;

export function leaderCells(points: readonly Point[], all: readonly Point[]): readonly Cell[] {
  const stopped = points.map(({ name }): Cell => {
    return { fault: "stopped-leader", where: name, run: () => stoppedPastItsLease(name, all) };
  });
  const deleting = points.filter(({ name }) => / OLD| condemn| forget/.test(name));
  const deletes = deleting.map(({ name }): Cell => {
    return { fault: "deposed-deletes", where: `at "${name}"`, run: () => deposedDeletes(name) };
  });
  const both = ["makeDirectory STAGING", "rename STAGING", "open NEW/manifest.json", "transact publish"];
  const leaders = both.flatMap((name) =>
    [true, false].map((olderFirst): Cell => {
      const order = olderFirst ? "the deposed one goes on first" : "the new one goes on first";
      return { fault: "two-leaders", where: `both at "${name}", ${order}`, run: () => twoLeaders(name, olderFirst) };
    }),
  );
  return [...stopped, ...leaders, ...deletes];
}

async function stoppedPastItsLease(point: PointName, all: readonly Point[]): Promise<number> {
  // It wakes when another leads that has published nothing yet: what it does now must fail for its token alone.
  const before = await openStage();
  const { working } = await stopAt(before, before.first, point);
  await outliveLease(before);
  await before.second.stand();
  const publicationCount = before.publications.length;
  before.first.process.continue();
  await working;
  const at = all.findIndex(({ name }) => name === point);
  const wasPublished = at > all.findIndex(({ name }) => name === "transact publish");
  assert.equal(before.publications.length, publicationCount, "whoever has lost the leadership publishes nothing");
  assert.equal((await pointersOf(before.scene)).latest?.epoch, wasPublished ? disturbedEpoch : disturbedEpoch - 1);
  await checkWhole(before.scene, before.disk);
  await publishUpTo(before.scene, before.second, nextEpoch, wasPublished ? nextEpoch : disturbedEpoch);
  await checkEnd(before, nextEpoch);

  // It wakes when the other has published this epoch and the next, and deleted what these replace.
  const after = await openStage();
  const stopped = await stopAt(after, after.first, point);
  await outliveLease(after);
  await publishUpTo(after.scene, after.second, nextEpoch, disturbedEpoch);
  assert.equal((await pointersOf(after.scene)).latest?.epoch, nextEpoch, "the other one is not held up");
  after.first.process.continue();
  await stopped.working;
  await checkEnd(after, nextEpoch);
  return 2;
}

async function twoLeaders(point: PointName, olderFirst: boolean): Promise<number> {
  const stage = await openStage();
  const [first, second] = [stage.first, stage.second];
  const older = await stopAt(stage, first, point);
  await outliveLease(stage);
  const newer = await stopAt(stage, second, point);
  const goOn = async (leader: Leader, working: Promise<void>) => {
    leader.process.continue();
    await working;
  };
  if (olderFirst) await goOn(first, older.working);
  await goOn(second, newer.working);
  if (!olderFirst) await goOn(first, older.working);
  const ofEpoch = stage.publications.filter(({ pointer }) => pointer.epoch === disturbedEpoch);
  assert.equal(ofEpoch.length, 1, "one of them has published the step");
  const storage = await openDirectoryStorage(stage.scene.place.directory, stage.scene.log, stage.disk);
  const ids = (await storage.list()).filter(({ manifest }) => manifest.epoch === disturbedEpoch).map(({ id }) => id);
  assert.deepEqual(ids, [ofEpoch[0]!.pointer.id], "the other one's checkpoint is gone");
  await checkEnd(stage, disturbedEpoch);
  return 1;
}

async function deposedDeletes(point: PointName): Promise<number> {
  const stage = await openStage();
  const { working } = await stopAt(stage, stage.first, point);
  await outliveLease(stage);
  await stage.second.stand();
  const live = await liveIds(stage);
  stage.first.process.continue();
  await working;
  assert.deepEqual(await liveIds(stage), live, "it condemns nothing any more");
  // Whatever is live is loaded by this: only what was condemned before may be gone.
  await checkWhole(stage.scene, stage.disk);
  await publishUpTo(stage.scene, stage.second, nextEpoch, nextEpoch);
  await checkEnd(stage, nextEpoch);
  return 1;
}

async function liveIds({ scene }: Stage): Promise<readonly string[]> {
  const { entries } = await scene.observer.list(scene.keys.checkpoints);
  return entries
    .map(({ value }) => decodeJson<CheckpointRecord>(value))
    .flatMap((record) => (record.state === "live" ? [record.pointer.id] : []));
}

/** What was published stands, everyone leaves, and the next one goes on. */
async function checkEnd({ scene, disk, publications, first, second }: Stage, epoch: number): Promise<void> {
  assert.equal((await pointersOf(scene)).latest?.epoch, epoch);
  await checkWhole(scene, disk);
  checkFenced(publications);
  await first.leave();
  await second.leave();
  await checkGoesOn(scene, disk, epoch + 1);
  checkFenced(publications);
}

/** What a reader of a checkpoint calls: one to open each file, one for its size, and one or more to read it. */
const readerCalls = 14;
/** With a pin, one transaction before, and its reply. */
const pinCalls = 2;

/** Somebody loads a checkpoint while the leader publishes the next one and deletes what it replaces. */
export function readerCells(): readonly Cell[] {
  const cell = (at: number, isPinned: boolean): Cell => {
    const where = `${isPinned ? "with" : "without"} a pin, before the reader's call ${at + 1}`;
    return { fault: "reader-while-pruned", where, run: () => readWhilePruned(at, isPinned) };
  };
  return [
    ...Array.from({ length: readerCalls }, (_, at) => cell(at, false)),
    ...Array.from({ length: pinCalls + readerCalls }, (_, at) => cell(at, true)),
  ];
}

async function readWhilePruned(callsBefore: number, isPinned: boolean): Promise<number> {
  const stage = await openStage();
  const { scene, disk, first } = stage;
  // What is condemned next, found on a stage of its own, since ids are the same there.
  const condemned = await condemnedNext();
  const reader = scene.enter("reader");
  const storage = await openDirectoryStorage(scene.place.directory, scene.log, reader.fileSystem);
  let calls = 0;
  let reached = () => {};
  const reaching = new Promise<void>((resolve) => {
    reached = resolve;
  });
  reader.disturb({
    at: () => {
      calls += 1;
      if (calls !== callsBefore + 1) return;
      reader.stop();
      reached();
    },
  });
  const { coordination, clock } = reader;
  const pinning = { coordination, clock, keys: scene.keys, budget: failureBudget(), log: scene.log };
  const load = () => storage.load(condemned);
  const loading = (isPinned ? withReaderPin(pinning, condemned, load) : load()).then(
    (content) => ({ content }),
    (error: unknown) => ({ error }),
  );
  await Promise.race([reaching, loading]);
  assert.ok(calls > callsBefore, "the reader was in the middle of it");
  const { working } = await beginDisturbed(stage, first, {});
  await working;
  // From the reply to its transaction on.
  const isKept = isPinned && callsBefore > 0;
  assert.equal((await disk.names(scene.place.directory)).includes(condemned), isKept, "only what is pinned is kept");
  reader.continue();
  const outcome = await loading;
  if ("content" in outcome) {
    const expected = scene.content(outcome.content.manifest.epoch, outcome.content.manifest);
    assert.deepEqual(outcome.content, expected, "what is loaded is whole");
  } else {
    assert.ok(!isKept && outcome.error instanceof CheckpointError, String(outcome.error));
    // Who pins asks first whether it is published.
    assert.equal(outcome.error.problem, isPinned ? "not-published" : "missing");
  }
  await checkEnd(stage, disturbedEpoch);
  return 1;
}

async function condemnedNext(): Promise<string> {
  const stage = await openStage();
  const before = await liveIds(stage);
  const { working } = await beginDisturbed(stage, stage.first, {});
  await working;
  const after = await liveIds(stage);
  const gone = before.find((id) => !after.includes(id));
  assert.ok(gone, "publishing condemns something");
  return gone;
}
