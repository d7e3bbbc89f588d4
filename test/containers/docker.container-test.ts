/**
 * Promise 1 on containers: three members of etcd, two coordinators and three workers, each with an address of its own and TLS on;
 * what `docker kill`, `docker network disconnect` and the scripts do to them leaves the bits as they are.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ClusterStatus } from "../../src/core/status.ts";
import { undisturbedDigest } from "../fixtures/undisturbed.ts";
import { authorityWords, leaderOf, membersOf, ran, root } from "../fixtures/deployed-cluster.ts";
import { DockerCluster, docker, whyNoEngine } from "./docker-cluster.ts";

const job = join(root, "examples/digits.ts");
/** More than it will train before it is told otherwise. */
const manyEpochs = "100000";
const shards = 3;
/** Small steps: what the cluster does in minutes, one process does again in seconds. They are said beside the job file, too. */
const settings = ["--set", "batchSize=32"];
const whyNot = await whyNoEngine();
/** As `.ci/containers` has it: with images of what this machine has, and without what operators do. */
const isPromiseAlone = process.env.LOCKSTEP_CONTAINERS === "promise";
const byOperators = { skip: isPromiseAlone ? "LOCKSTEP_CONTAINERS asks for promise 1 alone" : false };

describe("a cluster of containers", { skip: whyNot ?? false, concurrency: false }, () => {
  let cluster: DockerCluster;
  const faults: Record<string, number> = {};
  const count = (kind: string) => {
    faults[kind] = (faults[kind] ?? 0) + 1;
  };
  const trains = (members: number) => (status: ClusterStatus) =>
    status.state === "training" && membersOf(status).length === members;

  before(async () => {
    // .ci/containers has made those of here, and tried them.
    if (!isPromiseAlone) {
      const built = await ran("deploy/docker/build", authorityWords());
      assert.equal(built.code, 0, `${built.stdout}${built.stderr}`.slice(-4000));
    }
    cluster = await DockerCluster.open();
  });
  after(async () => {
    await cluster?.close();
    process.stdout.write(`${JSON.stringify({ faults })}\n`);
  });

  /** Steps go on after a fault, in a generation that was formed since. */
  async function goesOn(since: ClusterStatus, members: number): Promise<ClusterStatus> {
    return cluster.when(
      `training with ${members} after generation ${since.generation}`,
      (status) => trains(members)(status) && status.generation > since.generation && status.step > since.step,
    );
  }

  test("up starts it, with everything in it closed to strangers, and up again changes nothing", async () => {
    const images = isPromiseAlone ? ["--image", "lockstep:here", "--etcd-image", "lockstep-etcd:here"] : [];
    const words = ["--workers", "2:3", "--shards", String(shards), "--epochs", manyEpochs, ...settings];
    const said = await cluster.script("up", job, ...words, ...images);
    assert.match(said, /worker-0 worker-1 worker-2/);
    const status = await cluster.when("training with three workers", trains(3));
    const ids = await cluster.ps();
    await cluster.script("up", job);
    assert.equal(await cluster.ps(), ids);
    assert.equal((await cluster.status())?.generation, status.generation);
    for (const node of ["worker-0", "coordinator-0", "etcd-0"]) {
      const facts = JSON.parse(await docker("inspect", cluster.container(node)))[0];
      assert.equal(facts.HostConfig.ReadonlyRootfs, true);
      assert.deepEqual(facts.HostConfig.CapDrop, ["ALL"]);
      assert.equal(facts.Config.User, "10001:10001");
    }
  });

  test(
    "what contradicts the cluster that is up, or names what is not there, is refused and changes nothing",
    byOperators,
    async () => {
      const ids = await cluster.ps();
      for (const [code, says, verb, ...words] of [
        [
          7,
          /was started with checkpoints that each worker has of its own, and not with \/tmp: take it down/,
          "up",
          "--checkpoints",
          "/tmp",
        ],
        [2, /There is no node worker-9; there are: coordinator-0 coordinator-1 etcd-0/, "restart-node", "worker-9"],
        [2, /There is no node worker-9/, "logs", "worker-9"],
      ] as const) {
        const { code: ended, stderr } = await cluster.tryScript(verb, ...words);
        assert.equal(ended, code, stderr);
        assert.match(stderr, says);
      }
      assert.equal(await cluster.ps(), ids);
    },
  );

  test("a killed worker is missed, and comes back by restart-node", async () => {
    const before = await cluster.when("training", trains(3));
    await docker("kill", cluster.container("worker-1"));
    count("kill-worker");
    const without = await goesOn(before, 2);
    assert.ok(!membersOf(without).includes("worker-1"));
    await cluster.script("restart-node", "worker-1");
    assert.ok(membersOf(await goesOn(without, 3)).includes("worker-1"));
  });

  test("a killed leader is followed by another", async () => {
    const before = await cluster.when("a leader", (status) => trains(3)(status) && leaderOf(status) !== null);
    const leader = leaderOf(before)!;
    await docker("kill", cluster.container(leader));
    count("kill-leader");
    const without = await goesOn(before, 2);
    assert.notEqual(leaderOf(without), leader);
    await cluster.script("restart-node", leader);
    await goesOn(without, 3);
  });

  test("a coordinator that is killed is replaced by the other one, and training never stops", async () => {
    const before = await cluster.when("training", trains(3));
    const active = before.processes.find(({ role }) => role === "coordinator")!.address!.split(":")[0]!;
    assert.match(active, /^coordinator-[01]$/);
    await docker("kill", cluster.container(active));
    count("kill-coordinator");
    const after = await cluster.when("another coordinator", (status) => {
      const now = status.processes.find(({ role }) => role === "coordinator")?.address;
      return now !== undefined && now !== null && !now.startsWith(active) && status.step > before.step;
    });
    assert.equal(after.generation, before.generation);
    await cluster.script("restart-node", active);
  });

  test("a worker that is cut off from the network is left out, and takes part again when it is back", async () => {
    const before = await cluster.when("training", trains(3));
    await docker("network", "disconnect", `lockstep-${cluster.name}`, cluster.container("worker-2"));
    count("cut-worker");
    const without = await goesOn(before, 2);
    assert.ok(!membersOf(without).includes("worker-2"));
    await docker(
      "network",
      "connect",
      "--alias",
      "worker-2",
      `lockstep-${cluster.name}`,
      cluster.container("worker-2"),
    );
    await goesOn(without, 3);
  });

  test("a member of etcd that is killed is not missed", async () => {
    const before = await cluster.when("training", trains(3));
    await docker("kill", cluster.container("etcd-1"));
    count("kill-etcd");
    await cluster.when("an epoch is committed without it", ({ epoch }) => epoch > before.epoch + 1);
    await cluster.script("restart-node", "etcd-1");
  });

  test(
    "scale down and up, while it trains; who follows a log is told until its process is gone",
    byOperators,
    async () => {
      const before = await cluster.when("training", trains(3));
      const followed = cluster.script("logs", "worker-2", "--follow");
      await cluster.script("scale", "2");
      assert.match(await followed, /^worker-2 .*"message":/m);
      count("scale-down");
      const two = await goesOn(before, 2);
      assert.deepEqual(membersOf(two), ["worker-0", "worker-1"]);
      await cluster.script("scale", "3");
      count("scale-up");
      await goesOn(two, 3);
    },
  );

  test(
    "etcd's backup is put back, what was committed since is found again, and no worker is started again for that",
    byOperators,
    async () => {
      const workers = ["worker-0", "worker-1", "worker-2"].map((name) => cluster.container(name));
      const begun = () => docker("container", "inspect", "--format", "{{.State.StartedAt}}", ...workers);
      const before = await cluster.when("training", trains(3));
      const begunBefore = await begun();
      const file = join(tmpdir(), `lockstep-backup-${process.pid}.db`);
      await cluster.script("etcd-backup", file);
      await cluster.when("more epochs", ({ epoch }) => epoch > before.epoch + 1);
      await cluster.script("etcd-restore", file);
      count("etcd-restored");
      await rm(file);
      const after = await cluster.when("training after it", (status) => trains(3)(status) && status.step > before.step);
      await cluster.when("epochs are committed in it", ({ epoch }) => epoch > after.epoch + 1);
      assert.equal(await begun(), begunBefore);
    },
  );

  test("new certificates, with new keys, reach the processes while they train", byOperators, async () => {
    const before = await cluster.when("training", trains(3));
    await cluster.script("gen-certs", "--rotate");
    count("rotate");
    await docker("kill", cluster.container("worker-0"));
    const without = await goesOn(before, 2);
    await cluster.script("restart-node", "worker-0");
    await goesOn(without, 3);
  });

  test("down and up again goes on where it was; at the end the weights are those of an undisturbed run", async () => {
    const before = await cluster.when("training", trains(3));
    const saved = /step (\d+) is saved/.exec(await cluster.script("down"));
    count("down");
    assert.equal(await cluster.ps("--all"), "");
    const scaled = await cluster.tryScript("scale", "2");
    assert.equal(scaled.code, 6);
    assert.match(scaled.stderr, /is down; \S+up --name \S+ starts it/);
    // What no checkpoint is called ends before any worker is started, and is forgotten.
    const typo = await cluster.tryScript("up", job, "--resume", "typo");
    assert.equal(typo.code, 2, typo.stderr);
    assert.match(typo.stderr, /has no checkpoint typo[\s\S]*The coordinators cannot begin this start/);
    assert.doesNotMatch(await docker("ps", "--all", "--format", "{{.Names}}"), /-(coordinator|worker)-/);
    const epochs = Math.ceil(Number(saved?.[1]) / before.stepsPerEpoch) + 3;
    // Beside the cluster, which is mostly waiting while it comes up.
    const undisturbed = undisturbedDigest(job, shards, epochs, settings);
    undisturbed.catch(() => undefined); // whatever fails first is told
    await cluster.script("up", job, "--epochs", String(epochs));
    const end = await cluster.when("the end", ({ state }) => state === "finished", 600_000);
    assert.ok(end.latest!.step > before.step);
    assert.equal(end.epoch, epochs);
    // Nothing restarts for ever: whoever has finished stays, idle and healthy.
    const workers = (await cluster.ps()).split("\n");
    assert.equal(workers.length, 8);
    assert.equal(end.latest!.weightsDigest, await undisturbed);
  });
});
