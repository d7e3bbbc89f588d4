/**
 * `--target ssh` on three hosts with a real systemd and a real sshd: a job trains while hosts and processes die, come and go,
 * and ends with the bits of a launch on this machine that nothing disturbed.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { test, type TestContext } from "node:test";
import type { ClusterStatus } from "../../src/core/status.ts";
import { exampleJob, finished, startLaunch, testFolder } from "../fixtures/running-launch.ts";
import { membersOf, type Ran, ran, root } from "../fixtures/deployed-cluster.ts";
import { type Hosts, sharedFolder, startHosts, until, whyNoHosts } from "./ssh-hosts.ts";

/** More than can be trained while it is disturbed; `up` says at the end how many it really is. */
const manyEpochs = 100_000;
const stepsPerEpoch = 24;
const shards = 4;
const names = ["node-a", "node-b", "node-c"];
const reason = await whyNoHosts();
const skip = reason === null ? false : `no hosts can be made here: ${reason}`;
if (skip !== false) process.stderr.write(`skipped: ${skip}\n`);

/** `deploy/scripts/VERB …`, as the operator of these hosts; prints what it says as it ends. */
class Cluster {
  readonly hosts: Hosts;
  readonly #context: TestContext;

  constructor(hosts: Hosts, context: TestContext) {
    this.hosts = hosts;
    this.#context = context;
  }

  async run(verb: string, ...words: string[]): Promise<Ran> {
    const beginMs = performance.now();
    const outcome = await ran(path.join(root, "deploy/scripts", verb), words, this.hosts.environment);
    const seconds = ((performance.now() - beginMs) / 1000).toFixed(1);
    this.#context.diagnostic(`${verb} ${words.join(" ")}: exit code ${outcome.code} after ${seconds} s`);
    return outcome;
  }

  async do(verb: string, ...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(verb, ...words);
    assert.equal(code, 0, `${verb} ${words.join(" ")}:\n${stdout}\n${stderr}`);
    return stdout;
  }

  /** Asked of the first coordinator that answers, at its own address; null when none does. */
  async status(): Promise<ClusterStatus | null> {
    const tls = path.join(this.hosts.folder, "state/lockstep/clusters/digits/certs/operator");
    for (const name of ["node-a", "node-b"]) {
      const words = ["status", "--json", "--coordinator", `${this.hosts.address(name)}:7070`, "--tls", tls];
      const { code, stdout } = await ran(process.execPath, [path.join(root, "bin/lockstep.mjs"), ...words]);
      if (code === 0) return JSON.parse(stdout) as ClusterStatus; // what `status --json` prints
    }
    return null;
  }

  /** Until these workers train together, some steps past the given one; returns the step. */
  async trains(workers: readonly string[], pastStep: number): Promise<number> {
    const found = await until(
      `${workers.join(", ")} train past step ${pastStep}`,
      () => this.status(),
      (status) =>
        status?.state === "training" && status.step > pastStep + 5 && membersOf(status).join() === workers.join(),
    );
    return found!.step;
  }
}

/** Waits until the run is finished, trains the same on this machine, and compares every bit. */
async function compareWithUndisturbed(cluster: Cluster, context: TestContext, epochs: number): Promise<ClusterStatus> {
  const last = await until(
    `the job is finished after epoch ${epochs}`,
    () => cluster.status(),
    (status) => status?.state === "finished" && status.epoch === epochs,
    (status) => status && `${status.state} (${status.reason}), step ${status.step}`,
    300_000,
  );
  assert.equal(last!.stepsPerEpoch, stepsPerEpoch);
  assert.deepEqual(last!.equivalences, [], "it is bit-exact");
  const words = ["--workers", "2", "--shards", String(shards), "--epochs", String(epochs)];
  const launch = startLaunch(context, await testFolder(context), words);
  assert.equal(await launch.exited, 0, launch.errors());
  const undisturbed = finished(launch);
  assert.equal(last!.latest!.weightsDigest, undisturbed.weightsDigest);
  const history = last!.history.map(({ epoch, metrics }) => ({ epoch, ...metrics }));
  assert.deepEqual(history, undisturbed.history);
  context.diagnostic(`${epochs} epochs, and the same weights: ${last!.latest!.weightsDigest}`);
  return last!;
}

