/** Rule 7: every process is killed at a point, or all machines lose their power there, and etcd's data are lost too; then a start. */
import assert from "node:assert/strict";
import { openDirectoryStorage } from "../../src/adapters/fs/checkpoint-storage.ts";
import type { FileSystem } from "../../src/adapters/fs/file-system.ts";
import { openRun, type RunRequest } from "../../src/runtime/open-run.ts";
import type { RunArchive } from "../../src/runtime/rebuild-run.ts";
import { readRun } from "../../src/runtime/run-reading.ts";
import { checkWhole, nextStart, pointersOf } from "./checks.ts";
import type { Cell } from "./matrix.ts";
import type { Point, PointName } from "./process.ts";
import type { Scene } from "./scene.ts";
import { openStage, sceneInMemory, stopAt } from "./stage.ts";
import { noSettings } from "../../src/core/settings.ts";

export function lossCells(points: readonly Point[]): readonly Cell[] {
  return points.map(({ name }) => ({ fault: "etcd-lost", where: name, run: () => etcdLost(name) }));
}

async function etcdLost(point: PointName): Promise<number> {
  for (const hasPower of [true, false]) {
    const stage = await openStage();
    await stopAt(stage, stage.first, point);
    stage.second.process.stop();
    const before = await pointersOf(stage.scene);
    const disk = hasPower ? stage.disk : stage.disk.afterPowerLoss(() => 0);
    // Another etcd, which knows nothing.
    const { scene } = sceneInMemory(stage.clock, { disk });
    await checkRebuilt(scene, disk, before);
    for (const leader of [stage.first, stage.second]) leader.close();
  }
  return 2;
}

/** What was acknowledged is there again, or what is newer and was not; in an era that fences off whoever slept through it. */
async function checkRebuilt(
  scene: Scene,
  disk: FileSystem,
  before: Awaited<ReturnType<typeof pointersOf>>,
): Promise<void> {
  const storage = await openDirectoryStorage(scene.place.directory, scene.log, disk);
  const stored = await storage.list();
  const archive: RunArchive = {
    newestRun: async () => Math.max(0, ...stored.map(({ manifest }) => Number(manifest.run))),
    checkpointsOf: () => storage.list(),
    load: (_, id) => storage.load(id),
    check: (_, id) => storage.check(id),
    copiesOf: async () => [],
    isReplicated: async () => false,
  };
  const { job, epochs, checkpoint, fields, budgetMs } = scene.record;
  const request: RunRequest = {
    ...{
      job,
      archive,
      resume: "auto",
      settings: noSettings,
      startName: null,
      run: null,
      shards: null,
      threads: null,
      workers: 1,
      bounds: null,
      replicas: null,
    },
    ...{ budgetMs, fields, epochs, checkpoint, allowChange: false, defaultThreads: () => 1, nowMs: 0 },
  };
  const { record, resumed } = await openRun(scene.observer, request);
  assert.deepEqual([resumed, record.run, record.shards], [true, scene.record.run, scene.record.shards]);
  const { latest, best } = await pointersOf(scene);
  assert.ok(latest && latest.step >= before.latest!.step, "nothing that was acknowledged is lost");
  assert.equal(latest.id, stored.at(-1)?.id, "the newest whole one decides, and not which file is younger");
  assert.equal(best?.epoch, scene.progresses[latest.epoch]!.best?.epoch);
  const { origin } = readRun((await scene.observer.list(scene.keys.prefix)).entries, scene.keys);
  assert.deepEqual([origin.era, origin.after, origin.from?.checkpoint], [2, latest.generation, latest.id]);
  await checkWhole(scene, disk);
  await scene.form("next");
  assert.deepEqual(await nextStart(scene, disk), { kind: "resumes", epoch: latest.epoch, setAside: [] });
  assert.deepEqual((await openRun(scene.observer, request)).notices, [], "the next start has nothing to rebuild");
}
