/** A launch whose workers share no directory: kills, a lost disk, a damaged one, and what cannot be asked for. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { watch } from "node:fs";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { exitCodes } from "../../src/core/errors.ts";
import { decodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import type { CheckpointPointer, ClusterStatus } from "../../src/core/status.ts";
import type { Operation } from "../../src/ports/coordination.ts";
import { until } from "../contract/coordination.contract.ts";
import { useUser } from "../fixtures/cli.ts";
import { useEtcd } from "../fixtures/etcd.ts";
import {
  exampleJob,
  finished,
  type LaunchEvent,
  registered,
  startLaunch,
  testFolder,
  whenGone,
} from "../fixtures/running-launch.ts";

const program = fileURLToPath(new URL("../../bin/lockstep.mjs", import.meta.url));
const user = useUser();
const etcd = useEtcd();
const epochs = 12;
const job = (name: string) => ["--job", name, "--shards", "3", "--epochs", String(epochs)];
const limit = { timeout: 240_000 };

/** The result of a run that nothing disturbed, with one directory; every other must equal it to the bit. */
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

const storeOf = (folder: string, worker: string) => join(folder, "run", "run-1", "checkpoints", worker);
const logOf = (folder: string, worker: string) => readFile(join(folder, "run", "logs", `${worker}.log`), "utf8");
const underWay = (epoch: number) => (now: ClusterStatus) => now.epoch >= epoch && (now.running?.stepInEpoch ?? 0) > 2;

/** Kills all processes of a launch at once; returns what was published then. */
async function killEverything(launch: ReturnType<typeof startLaunch>, epoch: number) {
  const status = await launch.whenStatus(underWay(epoch));
  const pids = [...status.processes.map(({ pid }) => pid!), launch.pid];
  for (const pid of pids) process.kill(pid, "SIGKILL");
  await launch.exited;
  await whenGone(pids);
  return status.latest!;
}

/**
 * Kills everything, spoils the files of the first worker that holds `latest`, and launches again: the result is the
 * undisturbed run's, and that worker began with a copy of another one. Anew where it did not need one, as it became
 * ready after the others, who had the state in memory by then.
 */
async function afterLosing(
  context: TestContext,
  name: string,
  replicas: number,
  spoil: (store: string) => Promise<void>,
) {
  for (;;) {
    const folder = await testFolder(context);
    const words = [...job(name), "--workers", "3", "--replicas", String(replicas)];
    const holders = (await killEverything(startLaunch(context, folder, words), 2)).holders!;
    await spoil(storeOf(folder, holders[0]!));
    const next = startLaunch(context, folder, ["--job", name, "--epochs", String(epochs), "--workers", "3"]);
    assert.equal(await next.exited, 0, next.errors());
    assertSame(finished(next));
    const log = (await logOf(folder, holders[0]!)).split("process started").at(-1)!;
    if (!new RegExp(`^(?=.*"took the state").*"from":"${name}-1-step-`, "m").test(log)) continue;
    assert.match(log, /fetched a checkpoint from another worker/);
    return { folder, holders, next };
  }
}

test(
  "promises 1 and 3: everything is killed and a holder's disk is lost; the next launch goes on from the other copy",
  limit,
  async (context) => {
    const { folder, holders, next } = await afterLosing(context, "lost", 1, async (store) => {
      await rm(store, { recursive: true });
    });
    assert.equal(holders.length, 2);
    const latest = (finished(next).latest as { path: string }).path.split("/").at(-1)!;
    const having = [];
    for (const worker of ["worker-0", "worker-1", "worker-2"]) {
      if ((await readdir(storeOf(folder, worker))).includes(latest)) having.push(worker);
    }
    assert.equal(having.length, 2, "the next launch keeps as many copies as the one before");
    const verify = () => user().run("checkpoints", "verify", "--job", "lost", "--directory", join(folder, "run"));
    const whole = await verify();
    assert.deepEqual([whole.code, /all are whole\.$/m.test(whole.stdout)], [0, true], whole.stdout);
    // Whichever of them is read first, the other one is whole.
    for (const worker of having) {
      const path = join(storeOf(folder, worker), latest, "optimizer.safetensors");
      const bytes = await readFile(path);
      await writeFile(path, bytes.subarray(1));
      const { code, stdout } = await verify();
      assert.equal(code, exitCodes["corrupt-checkpoint"], stdout);
      assert.match(stdout, new RegExp(`^${latest}  whole: its manifest and 3 files`, "m"));
      assert.ok(
        stdout.includes(`${latest}  the copy in ${join(storeOf(folder, worker), latest)} is CORRUPT: `),
        stdout,
      );
      assert.match(stdout, /all are whole, and 1 copy is not\.$/m);
      await writeFile(path, bytes);
    }
  },
);

