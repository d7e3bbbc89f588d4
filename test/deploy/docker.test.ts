/** `deploy/scripts --target docker` against a docker that only writes down what it is told: what needs no engine to be shown. */
import assert from "node:assert/strict";
import { chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runProgram } from "../../src/adapters/system/programs.ts";
import { exampleJob, testFolder } from "../fixtures/running-launch.ts";
import { aBackup } from "./backup.ts";

const deploy = fileURLToPath(new URL("../../deploy", import.meta.url));

/** A cluster that `up` has made; `answer` is what docker does in a shell's words, with its own as $*. */
async function aCluster(context: TestContext, answer: string) {
  const folder = await testFolder(context);
  const state = join(folder, "lockstep/clusters/digits");
  const told = join(folder, "told");
  await mkdir(join(state, "certs/authority"), { recursive: true });
  await mkdir(join(folder, "bin"));
  const nodes = ["etcd-0", "etcd-1", "etcd-2", "coordinator-0", "coordinator-1", "worker-0", "worker-1", "operator"];
  for (const node of nodes) await mkdir(join(state, "certs", node));
  const known = {
    target: "docker",
    job: exampleJob,
    workers: "2",
    shards: "2",
    start: "first",
    "certs/authority/ca.key": "x",
    ...Object.fromEntries(nodes.map((node) => [`certs/${node}/tls.crt`, "x"])),
  };
  for (const [name, text] of Object.entries(known)) await writeFile(join(state, name), `${text}\n`);
  await writeFile(
    join(folder, "bin", "docker"),
    `#!/bin/sh\nprintf '%s\\n' "$*" | tr '\\n' ' ' >> '${told}'; echo >> '${told}'\n${answer}\n`,
  );
  await chmod(join(folder, "bin", "docker"), 0o755);
  await writeFile(told, "");
  const environment = {
    XDG_STATE_HOME: folder,
    PATH: `${join(folder, "bin")}${delimiter}${process.env.PATH}`,
    LOCKSTEP_TARGET: "",
    LOCKSTEP_CLUSTER: "",
  };
  return {
    folder,
    state,
    run: (script: string, ...words: string[]) => runProgram(join(deploy, script), words, { environment }),
    told: async () => (await readFile(told, "utf8")).split("\n").flatMap((line) => line.trim() || []),
  };
}

test("without an engine that answers each verb says so, and nothing of the cluster is taken for gone", async (context) => {
  const { folder, state, run } = await aCluster(context, "echo 'Cannot connect' >&2; exit 1");
  const backup = await aBackup(folder);
  for (const words of [
    ["up"],
    ["down"],
    ["down", "--purge"],
    ["status"],
    ["status", "--json"],
    ["scale", "3"],
    ["restart-node", "worker-0"],
    ["logs"],
    ["gen-certs", "--rotate"],
    ["etcd-backup", join(folder, "new")],
    ["etcd-restore", backup],
  ] as [string, ...string[]][]) {
    const [verb, ...rest] = words;
    const { succeeded, failure } = await run(`scripts/${verb}`, ...rest);
    assert.ok(!succeeded, words.join(" "));
    assert.match(failure, /No Docker engine answers; start it, or set DOCKER_HOST\./, words.join(" "));
  }
  assert.equal(await readFile(join(state, "start"), "utf8"), "first\n", "it is not down");
  assert.equal(await readFile(join(state, "certs/authority/ca.key"), "utf8"), "x\n", "and its authority is there");
});

test("what down has removed is not asked, and what takes a cluster that is up is refused before anything is changed", async (context) => {
  const { folder, state, run, told } = await aCluster(context, "exit 0");
  await rm(join(state, "start"));
  for (const words of [
    ["scale", "3"],
    ["restart-node", "worker-0"],
    ["logs"],
    ["etcd-backup", join(folder, "new")],
    ["etcd-restore", await aBackup(folder)],
  ] as [string, ...string[]][]) {
    const [verb, ...rest] = words;
    const { succeeded, failure } = await run(`scripts/${verb}`, ...rest);
    assert.ok(!succeeded, words.join(" "));
    assert.match(
      failure,
      /: The cluster digits is down; \S+\/up --name digits starts it\. — exit code 6/,
      words.join(" "),
    );
  }
  assert.deepEqual(
    (await told()).filter((line) => !/^(info|ps) ?/.test(line)),
    [],
  );
});

