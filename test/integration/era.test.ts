/** Rule 7: etcd's data are lost, or older ones are put back. The checkpoints, and whoever trains, know what it knew. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parseManifest } from "../../src/core/manifest.ts";
import type { ClusterStatus } from "../../src/core/status.ts";
import { withEtcd } from "../fixtures/etcd.ts";
import { finished, type LaunchEvent, startLaunch, testFolder } from "../fixtures/running-launch.ts";

const limit = { timeout: 240_000 };
const epochs = 6;
const job = (name: string, ...more: string[]) => ["--job", name, "--shards", "3", ...more];
const train = (count: number) => ["--epochs", String(count), "--workers", "2"];

let undisturbed: LaunchEvent;

test("an undisturbed run finishes", limit, async (context) => {
  const launch = startLaunch(context, await testFolder(context), job("undisturbed", ...train(epochs)));
  assert.equal(await launch.exited, 0, launch.errors());
  undisturbed = finished(launch);
});

const manifests = (folder: string) => {
  const checkpoints = join(folder, "run", "run-1", "checkpoints");
  return readdirSync(checkpoints).map((id) =>
    parseManifest(readFileSync(join(checkpoints, id, "manifest.json"), "utf8")),
  );
};

function assertSame(result: LaunchEvent): void {
  assert.equal(result.weightsDigest, undisturbed.weightsDigest);
  assert.deepEqual(result.history, undisturbed.history);
  assert.deepEqual((result.best as { epoch: number }).epoch, (undisturbed.best as { epoch: number }).epoch);
}

test(
  "rule 7: at a start without etcd's data the run goes on from its checkpoints, in a new era",
  limit,
  async (context) => {
    const folder = await testFolder(context);
    const first = startLaunch(context, folder, job("lost", ...train(epochs / 2)));
    assert.equal(await first.exited, 0, first.errors());
    const before = Math.max(...manifests(folder).map(({ generation }) => generation));
    await rm(join(folder, "run", "etcd"), { recursive: true });
    const next = startLaunch(context, folder, job("lost", ...train(epochs)));
    assert.equal(await next.exited, 0, next.errors());
    assertSame(finished(next));
    assert.match(next.errors(), /etcd knew less of run 1 than its workers or checkpoints: era 2 begins/);
    const newest = manifests(folder)
      .sort((a, b) => a.step - b.step)
      .at(-1)!;
    assert.deepEqual([newest.era, newest.lineage, newest.openings.map(({ era }) => era)], [2, 1, [2]]);
    assert.ok(newest.generation > before, "a generation's number is never used again");
  },
);

test(
  "rule 7: etcd loses its data while workers train: they keep their processes and their steps",
  limit,
  async (context) => {
    await withEtcd(async (etcd) => {
      const folder = await testFolder(context);
      const launch = startLaunch(context, folder, [...job("wiped", ...train(epochs)), "--etcd", etcd.endpoint]);
      const before = await launch.whenStatus(({ epoch, state }) => epoch >= 1 && state === "training");
      await etcd.loseData();
      await etcd.server.restart();
      const after = await launch.whenStatus(
        ({ generation, state }) => generation > before.generation && state === "training",
      );
      assert.deepEqual(pidsOf(after), pidsOf(before), "no process was started again");
      assert.equal(await launch.exited, 0, launch.errors());
      assertSame(finished(launch));
      const reports = linesOf(folder).filter(({ message }) => message === "stopped and reported");
      const steps = reports.filter(({ generation }) => generation === after.generation).map(({ step }) => step);
      assert.ok(steps.length > 0 && steps.every((step) => Number(step) >= before.step), `no step is lost: ${steps}`);
      assert.ok(manifests(folder).some(({ era }) => era === 2));
    });
  },
);

test(
  "rule 7: etcd is put back to an earlier moment of the same generation while all processes live: they go on by themselves",
  limit,
  async (context) => {
    await withEtcd(async (etcd) => {
      const folder = await testFolder(context);
      const launch = startLaunch(context, folder, [...job("set-back", ...train(epochs)), "--etcd", etcd.endpoint]);
      const isAmidEpoch = ({ step, stepsPerEpoch }: ClusterStatus) => step % stepsPerEpoch !== 0;
      const first = await launch.whenStatus((status) => status.epoch >= 1 && isAmidEpoch(status));
      const putBack = await etcd.backUp();
      const before = await launch.whenStatus(({ epoch }) => epoch >= first.epoch + 2);
      assert.equal(before.generation, first.generation, "no number tells what is lost");
      await putBack();
      const after = await launch.whenStatus(
        ({ generation, state }) => generation > before.generation && state === "training",
      );
      assert.deepEqual(pidsOf(after), pidsOf(first), "no process was started again");
      assert.equal(await launch.exited, 0, launch.errors());
      assertSame(finished(launch));
      const reports = linesOf(folder).filter(({ message }) => message === "stopped and reported");
      const steps = reports.filter(({ generation }) => generation === after.generation).map(({ step }) => step);
      assert.ok(steps.length > 0 && steps.every((step) => Number(step) >= before.step), `no step is lost: ${steps}`);
      assert.ok(manifests(folder).some(({ era }) => era === 2));
    });
  },
);

/** What all processes of a launch have logged. */
function linesOf(folder: string): Record<string, unknown>[] {
  const logs = join(folder, "run", "logs");
  const texts = readdirSync(logs).map((name) => readFileSync(join(logs, name), "utf8"));
  return texts.flatMap((text) =>
    text.split("\n").flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as Record<string, unknown>] : [])),
  );
}

function pidsOf({ processes }: ClusterStatus) {
  return processes.map(({ role, pid }) => `${role} ${pid}`).sort();
}
