/**
 * Promise 1 on Kubernetes: what operators do with kubectl, and what happens to nodes, leaves the bits as they are. Each fault
 * is told with the milliseconds until it was noticed, until the next generation ran and until all who went on had made a step.
 */
import assert from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { recoveryFrom } from "../../src/core/log-reading.ts";
import type { ClusterStatus } from "../../src/core/status.ts";
import { leaderOf, membersOf, ran, root } from "../fixtures/deployed-cluster.ts";
import { undisturbedDigest } from "../fixtures/undisturbed.ts";
import { KubernetesCluster, loadImages, nodeProgram, nodes, type Pod, whyNoKubernetes } from "./kubernetes-cluster.ts";

const job = join(root, "examples/digits.ts");
/** More than the faults take on any machine; at the end another start says where the run ends. */
const manyEpochs = "100000";
const shards = 4;
const whyNot = await whyNoKubernetes();
const withNodes = nodeProgram === null ? "LOCKSTEP_KUBE names no program that breaks nodes" : false;

describe("a cluster on Kubernetes", { skip: whyNot ?? false, concurrency: false }, () => {
  let cluster: KubernetesCluster;
  const faults: Record<string, number> = {};
  /** The run as it was when it had come to its end. */
  let finished: ClusterStatus | null = null;

  const trains = (members: number) => (status: ClusterStatus) =>
    status.state === "training" && membersOf(status).length === members;
  const training = (members = 3) => cluster.when(`training with ${members}`, trains(members));
  /** Steps go on with so many, in a generation that was formed since. */
  const goesOn = (since: ClusterStatus, members = 3) =>
    cluster.when(
      `training with ${members} after generation ${since.generation}`,
      (status) => trains(members)(status) && status.generation > since.generation && status.step > since.step,
    );
  const addressOfActive = (status: ClusterStatus) =>
    status.processes.find(({ role }) => role === "coordinator")?.address ?? null;
  const allReady = (pods: readonly Pod[]) => pods.length > 0 && pods.every(({ ready }) => ready);

  /** Does something to the cluster while it trains, waits until all is as before, and tells how long it took. */
  async function fault(
    t: TestContext,
    kind: string,
    act: (before: ClusterStatus) => Promise<readonly string[]>,
    then: (before: ClusterStatus) => Promise<unknown> = goesOn,
  ): Promise<void> {
    const before = await training();
    const atMs = Date.now();
    const disturbed = await act(before);
    faults[kind] = (faults[kind] ?? 0) + 1;
    await then(before);
    const survivors = membersOf(before).filter((name) => !disturbed.includes(name));
    const { times } = recoveryFrom(await cluster.logLines(), { atMs, generation: before.generation, survivors });
    const shown = Object.entries({ detect: times.detect, "re-form": times.form, "first step": times.firstStep });
    t.diagnostic(
      `${kind}: ${shown.map(([name, ms]) => `${name} ${ms === null ? "-" : `${Math.round(ms)} ms`}`).join(", ")}`,
    );
    await training();
  }

  before(async () => {
    if (nodeProgram !== null) await loadImages();
    cluster = await KubernetesCluster.open();
  });
  after(async () => {
    await cluster?.close();
    process.stdout.write(`${JSON.stringify({ faults })}\n`);
  });

  test("up starts it from the overlay local, and up again changes nothing", async () => {
    await cluster.script("up", job, "--workers", "3", "--shards", String(shards), "--epochs", manyEpochs);
    const status = await training();
    const names = async () => (await cluster.kubectl("get", "pods", "-o", "name")).split("\n").sort().join(" ");
    const pods = await names();
    await cluster.script("up", job);
    assert.equal(await names(), pods);
    assert.equal((await training()).generation, status.generation);
  });

  for (const [how, words] of [
    ["", []],
    ["-forced", ["--force", "--grace-period=0"]],
  ] as const) {
    test(`kubectl delete pod ${words.join(" ")} of a worker`, (t) =>
      fault(t, `delete-worker${how}`, async (status) => {
        const worker = membersOf(status).find((name) => name !== leaderOf(status))!;
        await cluster.kubectl("delete", "pod", worker, "--wait=false", ...words);
        return [worker];
      }));

    test(`kubectl delete pod ${words.join(" ")} of the leader`, (t) =>
      fault(t, `delete-leader${how}`, async () => {
        const leader = leaderOf(
          await cluster.when("a leader", (status) => trains(3)(status) && leaderOf(status) !== null),
        )!;
        await cluster.kubectl("delete", "pod", leader, "--wait=false", ...words);
        return [leader];
      }));

    test(`kubectl delete pod ${words.join(" ")} of the active coordinator stops no step`, (t) =>
      fault(
        t,
        `delete-coordinator${how}`,
        async (status) => {
          const [ip] = addressOfActive(status)!.split(":");
          const list = await cluster.kubectl(
            "get",
            "pods",
            "-o",
            `jsonpath={.items[?(@.status.podIP=="${ip}")].metadata.name}`,
          );
          await cluster.kubectl("delete", "pod", list.trim(), "--wait=false", ...words);
          return [];
        },
        async (before) => {
          const after = await cluster.when(
            "another active coordinator",
            (status) => addressOfActive(status) !== addressOfActive(before) && status.step > before.step,
          );
          assert.equal(after.generation, before.generation);
          await cluster.whenPods("two coordinators", "coordinator", (pods) => pods.length === 2 && allReady(pods));
        },
      ));
  }

  test("kubectl scale down: who goes leaves in order", (t) =>
    fault(
      t,
      "scale-down",
      async () => {
        await cluster.kubectl("scale", "statefulset", "worker", "--replicas", "2");
        return ["worker-2"];
      },
      async (before) => {
        assert.deepEqual(membersOf(await goesOn(before, 2)), ["worker-0", "worker-1"]);
        await cluster.kubectl("scale", "statefulset", "worker", "--replicas", "3");
      },
    ));

  test("kubectl scale up: who comes copies the state", (t) =>
    fault(
      t,
      "scale-up",
      async () => {
        await cluster.kubectl("scale", "statefulset", "worker", "--replicas", "4");
        return [];
      },
      async (before) => {
        const four = await goesOn(before, 4);
        await cluster.script("scale", "3");
        await goesOn(four, 3);
      },
    ));

  test("kubectl rollout restart of the workers", (t) =>
    fault(t, "rollout-workers", async () => {
      await cluster.kubectl("rollout", "restart", "statefulset/worker");
      await cluster.kubectl("rollout", "status", "statefulset/worker", "--timeout=300s");
      return ["worker-0", "worker-1", "worker-2"];
    }));

  test("kubectl rollout restart of the coordinators stops no step", (t) =>
    fault(
      t,
      "rollout-coordinators",
      async () => {
        await cluster.kubectl("rollout", "restart", "deployment/coordinator");
        await cluster.kubectl("rollout", "status", "deployment/coordinator", "--timeout=300s");
        return [];
      },
      (before) => cluster.when("steps after it", (status) => status.step > before.step),
    ));

  test("kubectl rollout restart of etcd", (t) =>
    fault(
      t,
      "rollout-etcd",
      async () => {
        await cluster.kubectl("rollout", "restart", "statefulset/etcd");
        await cluster.kubectl("rollout", "status", "statefulset/etcd", "--timeout=300s");
        return [];
      },
      (before) => cluster.when("steps after it", (status) => status.step > before.step),
    ));

  test("an etcd pod that is killed is not missed", (t) =>
    fault(
      t,
      "kill-etcd",
      async () => {
        await cluster.kubectl("delete", "pod", "etcd-1", "--force", "--grace-period=0");
        return [];
      },
      async (before) => {
        await cluster.when("an epoch is committed", ({ epoch }) => epoch > before.epoch + 1);
        await cluster.whenPods("etcd whole again", "etcd", (pods) => pods.length === 3 && allReady(pods));
      },
    ));

  test("a container that exceeds its memory limit is ended, and its worker comes back", (t) =>
    fault(t, "memory-limit", async () => {
      // The worker is to be ended when the limit is reached, and others reach it: many, so that each has less than the worker.
      const script = [
        "const fs = require('node:fs');",
        "for (const pid of fs.readdirSync('/proc')) {",
        "  try { if (+pid !== process.pid) fs.writeFileSync('/proc/' + pid + '/oom_score_adj', '1000'); } catch {}",
        "}",
        "const takes = 'const taken = Buffer.alloc(64 << 20, 1); console.log(taken.length); setInterval(() => taken, 1e6)';",
        "const more = () => require('node:child_process').spawn(process.execPath, ['-e', takes]).stdout.once('data', more);",
        "more();",
      ].join("\n");
      await ran("kubectl", ["--namespace", cluster.name, "exec", "worker-1", "--", "node", "-e", script]);
      const pods = await cluster.whenPods("a container that was ended", "worker", (all) =>
        all.some(({ restarts }) => restarts > 0),
      );
      const worker = pods.find(({ name }) => name === "worker-1")!;
      assert.equal(worker.ended, "OOMKilled");
      return ["worker-1"];
    }));

  /** A node with a worker, and not one that all would miss. */
  const nodeOf = async (worker: string) => (await cluster.pods("worker")).find(({ name }) => name === worker)!.node;
  const workersOn = async (node: string) =>
    (await cluster.pods("worker")).filter((one) => one.node === node).map(({ name }) => name);
  const without = (gone: readonly string[]) => (before: ClusterStatus) =>
    cluster.when(
      `training without ${gone.join()}`,
      (status) =>
        status.state === "training" &&
        status.generation > before.generation &&
        !membersOf(status).some((name) => gone.includes(name)),
    );

  test("kubectl drain of a node, and uncordon", (t) =>
    fault(t, "drain", async (before) => {
      const node = await nodeOf("worker-1");
      const gone = await workersOn(node);
      try {
        const words = ["--ignore-daemonsets", "--delete-emptydir-data", "--timeout=240s"];
        await cluster.kubectl("drain", node, ...words, `--pod-selector=app.kubernetes.io/name=lockstep`);
        await without(gone)(before);
      } finally {
        await cluster.kubectl("uncordon", node);
      }
      await cluster.whenPods("etcd whole again", "etcd", (pods) => pods.length === 3 && allReady(pods));
      return gone;
    }));

  test("a node's power cut, and its return", { skip: withNodes }, (t) =>
    fault(t, "node-power", async (before) => {
      const node = await nodeOf("worker-1");
      const gone = await workersOn(node);
      await nodes("node", "stop", node);
      try {
        await without(gone)(before);
      } finally {
        await nodes("node", "start", node);
      }
      await cluster.whenPods("etcd whole again", "etcd", (pods) => pods.length === 3 && allReady(pods));
      return gone;
    }),
  );

  test("a node that is cut off from the network, and joined again", { skip: withNodes }, (t) =>
    fault(t, "node-cut", async (before) => {
      const node = await nodeOf("worker-1");
      const gone = await workersOn(node);
      await nodes("node", "cut", node);
      try {
        await without(gone)(before);
      } finally {
        await nodes("node", "join", node);
      }
      await cluster.whenPods("etcd whole again", "etcd", (pods) => pods.length === 3 && allReady(pods));
      return gone;
    }),
  );

  test("a node that does not come back: restart-node, and its worker is elsewhere", { skip: withNodes }, (t) =>
    fault(t, "node-lost", async (before) => {
      const node = await nodeOf("worker-1");
      const gone = await workersOn(node);
      await nodes("node", "stop", node);
      try {
        await without(gone)(before);
        await until("word that the node is gone", async () => !(await isReady(node)));
        await cluster.script("restart-node", node);
        // Volumes of this class are disks of their node, and this one is as lost as the node.
        for (const worker of gone) await cluster.kubectl("delete", "pvc", `checkpoints-${worker}`, "--wait=false");
        for (const worker of gone) await cluster.kubectl("delete", "pod", worker, "--force", "--grace-period=0");
        await training();
        assert.notEqual(await nodeOf("worker-1"), node);
      } finally {
        await nodes("node", "start", node);
      }
      await cluster.whenPods("etcd whole again", "etcd", (pods) => pods.length === 3 && allReady(pods));
      return gone;
    }),
  );
  const isReady = async (node: string) => {
    const path = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}';
    return (await cluster.kubectl("get", "node", node, "-o", path)) === "True";
  };

  test("new certificates, with new keys, reach processes that go on", (t) =>
    fault(t, "rotate", async () => {
      const before = await serialOf("worker-1");
      await cluster.script("gen-certs", "--rotate");
      await cluster.whenPods("the new certificate in the pod", "worker", () => true);
      await until("another certificate of worker-1", async () => (await serialOf("worker-1")) !== before);
      // Who comes now shows a new one to all others.
      await cluster.kubectl("delete", "pod", "worker-1", "--wait=false");
      return ["worker-1"];
    }));
  const serialOf = (worker: string) =>
    cluster.kubectl("exec", worker, "--container", "worker", "--", "sha256sum", "/tls/tls.crt");
  /** Kubernetes brings a changed Secret to its pods within about a minute and a half. */
  async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    for (const untilMs = performance.now() + 180_000; performance.now() < untilMs; ) {
      if (await isSo()) return;
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
    throw new Error(`${what} did not come`);
  }

  test("etcd's backup is put back, what was committed since is found again, and no worker is started again for that", async (t) => {
    const pods = () =>
      cluster.kubectl(
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/component=worker",
        "-o",
        "jsonpath={.items[*].metadata.uid}",
      );
    const podsBefore = await pods();
    await fault(
      t,
      "etcd-restored",
      async (before) => {
        const folder = await mkdtemp(join(tmpdir(), "lockstep-backup-"));
        try {
          await cluster.script("etcd-backup", join(folder, "etcd.db"));
          assert.ok((await stat(join(folder, "etcd.db"))).size > 0);
          await cluster.when("more epochs", ({ epoch }) => epoch > before.epoch + 1);
          await cluster.script("etcd-restore", join(folder, "etcd.db"));
        } finally {
          await rm(folder, { recursive: true, force: true });
        }
        return [];
      },
      async (before) => {
        const after = await cluster.when(
          "training after it",
          (status) => trains(3)(status) && status.step > before.step,
        );
        return cluster.when("epochs are committed in it", ({ epoch }) => epoch > after.epoch + 1);
      },
    );
    assert.equal(await pods(), podsBefore);
  });

  test("a member of etcd whose disk is lost: a backup of now is put back into all", (t) =>
    fault(
      t,
      "etcd-disk",
      async () => {
        const volumeOf = () => cluster.kubectl("get", "pvc", "data-etcd-1", "-o", "jsonpath={.spec.volumeName}");
        const volume = await volumeOf();
        await cluster.kubectl("delete", "pvc", "data-etcd-1", "--wait=false");
        await cluster.kubectl("delete", "pod", "etcd-1", "--force", "--grace-period=0");
        await until("an empty volume", async () => ![volume, ""].includes(await volumeOf().catch(() => "")));
        const folder = await mkdtemp(join(tmpdir(), "lockstep-backup-"));
        try {
          await cluster.script("etcd-backup", join(folder, "now.db"));
          await cluster.script("etcd-restore", join(folder, "now.db"));
        } finally {
          await rm(folder, { recursive: true, force: true });
        }
        return [];
      },
      async (before) => {
        await cluster.whenPods("etcd whole again", "etcd", (pods) => pods.length === 3 && allReady(pods));
        return cluster.when("epochs are committed in it", ({ epoch }) => epoch > before.epoch + 1);
      },
    ));

  test("restart-node and logs", (t) =>
    fault(t, "restart-node", async () => {
      await cluster.script("restart-node", "worker-0");
      assert.match(await cluster.script("logs", "worker-1"), /first step of the generation/);
      return ["worker-0"];
    }));

  test("down, and up again, goes on where it was; at the end the weights are those of an undisturbed run", async () => {
    const before = await training();
    const saved = /step (\d+) is saved/.exec(await cluster.script("down"));
    faults.down = (faults.down ?? 0) + 1;
    assert.equal((await cluster.pods("worker")).length, 0);
    const epochs = Math.ceil(Number(saved?.[1]) / before.stepsPerEpoch) + 3;
    await cluster.script("up", job, "--epochs", String(epochs));
    const end = await cluster.when("the end", ({ state }) => state === "finished", 600_000);
    assert.equal(end.epoch, epochs);
    // Who has finished stays, idle and ready.
    const workers = await cluster.whenPods("all are ready", "worker", (pods) => pods.length === 3 && allReady(pods));
    const undisturbed = await undisturbedDigest(job, shards, epochs);
    assert.equal(end.latest!.weightsDigest, undisturbed);
    // That took a while: nothing was started again meanwhile.
    assert.deepEqual(await cluster.pods("worker"), workers);
    finished = end;
  });

  test("down, and up --resume best, goes back, and comes to the weights of an undisturbed run from there", async () => {
    const { epoch, best, latest } = finished!;
    assert.ok(best!.epoch < epoch, "there is something to go back from");
    // How far back it is depends on how much was trained during the faults: not all of it is done again.
    const epochs = best!.epoch + 3;
    await cluster.script("down");
    const typo = await cluster.tryScript("up", job, "--resume", "typo");
    assert.equal(typo.code, 2, typo.stderr);
    assert.match(typo.stderr, /has no checkpoint typo[\s\S]*The coordinators cannot begin this start/);
    await cluster.script("up", job, "--resume", "best", "--epochs", String(epochs));
    const end = await cluster.when(
      "the end again",
      ({ state, latest: now }) => state === "finished" && now !== null && now.id !== latest!.id,
      600_000,
    );
    assert.equal(end.epoch, epochs);
    assert.equal(end.latest!.weightsDigest, await undisturbedDigest(job, shards, epochs));
    const resumed = (await cluster.logLines()).filter(({ message }) => message === "running");
    assert.ok(
      resumed.some(({ source }) => source === best!.id),
      JSON.stringify(resumed),
    );
  });
});