const thereAre = '"ps --all"*) printf "coordinator-0\\netcd-0\\netcd-1\\netcd-2\\n" ;;';

test("what containers were started with is refused when up says something else, and is not remembered", async (context) => {
  const { folder, state, run } = await aCluster(context, `case "$*" in ${thereAre} esac`);
  await writeFile(join(state, "data"), `${join(exampleJob, "../data")}\n`);
  for (const name of ["image", "etcd-image"]) await writeFile(join(state, name), "mine:1\n");
  for (const [words, says] of [
    [["--data", folder], /was started with the data \S+data, and not with \S+: take it down first/],
    [["--checkpoints", folder], /was started with checkpoints that each worker has of its own, and not with \S+: take/],
    [["--image", "other:1"], /was started with the image mine:1, and not with other:1: take it down first/],
  ] as [string[], RegExp][]) {
    const { succeeded, failure } = await run("scripts/up", ...words);
    assert.ok(!succeeded, words.join(" "));
    assert.match(failure, says);
  }
  assert.equal(await readFile(join(state, "image"), "utf8"), "mine:1\n");
});

test("a folder for checkpoints is there and can be written by the containers, or nothing is started", async (context) => {
  const { folder, state, run, told } = await aCluster(context, 'case "$*" in *"--entrypoint test"*) exit 1 ;; esac');
  await rm(join(state, "start"));
  const none = await run("scripts/up", "--checkpoints", join(folder, "nowhere"));
  assert.match(none.failure, /--checkpoints is "\S+nowhere", and there is no such folder\./);
  const wrong = await run("scripts/up", "--checkpoints", "s3:/bucket");
  assert.match(wrong.failure, /--checkpoints is "s3:\/bucket", and there is no such folder\./);
  const closed = await run("scripts/up", "--checkpoints", folder);
  assert.match(closed.failure, /The containers' user, 10001, may not write to \S+: let it, as by chown 10001\./);
  assert.ok(!(await told()).some((line) => line.includes("--detach")));
});

test("up waits until all do their work; a start that no coordinator can begin is ended, with what it said", async (context) => {
  const answers = [
    'exec*worker-1*) [ -e "$XDG_STATE_HOME/asked" ] || { touch "$XDG_STATE_HOME/asked"; exit 1; } ;;',
    '*"container inspect --format {{.State.Status}}"*) echo running 0 ;;',
  ];
  const well = await aCluster(context, `case "$*" in ${answers.join(" ")} esac`);
  const up = await well.run("scripts/up");
  assert.ok(up.succeeded, up.failure);
  const asked = (await well.told()).flatMap((line) => /^exec digits-(\S+) health readyz$/.exec(line)?.[1] ?? []);
  assert.deepEqual(asked, ["coordinator-0", "coordinator-1", "worker-0", "worker-1", "worker-1"]);
  const never = await aCluster(
    context,
    `case "$*" in exec*) exit 1 ;; *"container inspect --format {{.State.Status}}"*) echo restarting 2 ;; esac`,
  );
  const typo = await never.run("scripts/up", "--resume", "typo");
  assert.ok(!typo.succeeded);
  assert.match(typo.failure, /The coordinators cannot begin this start, .* and are removed: .* — exit code 2/);
  const lines = await never.told();
  for (const node of ["coordinator-0", "coordinator-1"])
    assert.ok(lines.includes(`rm digits-${node}`), lines.join("\n"));
  assert.ok(!lines.some((line) => line.includes("--name digits-worker")));
  await assert.rejects(readFile(join(never.state, "start")), { code: "ENOENT" });
});

test("an image that cannot say whether its containers work is refused, and not waited for", async (context) => {
  const { run } = await aCluster(context, 'case "$*" in exec*) exit 127 ;; esac');
  const { succeeded, failure } = await run("scripts/up");
  assert.ok(!succeeded);
  assert.match(
    failure,
    /The image lockstep:local has no program health, .*; deploy\/docker\/build makes .* — exit code 4/,
  );
});

test("down asks the coordinator that answers to stop in order, and --dry-run says so in words that can be typed", async (context) => {
  const { run, told } = await aCluster(
    context,
    'case "$*" in *"--coordinator coordinator-0:7070"*) exit 6 ;; "ps --filter"*) printf "coordinator-0\\ncoordinator-1\\n" ;; esac',
  );
  const dry = await run("scripts/down", "--dry-run");
  assert.ok(dry.succeeded, dry.failure);
  assert.match(dry.output, /^\+ docker run --rm .* lockstep:local stop --coordinator coordinator-0:7070 --tls \/tls$/m);
  const down = await run("scripts/down");
  assert.ok(down.succeeded, down.failure);
  assert.doesNotMatch(down.output, /did not stop in order/);
  assert.deepEqual(
    (await told()).flatMap((line) => / stop --coordinator (\S+)/.exec(line)?.[1] ?? []),
    ["coordinator-0:7070", "coordinator-1:7070"],
  );
});

test("etcd-restore makes all data before it stops a member, and keeps what was there", async (context) => {
  const { folder, run, told } = await aCluster(context, `case "$*" in ${thereAre} esac`);
  const { succeeded, failure } = await run("scripts/etcd-restore", await aBackup(folder));
  assert.ok(succeeded, failure);
  const lines = (await told()).map((line) => /snapshot restore|mv data data\.before|^stop|^start/.exec(line)?.[0]);
  const each = (what: string) => [what, what, what];
  assert.deepEqual(
    lines.filter((what) => what !== undefined),
    [...each("snapshot restore"), ...each("stop"), ...each("mv data data.before"), ...each("start")],
  );
});

test("a backup that is none, or that etcd does not take, stops no member", async (context) => {
  const { folder, run, told } = await aCluster(
    context,
    `case "$*" in ${thereAre} *"snapshot restore"*) exit 1 ;; esac`,
  );
  const wrong = join(folder, "wrong");
  await writeFile(wrong, "no backup of anything, and longer than the hash that one ends with");
  const none = await run("scripts/etcd-restore", wrong);
  assert.match(none.failure, /wrong is no whole backup of etcd, and nothing was done/);
  assert.deepEqual(await told(), []);
  const refused = await run("scripts/etcd-restore", await aBackup(folder));
  assert.match(refused.failure, /could not be made into the data of etcd-0; nothing was changed\./);
  assert.deepEqual(
    (await told()).filter((line) => /^stop|mv data/.test(line)),
    [],
  );
});

test("build makes the folder that images are saved to, and with --dry-run makes and fetches nothing", async (context) => {
  const { folder, run, told } = await aCluster(context, '[ "$1 $2" != "image inspect" ]');
  const images = join(folder, "images");
  const dry = await run("docker/build", "--save", images, "--dry-run");
  assert.ok(dry.succeeded, dry.failure);
  assert.match(
    dry.output,
    /\+ docker pull --quiet node:22-bookworm-slim\n\+ mkdir -p \S+images\n\+ docker build .*Dockerfile /,
  );
  assert.deepEqual(
    (await told()).filter((line) => !/^(info|image inspect)/.test(line)),
    [],
  );
  const built = await run("docker/build", "--save", images);
  assert.ok(built.succeeded, built.failure);
  assert.match(built.output, /Built: lockstep:local lockstep-etcd:local/);
  assert.ok((await told()).includes(`save --output ${images}/lockstep-etcd.tar lockstep-etcd:local`));
});