test("hosts over ssh train to the bits of an undisturbed launch, through power cuts, restarts, scaling, down and up", {
  skip,
}, async (context) => {
  const hosts = await startHosts(names);
  context.after(() => hosts.remove());
  const cluster = new Cluster(hosts, context);
  const inventory = path.join(hosts.folder, "inventory");
  const address = (name: string) => `address=${hosts.address(name)}`;
  const lines = [
    `node-a user=ops ${address("node-a")} etcd coordinator workers=2`,
    `node-b ${address("node-b")} etcd coordinator workers=2`,
    `node-c ${address("node-c")} user=ops etcd`,
  ];
  await writeFile(inventory, `${lines.join("\n")}\n`);
  const up = ["up", "--target", "ssh", exampleJob, "--inventory", inventory] as const;

  await context.test(
    "a host without systemd, and a user who may not become root, are told in one sentence",
    async () => {
      await hosts.addWithoutSystemd("node-x");
      const wrong = path.join(hosts.folder, "wrong");
      await writeFile(wrong, `${lines.join("\n")}\nnode-x ${address("node-x")} workers=1\n`);
      const without = await cluster.run("up", "--target", "ssh", exampleJob, "--inventory", wrong);
      assert.equal(without.code, 4, without.stderr);
      assert.match(without.stderr, /^node-x: systemd does not run here/m);
      await writeFile(wrong, lines.join("\n").replaceAll("user=ops", "user=guest"));
      const guest = await cluster.run("up", "--target", "ssh", exampleJob, "--inventory", wrong);
      assert.equal(guest.code, 4, guest.stderr);
      assert.match(guest.stderr, /^node-a: the user guest is not root here/m);
      await writeFile(wrong, `${lines.join("\n")}\nnode-y address=127.0.0.1 port=1 workers=1\n`);
      const away = await cluster.run("up", "--target", "ssh", exampleJob, "--inventory", wrong);
      assert.equal(away.code, 6, away.stderr);
      assert.match(away.stderr, /^node-y: it cannot be reached as ssh is told to/m);
      for (const name of names)
        assert.equal((await hosts.sh(name, "ls -d /opt/lockstep")).stdout, "", "nothing was changed");
    },
  );

  await context.test("up brings everything to hosts that have nothing of lockstep's, and they train", async () => {
    await cluster.do(...up, "--workers", "3", "--shards", String(shards), "--epochs", String(manyEpochs));
  });
  let step = await cluster.trains(["worker-0", "worker-1", "worker-2"], 0);

  await context.test("up again changes nothing", async () => {
    const before = await cluster.status();
    // Who has started a unit says so.
    assert.doesNotMatch(await cluster.do("up"), /is started|older settings/);
    const after = await cluster.status();
    const workers = (status: ClusterStatus | null) =>
      status!.processes
        .filter(({ role }) => role === "worker")
        .map(({ workerId }) => workerId)
        .sort();
    const { stdout: logged } = await ran(path.join(root, "deploy/scripts/logs"), ["--previous"], hosts.environment);
    assert.deepEqual(workers(after), workers(before), `all workers are those that were there: ${logged.slice(-4000)}`);
  });

  await context.test(
    "a process of a unit sees its own certificate, and can write nowhere but to its own data",
    async () => {
      const inside = async (line: string) => {
        const pid = "$(systemctl show --property MainPID --value lockstep-worker@0.service)";
        const id = "$(id -u lockstep)";
        return hosts.sh(
          "node-a",
          `nsenter --target ${pid} --mount setpriv --reuid ${id} --clear-groups bash -c '${line}'`,
        );
      };
      assert.equal(
        (await inside("ls /etc/lockstep/certs /var/lib/lockstep")).stdout.match(/etcd|coordinator|worker-2/),
        null,
      );
      assert.match((await inside("ls /etc/lockstep/certs")).stdout, /^worker-0$/m);
      for (const place of [
        "/opt/lockstep",
        "/etc/lockstep",
        "/var/cache/lockstep",
        "/var/lib/lockstep",
        "/usr",
        "/var/tmp/../lib",
      ]) {
        assert.notEqual((await inside(`touch ${place}/x`)).code, 0, place);
      }
      assert.equal((await inside("touch /var/lib/lockstep/worker-0/x && rm /var/lib/lockstep/worker-0/x")).code, 0);
    },
  );

  await context.test(
    "a host loses its power, the others train on, and when it is back it takes part by itself",
    async () => {
      await hosts.powerCut("node-b");
      step = await cluster.trains(["worker-0", "worker-2"], step);
      const status = await cluster.run("status");
      assert.equal(status.code, 6);
      assert.match(status.stdout, /^worker-1 +node-b +not reached/m);
      assert.match(status.stdout, /^worker-0 +node-a +active \(running\)/m);
      await hosts.powerOn("node-b");
      step = await cluster.trains(["worker-0", "worker-1", "worker-2"], step);
    },
  );

  await context.test("restart-node starts a process, and all of a host, again", async () => {
    const pidOf = async (unit: string) =>
      (await hosts.sh("node-b", `systemctl show --property MainPID --value ${unit}`)).stdout;
    const before = await pidOf("lockstep-worker@1.service");
    await cluster.do("restart-node", "worker-1");
    assert.notEqual(await pidOf("lockstep-worker@1.service"), before);
    step = await cluster.trains(["worker-0", "worker-1", "worker-2"], step);
    await hosts.sh("node-b", "systemctl kill --signal SIGKILL lockstep-etcd lockstep-coordinator lockstep-worker@1");
    await hosts.sh("node-b", "systemctl stop lockstep-etcd lockstep-coordinator lockstep-worker@1");
    step = await cluster.trains(["worker-0", "worker-2"], step);
    await cluster.do("restart-node", "node-b");
    step = await cluster.trains(["worker-0", "worker-1", "worker-2"], step);
  });

  await context.test("a worker that is killed is started again by systemd", async () => {
    await hosts.sh("node-a", "systemctl kill --signal SIGKILL lockstep-worker@0");
    await until(
      "it was started again",
      () => hosts.sh("node-a", "systemctl show --property NRestarts --value lockstep-worker@0.service"),
      ({ stdout }) => Number(stdout) >= 1,
    );
    step = await cluster.trains(["worker-0", "worker-1", "worker-2"], step);
    const previous = await cluster.do("logs", "worker-0", "--previous");
    assert.match(previous, /^node-a: .*first step of the generation/m);
  });

  await context.test(
    "logs --follow goes on with what comes, and ends on the hosts when it is interrupted",
    async () => {
      const beginMs = Date.now();
      const follow = spawn(path.join(root, "deploy/scripts/logs"), ["--follow"], {
        ...{ cwd: root, env: hosts.environment, detached: true, stdio: ["ignore", "pipe", "inherit"] },
      });
      const ended = once(follow, "close");
      for await (const line of createInterface({ input: follow.stdout })) {
        assert.match(line, /^node-[ab]: /);
        // What was logged before comes first.
        const logged = /"time":"([^"]+)".*"committed"/.exec(line)?.[1];
        if (logged !== undefined && Date.parse(logged) > beginMs) break;
      }
      process.kill(-follow.pid!, "SIGTERM"); // it has started, as it has written
      await ended;
      await until(
        "nobody follows any more",
        () => hosts.sh("node-a", "pgrep -x journalctl"),
        ({ stdout }) => stdout === "",
      );
    },
  );

  await context.test("scale gives and takes workers", async () => {
    assert.match(await cluster.do("scale", "4"), /There are 4 workers; there were 3\./);
    step = await cluster.trains(["worker-0", "worker-1", "worker-2", "worker-3"], step);
    assert.match(await cluster.do("scale", "2"), /There are 2 workers; there were 4\. Gone: worker-3 worker-2\./);
    step = await cluster.trains(["worker-0", "worker-1"], step);
    assert.equal((await hosts.sh("node-a", "systemctl is-enabled lockstep-worker@2.service")).stdout, "disabled\n");
  });

  await context.test("certificates are made anew, and nothing is restarted", async () => {
    const serial = () => hosts.sh("node-b", "sha256sum </etc/lockstep/certs/worker-1/tls.crt");
    const pids = "systemctl show --property MainPID --value lockstep-worker@1 lockstep-coordinator lockstep-etcd";
    const before = [(await serial()).stdout, (await hosts.sh("node-b", pids)).stdout];
    await cluster.do("gen-certs", "--rotate");
    assert.notEqual((await serial()).stdout, before[0]);
    assert.equal((await hosts.sh("node-b", pids)).stdout, before[1]);
    step = await cluster.trains(["worker-0", "worker-1"], step);
  });

  const backup = path.join(hosts.folder, "etcd.backup");
  await context.test("etcd-backup saves what etcd holds, as its own tools would", async () => {
    assert.match(await cluster.do("etcd-backup", backup), /Saved: /);
    const bytes = await readFile(backup);
    // The magic number of a bbolt database, in its first page.
    assert.equal(bytes.readUInt32LE(16), 0xed0cdaed);
  });
  await context.test(
    "etcd-restore puts all members back, one that has lost its disk too, and training goes on in the same processes",
    async () => {
      const lost = await hosts.sh("node-c", "systemctl stop lockstep-etcd && rm -r /var/lib/lockstep/etcd/*");
      assert.equal(lost.code, 0, lost.stderr);
      step = await cluster.trains(["worker-0", "worker-1"], step);
      const pid = "systemctl show --property MainPID --value lockstep-worker@1";
      const before = (await hosts.sh("node-b", pid)).stdout;
      await cluster.do("etcd-restore", backup);
      step = await cluster.trains(["worker-0", "worker-1"], 0);
      assert.equal((await hosts.sh("node-b", pid)).stdout, before);
    },
  );

  let epochs = 0;
  await context.test("down stops in order and starts with no machine; up goes on from the checkpoint", async () => {
    const saved = Number(/step (\d+) is saved/.exec(await cluster.do("down"))?.[1]);
    assert.ok(saved > step, `step ${saved} is saved`);
    for (const name of names) {
      const left =
        "systemctl list-units --no-legend --state active 'lockstep-*.service'; systemctl is-enabled lockstep.target";
      assert.equal((await hosts.sh(name, left)).stdout, "disabled\n", name);
    }
    for (const words of [["status"], ["scale", "3"], ["restart-node", "node-b"], ["etcd-restore", backup]] as [
      string,
      ...string[],
    ][]) {
      const refused = await cluster.run(...words);
      assert.equal(refused.code, 6, refused.stderr);
      assert.match(refused.stderr, /The cluster digits is down; \S+\/up --name digits starts it\.$/m);
    }
    epochs = Math.ceil(saved / stepsPerEpoch) + 20;
    await cluster.do("up", "--epochs", String(epochs));
  });

  await compareWithUndisturbed(cluster, context, epochs);

  await context.test(
    "up --resume never begins another run, with checkpoints in a folder that all hosts share",
    async () => {
      for (const name of names.slice(0, 2)) {
        const before = await hosts.sh(name, "ls -d /etc/systemd/system/lockstep-worker@.service.d 2>/dev/null");
        assert.equal(before.stdout, "");
      }
      const place = `${sharedFolder}/digits`;
      const refused = await cluster.run("up", "--resume", "never", "--checkpoints", place, "--epochs", "3");
      assert.equal(refused.code, 4, refused.stderr);
      assert.match(refused.stdout, /^node-a: the user lockstep may not write to \/shared\/digits, or it is not there/m);
      await hosts.sh("node-a", `mkdir ${place} && chown lockstep: ${place}`);
      await cluster.do("up", "--resume", "never", "--checkpoints", place, "--epochs", "3");
      const status = await compareWithUndisturbed(cluster, context, 3);
      const kept = await hosts.sh("node-c", `ls ${place}`);
      assert.ok(kept.stdout.split("\n").includes(status.latest!.id), kept.stdout);
    },
  );

  await context.test("down --purge leaves nothing on any host", async () => {
    await cluster.do("down", "--purge");
    for (const name of names) {
      const left = await hosts.sh(
        name,
        "ls -d /opt/lockstep /etc/lockstep /var/lib/lockstep /var/cache/lockstep /etc/systemd/system/*lockstep* 2>/dev/null; ps -u lockstep -o pid= 2>/dev/null || true",
      );
      assert.equal(left.stdout, "", name);
    }
    assert.equal(existsSync(path.join(hosts.folder, "state/lockstep/clusters/digits")), false);
  });
});
