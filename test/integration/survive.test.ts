import assert from "node:assert/strict";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { openEtcd } from "../../src/adapters/etcd/etcd-coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { exitCodes } from "../../src/core/errors.ts";
import { decodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import type { Member } from "../../src/core/membership.ts";
import type { ClusterStatus } from "../../src/core/status.ts";
import { quietLog } from "../fixtures/etcd.ts";
import {
  etcdLeader,
  exampleJob,
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

/** The next launch of a job, with other workers. */
async function trainsToTheEnd(context: TestContext, folder: string, name: string, count: number): Promise<void> {
  const words = ["--job", name, "--epochs", String(epochs), "--workers", String(count)];
  const next = startLaunch(context, folder, words);
  assert.equal(await next.exited, 0, next.errors());
  assertSame(finished(next));
}

const workers = (status: ClusterStatus) => status.processes.filter(({ role }) => role === "worker");
const said = (text: RegExp) => (event: LaunchEvent) => event.event === "message" && text.test(String(event.text));
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
    await trainsToTheEnd(context, folder, "all", 3);
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
    await trainsToTheEnd(context, folder, "stopped", 2);
  },
);

test(
  "promises 1 and 6: everything is killed when its workers had said that they leave; the next launch trains to the end",
  limit,
  async (context) => {
    const folder = await testFolder(context);
    const launch = startLaunch(context, folder, [...job("leavers"), "--workers", "2"]);
    const status = await launch.whenStatus((now) => now.epoch >= 1 && now.state === "training");
    const { etcd, etcdPids } = await registered(folder, "leavers");
    const coordinator = status.processes.find(({ role }) => role === "coordinator")!;
    // Nobody answers their wish, so that it is there when all are killed.
    for (const pid of [launch.pid, coordinator.pid!]) process.kill(pid, "SIGSTOP");
    for (const { pid } of workers(status)) process.kill(pid!, "SIGTERM");
    const client = openEtcd({
      ...{ endpoints: etcd, clock: systemClock, log: quietLog, requestTimeoutMs: 5000, leaseMarginMs: 0 },
    });
    const { members } = keysOf("leavers", 1);
    const areLeaving = async () =>
      (await client.list(members)).entries.every(({ value }) => decodeJson<Member>(value).leaving);
    while (!(await areLeaving())) await systemClock.sleep(20);
    assert.equal((await client.list(members)).entries.length, 2);
    await client.close();
    const pids = [...status.processes.map(({ pid }) => pid!), ...etcdPids, launch.pid];
    for (const pid of pids) process.kill(pid, "SIGKILL");
    await launch.exited;
    await whenGone(pids);
    await trainsToTheEnd(context, folder, "leavers", 1);
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
    await trainsToTheEnd(context, folder, "orphans", 1);
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

test(
  "promises 1 and 6: an etcd follower, its leader, and then workers below MIN are killed; steps go on, the run pauses and says so",
  limit,
  async (context) => {
    const folder = await testFolder(context);
    const launch = startLaunch(context, folder, [...job("parts"), "--workers", "2:3", "--etcd-members", "3"]);
    const before = await launch.whenStatus(training(1));
    const etcdNow = () => registered(folder, "parts");
    for (const isLeader of [false, true]) {
      const { etcd, etcdPids } = await etcdNow();
      const { leader, term } = await etcdLeader(etcd);
      const victim = isLeader ? leader : (leader + 1) % etcd.length;
      const { epoch } = await launch.whenStatus(training(1));
      process.kill(etcdPids[victim]!, "SIGKILL");
      await whenGone([etcdPids[victim]!]);
      // Two boundaries: the second one began after the member was gone.
      await launch.whenStatus(training(epoch + 2));
      if (isLeader) assert.ok((await etcdLeader(etcd)).term > term, "etcd has elected anew");
      // Of two members none may be missing.
      while (!isLeader && (await etcdNow()).etcdPids[victim] === etcdPids[victim]) await systemClock.sleep(20);
    }
    const calm = await launch.whenStatus(training(1));
    assert.equal(calm.generation, before.generation, "nobody lost its place");

    const victims = workers(calm).slice(0, 2);
    for (const { pid } of victims) process.kill(pid!, "SIGKILL");
    await whenGone(victims.map(({ pid }) => pid!));
    const pause = await launch.when(({ event, state }) => event === "state" && state === "paused");
    assert.match(String(pause.reason), /^paused: 1 of at least 2 workers are here$/);
    assert.equal(await launch.exited, 0, launch.errors());
    const resumed = launch.events.slice(launch.events.indexOf(pause)).find(({ state }) => state === "training");
    assert.ok(Number(resumed?.generation) > Number(pause.generation));
    assert.equal(launch.events.filter(said(/^etcd ended; starting it again/)).length, 2);
    assertSame(finished(launch));
  },
);

test("promise 6: workers that die whenever they start are given up, each by its own count; the others train on, and below MIN the run says what to do", {
  ...limit,
  skip: process.platform !== "linux" && "which process a job file is loaded in is told by /proc",
}, async (context) => {
  const folder = await testFolder(context);
  const doomed = join(folder, "doomed");
  await mkdir(doomed);
  const dying = join(folder, "dying.ts");
  await writeFile(dying, dyingJob(doomed));
  const start = (...more: string[]) => {
    const data = ["--data", join(dirname(exampleJob), "data")];
    return startLaunch(context, folder, [...job("dying"), ...data, ...more], dying);
  };
  const doom = (name: string) => writeFile(join(doomed, name), "");
  const startsOf = async (name: string) => (await readFile(join(doomed, name), "utf8")).trim().split("\n").map(Number);
  const endsOf = (name: string) => said(new RegExp(`^${name} was ended by SIGKILL; starting it again`));

  await doom("worker-2");
  const launch = start("--workers", "2:3", "--max-restarts", "2");
  const first = await launch.when(said(/^worker-2 is given up/));
  assert.match(
    String(first.text),
    /^worker-2 is given up after 2 restarts: [^{}]* was ended by SIGKILL[^{}]* It is not/,
  );
  const starts = await startsOf("worker-2");
  assert.equal(starts.length, 3);
  for (const [i, pauseMs] of [250, 500].entries()) assert.ok(starts[i + 1]! - starts[i]! >= pauseMs, `${starts}`);
  assert.equal(launch.events.filter(endsOf("worker-2")).length, 2);
  const pair = await launch.whenStatus((now) => now.epoch >= 1 && now.state === "training");
  assert.equal(workers(pair).length, 2);

  await doom("worker-1");
  process.kill(workers(pair).find(({ workerId }) => workerId?.startsWith("worker-1."))!.pid!, "SIGKILL");
  const lack = await launch.when(said(/^The run is paused/));
  assert.match(
    String(lack.text),
    /^The run is paused: it needs 2 workers, and worker-1 and worker-2 were given up\. .*Ctrl-C.* \(the logs are in .*logs\) .* --workers 1:3\.$/,
  );
  assert.equal((await startsOf("worker-1")).length, 2, "two restarts of its own");
  assert.equal(launch.events.filter(endsOf("worker-0")).length, 0);
  launch.kill("SIGINT");
  assert.equal(await launch.exited, exitCodes.interrupted, launch.errors());

  await rm(join(doomed, "worker-1"));
  // At once, so that the run goes on for long enough after it.
  const next = start("--workers", "1:3", "--max-restarts", "0");
  await next.when(said(/^worker-2 is given up/));
  assert.equal(await next.exited, 0, next.errors());
  assertSame(finished(next));
});

/** The example's job; a worker whose name is that of a file in this folder writes down there when it started, and dies. */
function dyingJob(folder: string): string {
  return `import { appendFileSync, existsSync, readFileSync } from "node:fs";
import job from ${JSON.stringify(exampleJob)};
// The job file is loaded in a thread, which does not have its process' words.
const words = readFileSync("/proc/self/cmdline", "utf8").split("\\0");
const file = ${JSON.stringify(`${folder}/`)} + words[words.indexOf("--name") + 1];
if (words.includes("--name") && existsSync(file)) {
  appendFileSync(file, Date.now() + "\\n");
  process.kill(process.pid, "SIGKILL");
}
export default job;
`;
}