test(
  "promises 1 and 3: everything is killed and a disk has damaged its copy; it is replaced by another worker's, loudly",
  limit,
  async (context) => {
    // All that it has: the next one may have been published in the moment before.
    const { folder, holders } = await afterLosing(context, "damaged", 2, async (store) => {
      for (const id of (await readdir(store)).filter((name) => !name.startsWith("."))) {
        const path = join(store, id, "weights.safetensors");
        const bytes = await readFile(path);
        bytes[bytes.length >> 1]! ^= 16;
        await writeFile(path, bytes);
      }
    });
    assert.equal(holders.length, 3);
    assert.match(await logOf(folder, holders[0]!), /"error".*the copy of a checkpoint here is damaged/);
  },
);

test(
  "promise 1: a worker is killed while it receives a copy; another one keeps it, to the same bits",
  limit,
  async (context) => {
    const folder = await testFolder(context);
    const launch = startLaunch(context, folder, [...job("receiving"), "--workers", "3", "--replicas", "1"]);
    const status = await launch.whenStatus(({ epoch, state, processes }) => {
      return epoch >= 1 && state === "training" && processes.filter(({ role }) => role === "worker").length === 3;
    });
    const nameOf = (workerId: string | null) => workerId?.split(".")[0] ?? "";
    const leader = nameOf(status.processes.find((process) => process.leader)!.workerId);
    const isPassedOver = async () => /does not keep a copy/.test(await logOf(folder, leader));
    let kills = 0;
    for (const { role, workerId, pid } of status.processes) {
      const name = nameOf(workerId);
      if (role !== "worker" || name === leader) continue;
      let target: number | null = pid;
      const watcher = watch(storeOf(folder, name), (_, file) => {
        const victim = target;
        if (!file?.startsWith(".staging-") || victim === null || kills === 5) return;
        process.kill(victim, "SIGKILL");
        kills++;
        target = null;
        const restarted = ({ processes }: ClusterStatus) =>
          processes.find((other) => nameOf(other.workerId) === name && other.pid !== victim);
        // Should it have been too late, the next checkpoint is waited for.
        void isPassedOver().then(async (isDone) => {
          if (isDone) return;
          const back = await launch.whenStatus((now) => restarted(now) !== undefined).catch(() => null);
          target = (back && restarted(back)?.pid) ?? null;
        });
      });
      context.after(() => watcher.close());
    }
    assert.equal(await launch.exited, 0, launch.errors());
    assertSame(finished(launch));
    assert.ok(await isPassedOver(), `a worker was killed in the middle; ${kills} kills`);
  },
);

test("a worker with the directory of another one is refused, and the other one goes on", limit, async (context) => {
  const folder = await testFolder(context);
  const words = ["--job", "same", "--shards", "3", "--epochs", "500", "--workers", "2", "--replicas", "1"];
  const launch = startLaunch(context, folder, words);
  await launch.whenStatus(underWay(1));
  const { etcd } = await registered(folder, "same");
  const options = ["--etcd", etcd.join(","), "--job", "same", "--name", "third"];
  const third = execFileSync.bind(null, process.execPath, [
    ...[program, "worker", exampleJob, ...options, "--checkpoints", storeOf(folder, "worker-0")],
  ]);
  assert.throws(
    () => third({ stdio: "pipe", encoding: "utf8" }),
    (error: { status: number; stderr: string }) => {
      assert.equal(error.status, 2, error.stderr);
      assert.match(error.stderr, /The worker worker-0 has its checkpoints in .*worker-0 too/);
      return true;
    },
  );
  launch.kill("SIGINT");
  assert.equal(await launch.exited, 130, launch.errors());
});

