/** `deploy/scripts/up --target k8s` against a kubectl that renders as the real one does, and only writes down what else it is told. */
import assert from "node:assert/strict";
import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { findProgram, runProgram } from "../../src/adapters/system/programs.ts";
import { kustomize } from "../fixtures/kustomize.ts";
import { aBackup } from "./backup.ts";
import { allFaults } from "./checks.ts";
import { type Manifest, nameOf, renderFolder, root } from "./manifests.ts";
import { invalidKeys, invalidValues } from "./schemas.ts";

const found = await kustomize();
const whyNot = "reason" in found ? found.reason : findProgram("bash") === null ? "there is no bash on PATH" : false;
const job = join(root, "examples", "digits.ts");
const limit = { timeout: 180_000 };

describe("deploy/scripts on Kubernetes", { skip: whyNot, concurrency: false }, () => {
  let home: string;
  let told: string;
  /** While it is there, no coordinator can begin a start. */
  let typo: string;
  /** Numbers of the processes that go on until they are ended. */
  let waiting: string;

  before(async () => {
    home = await mkdtemp(join(tmpdir(), "lockstep-k8s-scripts-"));
    told = join(home, "told");
    typo = join(home, "typo");
    waiting = join(home, "waiting");
    await mkdir(join(home, "bin"));
    const render = "reason" in found ? "" : found.command.map((word) => `'${word}'`).join(" ");
    // What it is asked for has no answer, but for what a script waits for.
    const kubectl = `#!/bin/sh
[ "$1" != kustomize ] || { shift; exec ${render} "$@"; }
printf '%s\\n' "$*" >> '${told}'
waits() { echo $$ >> '${waiting}'; exec tail -f /dev/null; }
case "$*" in
  *"get pods"*'"Ready"'*) printf 'True coordinator-5d-a\\nFalse coordinator-5d-b\\n' ;;
  *"get statefulset,deployment"*) [ -e "$XDG_STATE_HOME/gone" ] || echo statefulset/etcd ;;
  *"get namespace new"*) exit 1 ;;
  *"rollout status deployment/coordinator"*) [ ! -e '${typo}' ] || waits ;;
  *"port-forward"*) echo "Forwarding from 127.0.0.1:1 -> 7070" && waits ;;
  *"get pods"*"envFrom"*)
    printf 'lockstep-a start-b = CrashLoopBackOff 3\\nlockstep-a %s = CrashLoopBackOff 2\\n' "$([ ! -e '${typo}' ] || ${render} "$XDG_STATE_HOME/lockstep/clusters/digits/k8s" | sed -n 's/^  name: \\(start-.*\\)/\\1/p')" ;;
  *"get pods"*"restartCount"*) printf 'etcd-0 4\\ncoordinator-5d-a 0\\nworker-0 0\\nworker-1 1\\n' ;;
  *"config current-context"*) echo test ;;
  *"--dry-run=client"*) echo 'kind: Secret' ;;
  *" apply "*"--filename -"*) cat > /dev/null ;;
  *"get pods"*"jsonpath={range"*) printf 'coordinator-5d-a\\ncoordinator-5d-b\\nworker-0\\nworker-1\\n' ;;
  *"get pods"*"spec.nodeName=node2"*) printf 'etcd-1 worker-1' ;;
  *"get pod worker-1"*nodeName*) printf node2 ;;
  *"--namespace bare get secret http-token"*) exit 1 ;;
  *"get pod etcd-restore"*started*) printf true ;;
  *"exec --stdin etcd-restore"*) cat > /dev/null ;;
  *"get pod etcd-restore"*phase*) printf Failed ;;
  *"get node node2"*conditions*) printf Unknown ;;
  *"get node "*conditions*) printf True ;;
esac
`;
    await writeFile(join(home, "bin", "kubectl"), kubectl);
    await chmod(join(home, "bin", "kubectl"), 0o755);
  });
  after(() => rm(home, { recursive: true, force: true }));

  const script = (verb: string, ...words: string[]) =>
    runProgram(join(root, "deploy", "scripts", verb), words, {
      environment: {
        XDG_STATE_HOME: home,
        PATH: `${join(home, "bin")}${delimiter}${process.env.PATH}`,
        LOCKSTEP_TARGET: "",
        LOCKSTEP_CLUSTER: "",
      },
    });
  /** Runs a script, and tells what kubectl was told. */
  async function done(verb: string, ...words: string[]): Promise<readonly string[]> {
    await writeFile(told, "");
    const ran = await script(verb, ...words);
    assert.ok(ran.succeeded, `${verb} ${words.join(" ")}: ${ran.failure}\n${ran.output}`);
    return (await readFile(told, "utf8")).split("\n").filter((line) => line !== "");
  }
  const applied = async (cluster = "digits"): Promise<readonly Manifest[]> => {
    assert.ok(!("reason" in found));
    return renderFolder(found.command, join(home, "lockstep", "clusters", cluster, "k8s"));
  };
  const dataOf = (manifests: readonly Manifest[], map: string) =>
    manifests.find((one) => one.kind === "ConfigMap" && one.metadata.name.startsWith(`${map}-`))?.data;

  test("up applies the overlay with the job, its data and what was asked for, and it is whole", limit, async () => {
    const words = ["--workers", "2:4", "--shards", "5", "--epochs", "7", "--image", "example.org:5000/lockstep:1.2"];
    const lines = await done("up", "--target", "k8s", job, ...words);
    const manifests = await applied();
    assert.deepEqual(await invalidValues(manifests), []);
    assert.deepEqual(await invalidKeys({ up: manifests }), []);
    assert.deepEqual(allFaults(manifests), []);
    const start = dataOf(manifests, "start");
    assert.deepEqual([start.WORKERS, start.SHARDS, start.EPOCHS, start.RESUME], ["2:4", "5", "7", "auto"]);
    assert.match(start.START, /^\d{8}-\d{6}-\d+$/);
    assert.equal(dataOf(manifests, "lockstep").JOB, "digits");
    assert.equal(dataOf(manifests, "job")["job.ts"], await readFile(job, "utf8"));
    assert.ok("optdigits.tra" in dataOf(manifests, "data"));
    const worker = manifests.find((one) => nameOf(one) === "StatefulSet/worker")!;
    assert.equal(worker.spec.replicas, 4);
    assert.equal(worker.metadata.namespace, "digits");
    assert.equal(worker.spec.template.spec.containers[0].image, "example.org:5000/lockstep:1.2");
    const order = [
      "create namespace digits",
      "secret generic worker-tls",
      " apply --server-side --force-conflicts --kustomize",
    ];
    const places = order.map((text) => lines.findIndex((line) => line.includes(text)));
    assert.deepEqual(
      places,
      [...places].sort((a, b) => a - b),
      "a namespace, then Secrets, then the rest",
    );
    assert.ok(!places.includes(-1) || places[0] === -1, lines.join("\n"));
    // A key for each worker that may ever train, and nobody's twice.
    const keys = lines.find((line) => line.includes("secret generic worker-tls"))!.match(/worker-\d+\.key=/g);
    assert.deepEqual(keys, ["worker-0.key=", "worker-1.key=", "worker-2.key=", "worker-3.key=", "worker-4.key="]);
    const { output } = await script("up", "--target", "k8s", job, ...words);
    for (const next of ["scale statefulset worker --replicas 3", "delete pod worker-3", "get pods --output wide"]) {
      assert.ok(output.includes(`  kubectl --namespace digits ${next}\n`), output);
    }
  });

  test("--set and --param reach the coordinators word for word, whatever is in them", limit, async () => {
    const jobFile = join(home, "told.ts");
    const text = await readFile(job, "utf8");
    await writeFile(
      jobFile,
      text
        .replace("defineJob({", `defineJob({ title: "", rate: 0.3 }, ({ rate }) => ({`)
        .replaceAll("rate: 0.3 }),", "rate }),")
        .replace(/\}\);\s*$/, "}));\n"),
    );
    const titles = [`two  words, "quoted" 'twice' $HOME \\ * 100%`, `"`];
    for (const title of titles) {
      const words = ["--param", `title=${title}`, "--set", "batchSize=64", "--resume", "never"];
      const where = ["--target", "k8s", "--name", "digits", "--data", join(root, "examples", "data")];
      await done("up", jobFile, ...where, ...words);
      const manifests = await applied();
      const coordinator = manifests.find((one) => nameOf(one) === "Deployment/coordinator")!.spec.template.spec;
      const start = dataOf(manifests, "start");
      const line = coordinator.containers[0].args[0].replace("exec node", "printf '%s\\n'");
      const variables = { ...start, ...dataOf(manifests, "lockstep"), POD_IP: "10.0.0.1" };
      const ran = await runProgram("sh", ["-euc", line], { environment: variables });
      assert.ok(ran.succeeded, ran.failure);
      const said = ran.output.split("\n");
      assert.ok(said.includes(`--param=title=${title}`), ran.output);
      assert.ok(said.includes("--set=batchSize=64"), ran.output);
      assert.equal(said[said.indexOf("--epochs") + 1], "7", "what the others say stays as it is");
    }
    const dry = await script("up", "--set", "batchSize=32", "--resume", "never", "--dry-run");
    assert.match(dry.output, /\+ the start says: '--set=batchSize=32'\n/);
    await done("up", job, "--data", join(root, "examples", "data"), "--set", "batchSize=128", "--resume", "never");
  });

  test("up again changes nothing; --resume is another start", limit, async () => {
    const before = await applied();
    await done("up");
    assert.deepEqual(await applied(), before);
    await done("up", "--resume", "never");
    const other = await applied();
    assert.notEqual(dataOf(other, "start").START, dataOf(before, "start").START);
    assert.equal(dataOf(other, "start").RESUME, "never");
    await done("up");
    assert.deepEqual(await applied(), other, "the same start says what it said");
    const changed = other.filter((one, i) => JSON.stringify(one) !== JSON.stringify(before[i])).map(nameOf);
    assert.deepEqual(
      changed.map((name) => name.replace(/-[a-z0-9]{10}$/, "")),
      ["ConfigMap/start", "Deployment/coordinator"],
    );
  });

  test("scale makes the certificates that more workers need first", limit, async () => {
    const lines = await done("scale", "6");
    const secret = lines.findIndex((line) => /worker-5\.key=/.test(line));
    const scale = lines.findIndex((line) => line.includes("scale statefulset worker --replicas 6"));
    assert.ok(secret !== -1 && secret < scale, lines.join("\n"));
    const replicas = async () => (await applied()).find((one) => nameOf(one) === "StatefulSet/worker")!.spec.replicas;
    await done("up");
    assert.equal(await replicas(), 6, "up again leaves as many as scale has made");
    await done("up", "--workers", "4");
    assert.equal(await replicas(), 4);
  });

  test("restart-node deletes a pod; by force where its node is gone, but a member of etcd", limit, async () => {
    const deleted = (lines: readonly string[]) =>
      lines.filter((line) => line.includes("delete pod")).map((line) => line.replace(/.* delete pod /, ""));
    assert.deepEqual(deleted(await done("restart-node", "worker-0")), ["worker-0 --wait=false"]);
    assert.deepEqual(deleted(await done("restart-node", "coordinator-1")), ["coordinator-5d-b --wait=false"]);
    assert.deepEqual(deleted(await done("restart-node", "node2")), ["worker-1 --wait=false --force --grace-period 0"]);
  });

  /** Of those kubectls that go on until they are ended, how many there were; none is left. */
  async function ended(): Promise<number> {
    const numbers = (await readFile(waiting, "utf8")).trim().split("\n").map(Number);
    for (const number of numbers) assert.throws(() => process.kill(number, 0), { code: "ESRCH" }, `${number} is there`);
    await rm(waiting);
    return numbers.length;
  }

  test("logs names the node that is not there, and --previous leaves out what was started once", limit, async () => {
    for (const node of ["worker-7", "coordinator-3"]) {
      const none = await script("logs", node);
      assert.match(
        none.failure,
        /There is no node \S+; there are: coordinator-5d-a coordinator-5d-b worker-0 worker-1 /,
      );
    }
    const logged = async (...words: string[]) =>
      (await done("logs", ...words)).flatMap((line) => / logs (.*)/.exec(line)?.[1] ?? []);
    assert.deepEqual(await logged("coordinator-1"), ["coordinator-5d-b --timestamps"]);
    assert.deepEqual(await logged("--previous"), ["worker-1 --previous --prefix --timestamps"]);
    assert.deepEqual(await logged("worker-0", "--previous"), []);
  });

  test("who asks a coordinator leaves no tunnel to it behind", limit, async () => {
    await rm(waiting, { force: true });
    const { failure } = await script("status");
    assert.match(failure, /No coordinator of digits answers\. — exit code 6/);
    assert.equal(await ended(), 2, "each was tried");
  });

  test("a start that no coordinator can begin ends up at once, and the next up makes another", limit, async () => {
    await writeFile(typo, "");
    await rm(waiting, { force: true });
    const start = () => readFile(join(home, "lockstep/clusters/digits/start"), "utf8");
    const other = await script("up", "--resume", "typo");
    assert.match(other.failure, /The coordinators cannot begin this start, .* — exit code 2/);
    assert.equal(
      await ended(),
      3,
      "two tunnels, by which it was asked whether it trains, and the wait for coordinators",
    );
    await assert.rejects(start(), { code: "ENOENT" });
    await rm(typo);
    await done("up");
    assert.equal(dataOf(await applied(), "start").RESUME, "auto");
  });

  test("what down has deleted is not asked, and gen-certs makes the namespace that Secrets are in", limit, async () => {
    await writeFile(join(home, "gone"), "");
    for (const words of [
      ["status"],
      ["status", "--json"],
      ["scale", "2"],
      ["restart-node", "worker-0"],
      ["logs"],
      ["etcd-backup", join(home, "new")],
    ]) {
      await writeFile(told, "");
      const { failure } = await script(words[0]!, ...words.slice(1));
      assert.match(
        failure,
        /The cluster digits is down; \S+\/up --name digits starts it\. — exit code 6/,
        words.join(" "),
      );
      assert.doesNotMatch(await readFile(told, "utf8"), /delete|scale|create|apply/);
    }
    await rm(join(home, "gone"));
    const lines = await done("gen-certs", "--target", "k8s", "--name", "new", "--workers", "1");
    assert.ok(lines[0] !== undefined && lines.some((line) => line.endsWith("create namespace new")), lines.join("\n"));
    const mistyped = await script("gen-certs", "--target", "k8s", "--name", "nwe", "--rotate");
    assert.match(mistyped.failure, /There is no cluster nwe; `up` makes one\. There are: digits new/);
    await rm(join(home, "lockstep/clusters/new"), { recursive: true });
  });

  test("down ends workloads and leaves volumes; --purge deletes the namespace", limit, async () => {
    const lines = await done("down");
    assert.ok(lines.some((line) => line.includes("delete statefulset,deployment,cronjob,job")));
    assert.ok(!lines.some((line) => /delete (pvc|persistentvolumeclaim|namespace)/.test(line)), lines.join("\n"));
    const dry = await script("down", "--purge", "--dry-run");
    assert.match(dry.output, /\+ kubectl --context test --namespace digits delete namespace digits/);
  });

  test("an overlay of one's own keeps what it says of a start, and is whole with what up adds", limit, async () => {
    // Beside the others, as docs/deploy/kubernetes.md has it: its paths lead to base and components.
    const overlay = join(home, "checkout/deploy/k8s/overlays/mine");
    for (const folder of ["deploy/k8s", "examples"])
      await cp(join(root, folder), join(home, "checkout", folder), { recursive: true });
    await cp(join(root, "deploy/k8s/overlays/gpu"), overlay, { recursive: true });
    const settings = join(overlay, "settings/kustomization.yaml");
    const text = await readFile(settings, "utf8");
    await writeFile(
      settings,
      text.replace("WORKERS=4:8", "WORKERS=4:6\n      - EPOCHS=60").replace("SHARDS=8", "SHARDS=12"),
    );
    const words = ["--target", "k8s", "--name", "own", "--overlay", overlay] as const;
    const startOf = async (...more: string[]) => {
      await done("up", job, ...words, ...more);
      const manifests = await applied("own");
      assert.deepEqual(await invalidValues(manifests), []);
      assert.deepEqual(await invalidKeys({ up: manifests }), []);
      assert.deepEqual(allFaults(manifests), []);
      const { WORKERS, SHARDS, EPOCHS, THREADS } = dataOf(manifests, "start");
      const { replicas } = manifests.find((one) => nameOf(one) === "StatefulSet/worker")!.spec;
      return { WORKERS, SHARDS, EPOCHS, THREADS, replicas };
    };
    const overlaid = { WORKERS: "4:6", SHARDS: "12", EPOCHS: "60", THREADS: "4", replicas: 6 };
    assert.deepEqual(await startOf(), overlaid);
    assert.deepEqual(await startOf(), overlaid, "again, it changes nothing");
    assert.deepEqual(await startOf("--workers", "9"), { ...overlaid, WORKERS: "9", replicas: 9 });
    await writeFile(told, "");
    const certificates = await script("gen-certs", "--name", "own", "--rotate");
    assert.match(certificates.failure, /The certificates of own are cert-manager's; it renews them by itself\./);
    const bare = await script("up", job, "--target", "k8s", "--name", "bare", "--overlay", overlay);
    assert.match(bare.failure, /mounts the Secret http-token, and the namespace bare has none/);
    const elsewhere = join(home, "elsewhere");
    await cp(overlay, elsewhere, { recursive: true });
    const lost = await script("up", job, "--target", "k8s", "--name", "lost", "--overlay", elsewhere);
    assert.match(lost.failure, /cannot be rendered; .* Its paths have to lead to \S+\/deploy\/k8s\./);
  });

  test("a backup that is none, or that etcd does not take, leaves etcd as it was", limit, async () => {
    await done("up", job);
    const wrongFile = join(home, "no-backup");
    await writeFile(wrongFile, "no backup of anything, and longer than the hash that one ends with");
    await writeFile(told, "");
    const none = await script("etcd-restore", wrongFile, "--name", "digits");
    assert.match(none.failure, /no-backup is no whole backup of etcd, and nothing was done/);
    assert.equal(await readFile(told, "utf8"), "");
    const refused = await script("etcd-restore", await aBackup(home), "--name", "digits");
    assert.match(refused.failure, /etcd-0 was not restored, and etcd is started with what it held/);
    const scaled = Array.from((await readFile(told, "utf8")).matchAll(/scale statefulset etcd --replicas (\d)/g));
    assert.deepEqual(
      scaled.map(([, replicas]) => replicas),
      ["0", "3"],
    );
  });

  const wrong: readonly (readonly [words: readonly string[], says: RegExp])[] = [
    [
      ["--image", "lockstep"],
      /--image is "lockstep"; an image with a tag that stays what it is was expected, as lockstep:0\.1\.0\./,
    ],
    [["--image", "lockstep:latest"], /--image is "lockstep:latest"/],
    [["--etcd-image", "r.example.org:5000/etcd"], /--etcd-image is "r\.example\.org:5000\/etcd"/],
    [["--overlay", "huge"], /--overlay is "huge"; the name of a folder in deploy\/k8s\/overlays, or another one/],
    [["--checkpoints", "/mnt"], /--checkpoints is "\/mnt"; on --target k8s the overlay says where checkpoints are\./],
  ];
  for (const [words, says] of wrong)
    test(`up ${words.join(" ")} is refused in one sentence, and nothing is done`, limit, async () => {
      await writeFile(told, "");
      const ran = await script("up", "--target", "k8s", "--name", "digits", job, ...words);
      assert.ok(!ran.succeeded);
      assert.match(ran.failure, says);
      assert.doesNotMatch(await readFile(told, "utf8"), /apply|create|delete/);
    });

  test("data that no ConfigMap holds is refused with what to do", limit, async () => {
    const data = join(home, "data");
    await mkdir(data, { recursive: true });
    const [header, ...rows] = (await readFile(join(root, "examples/data", "optdigits.tra"), "utf8")).trim().split("\n");
    await writeFile(join(data, "optdigits.tra"), [header, ...rows, ...rows].join("\n"));
    await copyFile(join(root, "examples/data", "optdigits.tes"), join(data, "optdigits.tes"));
    const ran = await script("up", "--target", "k8s", "--name", "digits", job, "--data", data);
    assert.match(
      ran.failure,
      /The job's data in \S+ are 1\d{6} bytes, and a ConfigMap holds a million; use an overlay with the component data-volume/,
    );
  });

  test(
    "weights that the job begins with go with its data; folders and shards are refused with what to do",
    limit,
    async () => {
      const data = join(home, "weights");
      await mkdir(data);
      for (const name of ["optdigits.tra", "optdigits.tes"])
        await copyFile(join(root, "examples/data", name), join(data, name));
      for (const name of ["base.safetensors", "model.json"]) await writeFile(join(data, name), "{}");
      const text = await readFile(job, "utf8");
      const beginning = async (weights: string) => {
        await writeFile(join(home, "job.ts"), text.replace("seed: 7,", `seed: 7, initialWeights: "${weights}",`));
        const words = ["--target", "k8s", "--name", "weights", "--image", "example.org:5000/lockstep:1.2", "--dry-run"];
        return script("up", join(home, "job.ts"), "--data", data, ...words);
      };
      const whole = await beginning("base.safetensors");
      assert.ok(whole.succeeded, whole.failure);
      assert.match(whole.output, /data\/base\.safetensors/);
      const shards = await beginning("model.json");
      assert.match(shards.failure, /begins with \S+model\.json, whose shards a ConfigMap does not get; .*data-volume/);
      await mkdir(join(data, "folder"));
      const folder = await beginning("folder");
      assert.match(folder.failure, /reads \S+folder, which is a folder, and a ConfigMap holds files; .*data-volume/);
    },
  );
});
