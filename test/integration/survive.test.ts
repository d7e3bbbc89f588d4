import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterStatus } from "../../src/core/status.ts";
import {
  finished,
  isAlive,
  type LaunchEvent,
  registered,
  startLaunch,
  testFolder,
  whenGone,
} from "../fixtures/running-launch.ts";

/** Long enough that killed workers are back before the end, also on a quick machine. */
const epochs = 20;
const job = (name: string) => ["--job", name, "--shards", "3", "--epochs", String(epochs)];
const limit = { timeout: 240_000 };

/** The result of a run that nothing disturbed, which every other must equal to the bit. */
let undisturbed: LaunchEvent;

test("an undisturbed run of one worker finishes", limit, async (context) => {
  const launch = startLaunch(context, await testFolder(context), [...job("undisturbed"), "--workers", "1"]);
  assert.equal(await launch.exited, 0, launch.errors());
  undisturbed = finished(launch);
});

function assertSame(result: LaunchEvent): void {
  assert.equal(result.weightsDigest, undisturbed.weightsDigest);
  assert.deepEqual(result.history, undisturbed.history);
  assert.deepEqual(result.test, undisturbed.test);
}

const workers = (status: ClusterStatus) => status.processes.filter(({ role }) => role === "worker");
const training = (epoch: number) => (status: ClusterStatus) =>
  status.epoch >= epoch && status.state === "training" && workers(status).length === 3;

test(
  "promises 1 and 3: everything is killed at once, in the middle of an epoch; the next launch goes on from latest",
  limit,
  async (context) => {
    const folder = await testFolder(context);
    const launch = startLaunch(context, folder, [...job("all"), "--workers", "2"]);
    const status = await launch.whenStatus((now) => now.epoch >= 2 && (now.running?.stepInEpoch ?? 0) > 2);
    const pids = [...status.processes.map(({ pid }) => pid!), launch.pid];
    for (const pid of pids) process.kill(pid, "SIGKILL");
    await launch.exited;
    await whenGone(pids);
    const next = startLaunch(context, folder, [
      ...job("all").slice(0, 2),
      "--epochs",
      String(epochs),
      "--workers",
      "3",
    ]);
    assert.equal(await next.exited, 0, next.errors());
    assertSame(finished(next));
  },
);

test(
  "a launch that somebody else stops says so, and takes its run for stopped and not for finished",
  limit,
  async (context) => {
    const launch = startLaunch(context, await testFolder(context), [...job("left"), "--workers", "3"]);
    const status = await launch.whenStatus(training(1));
    for (const { pid } of workers(status)) process.kill(pid!, "SIGTERM");
    assert.equal(await launch.exited, 130, launch.errors());
    assert.match(launch.errors(), /Stopped \(everyone is leaving\): step \d+ is saved\. Go on with/);
    assert.ok(launch.events.every(({ event }) => event !== "finished"));
  },
);

test(
  "promises 1 and 3: Ctrl-C ends in order, with the step saved and nothing left; the next launch goes on",
  limit,
  async (context) => {
    const folder = await testFolder(context);
    const launch = startLaunch(context, folder, [...job("stopped"), "--workers", "3"]);
    const status = await launch.whenStatus((now) => now.epoch >= 1 && (now.running?.stepInEpoch ?? 0) > 1);
    launch.kill("SIGINT");
    assert.equal(await launch.exited, 130, launch.errors());
    assert.ok(
      status.processes.every(({ pid }) => !isAlive(pid!)),
      "no process is left",
    );
    const last = launch.events.filter(({ event }) => event === "state").at(-1);
    assert.equal(last?.state, "stopped");
    assert.ok(Number(last?.step) >= status.step);
    const next = startLaunch(context, folder, [
      ...job("stopped").slice(0, 2),
      "--epochs",
      String(epochs),
      "--workers",
      "2",
    ]);
    assert.equal(await next.exited, 0, next.errors());
    assertSame(finished(next));
  },
);

test(
  "promise 6: a launch that is killed takes its cluster with it, in order, and the next one goes on",
  limit,
  async (context) => {
    const folder = await testFolder(context);
    const launch = startLaunch(context, folder, [...job("orphans"), "--workers", "2"]);
    const status = await launch.whenStatus((now) => now.epoch >= 1);
    launch.kill("SIGKILL");
    await launch.exited;
    await whenGone(status.processes.map(({ pid }) => pid!));
    const next = startLaunch(context, folder, [
      ...job("orphans").slice(0, 2),
      "--epochs",
      String(epochs),
      "--workers",
      "1",
    ]);
    assert.equal(await next.exited, 0, next.errors());
    assertSame(finished(next));
  },
);

test(
  "promise 6: etcd is silent for longer than every lease; the steps go on after it, to the same bits",
  limit,
  async (context) => {
    const folder = await testFolder(context);
    const launch = startLaunch(context, folder, [...job("etcd"), "--workers", "3"]);
    await launch.whenStatus(training(1));
    const [etcdPid] = (await registered(folder, "etcd")).etcdPids;
    assert.ok(etcdPid);
    process.kill(etcdPid, "SIGSTOP");
    // The coordinator gives its lease up by its own clock; the workers' leases are as old.
    await launch.whenStatus(({ processes }) =>
      processes.some(({ role, lease }) => role === "coordinator" && lease === "lost"),
    );
    process.kill(etcdPid, "SIGCONT");
    assert.equal(await launch.exited, 0, launch.errors());
    assertSame(finished(launch));
  },
);