test(
  "rule 7: etcd's data are lost and every process dies; the workers bring their checkpoints, which nobody else sees",
  limit,
  async () => {
    const words = ["--etcd", etcd().endpoint, "--job", "brought"];
    const keys = keysOf("brought", 1);
    const coordination = etcd().connect();
    const names = ["a", "b", "c"];
    const start = async (resume: "auto" | "never") => {
      const coordinator = user().start(
        ...["coordinator", exampleJob, ...words, "--workers", "3", "--replicas", "1", "--epochs", String(epochs)],
        ...["--resume", resume],
      );
      await coordinator.whenLine("that it serves", ({ message }) => message === "serving");
      const workers = names.map((name) =>
        user().start("worker", exampleJob, ...words, "--name", name, "--checkpoints", user().at("brought", name)),
      );
      return [coordinator, ...workers] as const;
    };
    const latest = async () => {
      const entry = await coordination.get(keys.latest);
      return entry && decodeJson<CheckpointPointer>(entry.value);
    };
    const first = await start("auto");
    await until(coordination, keys.latest, async () => ((await latest())?.epoch ?? 0) >= 2);
    for (const { kill } of first) kill("SIGKILL");
    await Promise.all(first.map(({ exited }) => exited));
    const before = await latest();
    const { entries } = await coordination.list("/lockstep/brought/");
    const operations = entries.map(({ key }): Operation => ({ kind: "delete", key }));
    await coordination.transact([], operations);
    assert.equal(await latest(), null);

    // A new run cannot have the number of one that somebody still has.
    const [other, ...refused] = await start("never");
    for (const { code, stderr } of await Promise.all(refused.map(({ exited }) => exited))) {
      assert.equal(code, exitCodes.incompatible, stderr);
      assert.match(stderr, /a new run was asked for, and [abc, ]+ have checkpoints that etcd knows nothing of/);
    }
    other.kill("SIGTERM");
    await other.exited;

    const [coordinator, ...workers] = await start("auto");
    const rebuilt = await coordinator.whenLine("the run that is rebuilt", ({ message }) =>
      /era \d+ begins, and brought-1-step/.test(String(message)),
    );
    assert.match(String(rebuilt.message), new RegExp(`, step ${before!.step}, is the newest that is whole`));
    const outcomes = await Promise.all(workers.map(({ exited }) => exited));
    assert.deepEqual(
      outcomes.map(({ code }) => code),
      [0, 0, 0],
      outcomes.map(({ stderr }) => stderr).join("\n"),
    );
    const end = await latest();
    assert.deepEqual([end!.epoch, end!.weightsDigest], [epochs, undisturbed.weightsDigest]);
    const best = await coordination.get(keys.best);
    assert.equal(decodeJson<CheckpointPointer>(best!.value).epoch, (undisturbed.best as { epoch: number }).epoch);
    coordinator.kill("SIGTERM");
    assert.equal((await coordinator.exited).code, 0);
  },
);

test(
  "a coordinator and workers started by hand, each with a directory of its own, keep copies of each other's",
  limit,
  async () => {
    const words = ["--etcd", etcd().endpoint, "--job", "by-hand"];
    const coordinator = user().start(
      ...["coordinator", exampleJob, ...words, "--workers", "3", "--replicas", "1", "--epochs", "1"],
    );
    await coordinator.whenLine("that it serves", ({ message }) => message === "serving");
    const names = ["a", "b", "c"];
    const workers = names.map((name) =>
      user().start("worker", exampleJob, ...words, "--name", name, "--checkpoints", user().at(name)),
    );
    const outcomes = await Promise.all(workers.map(({ exited }) => exited));
    assert.deepEqual(
      outcomes.map(({ code }) => code),
      [0, 0, 0],
      outcomes.map(({ stderr }) => stderr).join("\n"),
    );
    const latest = await etcd().connect().get(keysOf("by-hand", 1).latest);
    const { id, holders } = decodeJson<CheckpointPointer>(latest!.value);
    const having = [];
    for (const name of names) if ((await readdir(user().at(name))).includes(id)) having.push(name);
    assert.deepEqual(having, [...holders!].sort());
    assert.equal(having.length, 2);
    coordinator.kill("SIGTERM");
    assert.equal((await coordinator.exited).code, 0);
  },
);

test("what contradicts itself is refused, with a sentence that says what to do", limit, async (context) => {
  const folder = await testFolder(context);
  const wrong = startLaunch(context, folder, ["--job", "wrong", "--workers", "2", "--replicas", "3"]);
  assert.equal(await wrong.exited, 2);
  assert.match(
    wrong.errors(),
    /--replicas is 3: so many workers beside the leader keep a copy.*takes 2 workers at most/,
  );
  assert.match(wrong.errors(), /at most --replicas 1/);
  const shared = startLaunch(context, folder, ["--job", "wrong", "--workers", "2", "--epochs", "1"]);
  assert.equal(await shared.exited, 0, shared.errors());
  const moved = startLaunch(context, folder, ["--job", "wrong", "--workers", "2", "--epochs", "2", "--replicas", "1"]);
  assert.equal(await moved.exited, 2);
  assert.match(moved.errors(), /run 1 has its checkpoints in one directory that all workers share/);
  assert.match(moved.errors(), /--resume never/);
});
