/** `--target ssh` without a host: what would be done, what is wrong with an inventory, and that the units are sound. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { findProgram } from "../../src/adapters/system/programs.ts";
import { testFolder } from "../fixtures/running-launch.ts";
import { aBackup } from "./backup.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const threeHosts = `# three hosts
node-a user=ops port=2222 etcd coordinator workers=2
node-b address=10.0.0.2 etcd coordinator workers=2

node-c etcd   # it only votes
`;

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface Operator {
  readonly folder: string;
  /** Where the cluster "digits" is remembered. */
  readonly state: string;
  run(script: string, ...words: string[]): Promise<Outcome>;
  /** Writes a file into the folder, and returns its path. */
  write(name: string, text: string): Promise<string>;
}

async function anOperator(context: TestContext): Promise<Operator> {
  const folder = await testFolder(context);
  const state = path.join(folder, "lockstep", "clusters", "digits");
  const { LOCKSTEP_TARGET: _target, LOCKSTEP_CLUSTER: _cluster, LOCKSTEP_SSH: _ssh, ...others } = process.env;
  const env = { ...others, XDG_STATE_HOME: folder };
  return {
    folder,
    state,
    run: (script, ...words) =>
      new Promise((resolve) => {
        execFile(path.join(root, "deploy", script), words, { cwd: folder, env }, (error, stdout, stderr) => {
          const code = typeof error?.code === "number" ? error.code : error === null ? 0 : -1;
          resolve({ code, stdout, stderr });
        });
      }),
    write: async (name, text) => {
      const file = path.join(folder, name);
      await mkdir(path.dirname(file), { recursive: true });
      await writeFile(file, text);
      return file;
    },
  };
}

/** The plan with what differs from machine to machine named by what it is. */
function plan({ stdout }: Outcome, { state }: Operator): string {
  const names = new Map<string, string>();
  return stdout.replaceAll(state, "STATE").replaceAll(/\b[0-9a-f]{16}\b/g, (id) => {
    const name = names.get(id) ?? ["RELEASE", "JOB", "DATA"][names.size] ?? id;
    names.set(id, name);
    return name;
  });
}

const up = ["scripts/up", "--target", "ssh", path.join(root, "examples/digits.ts"), "--dry-run"] as const;

/** A cluster as `up` leaves it behind, of as many workers. */
async function upBefore(
  { write }: Operator,
  workers: number,
  placement: string,
  inventory = threeHosts,
): Promise<void> {
  const known = {
    target: "ssh",
    job: path.join(root, "examples/digits.ts"),
    data: path.join(root, "examples/data"),
    inventory: await write("inventory", inventory),
    workers: String(workers),
    shards: "4",
    start: "first",
    "ssh-start": "first",
    "ssh-workers": String(workers),
    placement,
    "ssh-run":
      "release=1111111111111111\njob=2222222222222222\nentry=digits.ts\ndata=3333333333333333\nreplicas=1\nresume=auto\nallow=",
  };
  for (const [name, text] of Object.entries(known)) await write(`lockstep/clusters/digits/${name}`, `${text}\n`);
}
const placedBefore = `coordinator-0 node-a
coordinator-1 node-b
etcd-0 node-a
etcd-1 node-b
etcd-2 node-c
worker-0 node-a
worker-1 node-b
worker-2 node-a`;

test("up --dry-run says what would be done on which host, in order, and does nothing", async (context) => {
  const operator = await anOperator(context);
  const inventory = await operator.write("inventory", threeHosts);
  const outcome = await operator.run(...up, "--inventory", inventory, "--workers", "2:3", "--epochs", "5");
  assert.equal(outcome.code, 0, outcome.stderr);
  const lines = plan(outcome, operator)
    .split("\n")
    .filter((line) => line.startsWith("+ node-"));
  assert.equal(`${lines.join("\n")}\n`, readFileSync(path.join(root, "test/deploy/ssh-up.plan.txt"), "utf8"));
  assert.deepEqual(
    (await readdir(operator.folder)).sort(),
    ["inventory"],
    "nothing is written, not even what was asked for",
  );
});

test("--set and --param are tried on the hosts before anything is started, and reach the coordinators word for word", async (context) => {
  const operator = await anOperator(context);
  const inventory = await operator.write("inventory", threeHosts);
  const outcome = await operator.run(...up, "--inventory", inventory, "--set", "batchSize=64", "--set", "seed=3");
  assert.equal(outcome.code, 0, outcome.stderr);
  assert.match(
    plan(outcome, operator),
    /\+ node-b: engine RELEASE JOB\/digits\.ts DATA 3 cpu --set=batchSize=64 --set=seed=3\n/,
  );
  await upBefore(operator, 3, placedBefore);
  const words = [`--param=title=two  words, "quoted" 'twice' $HOME \\ 100%`, "--set=batchSize=64"];
  await operator.write("lockstep/clusters/digits/settings", `${words.join("\n")}\n`);
  // As deploy/scripts/scale comes to the file that the coordinator's unit reads.
  const line = `VERB=scale; SCRIPTS="$1" ROOT="$2" STATE="$3"; . "$1/lib/common.sh"; STATE=$3; . "$1/lib/ssh-settings.sh"
    RUN[allow]=yes; line MORE "$(coordinator_more)"`;
  const [scripts, state] = [path.join(root, "deploy/scripts"), operator.state];
  const said = await new Promise<string>((resolve) => {
    execFile("bash", ["-c", line, path.join(scripts, "scale"), scripts, root, state], (_error, stdout, stderr) =>
      resolve(`${stdout}${stderr}`),
    );
  });
  // A value in a file of variables, and then its words: both are text between quotes, where a backslash stands before what it keeps.
  const unquoted = (text: string) => text.slice(1, -1).replaceAll(/\\(["\\])/g, "$1");
  const value = unquoted(/^MORE=(".*")\n$/.exec(said)?.[1] ?? assert.fail(said));
  const found = Array.from(value.matchAll(/"(?:[^"\\]|\\.)*"|\S+/g), ([word]) =>
    word.startsWith('"') ? unquoted(word) : word,
  );
  assert.deepEqual(found, [...words, "--allow-change"]);
});

test("every other verb says with --dry-run what it would do, and where", async (context) => {
  const operator = await anOperator(context);
  await upBefore(operator, 3, placedBefore);
  const told: string[] = [];
  for (const words of [
    ["scripts/status"],
    ["scripts/status", "--json"],
    ["scripts/scale", "4"],
    ["scripts/scale", "1"],
    ["scripts/restart-node", "worker-1"],
    ["scripts/restart-node", "node-a"],
    ["scripts/logs"],
    ["scripts/logs", "worker-2", "--previous"],
    ["scripts/logs", "etcd-2", "--follow"],
    ["scripts/etcd-backup", "new-backup"],
    ["scripts/gen-certs", "--rotate"],
    ["scripts/down", "--purge"],
  ] as const) {
    const [script, ...rest] = words;
    const outcome = await operator.run(script, ...rest, "--dry-run");
    assert.equal(outcome.code, 0, `${words.join(" ")}: ${outcome.stderr}`);
    const lines = plan(outcome, operator)
      .split("\n")
      .filter((line) => line.startsWith("+ ") && !/^\+ (write STATE\/|lockstep certs )/.test(line));
    told.push(`$ ${words.join(" ")}`, ...lines.map((line) => line.replaceAll(operator.folder, "FOLDER")), "");
  }
  assert.equal(told.join("\n"), readFileSync(path.join(root, "test/deploy/ssh-verbs.plan.txt"), "utf8"));
  assert.equal(existsSync(path.join(operator.folder, "new-backup")), false);
  const none = await operator.run("scripts/etcd-restore", await operator.write("none", "whatever"), "--dry-run");
  assert.equal(none.code, 2);
  assert.match(none.stderr, /none is no whole backup of etcd, and nothing was done/);
  const restored = await operator.run("scripts/etcd-restore", await aBackup(operator.folder), "--dry-run");
  assert.match(
    restored.stdout,
    /etcdutl snapshot restore .*--name etcd-2[\s\S]*\+ node-c: etcd-data\n[\s\S]*start lockstep-etcd/,
  );
});

test("an inventory is checked as a whole, and each mistake is a sentence with its line", async (context) => {
  const operator = await anOperator(context);
  const mistakes: readonly (readonly [text: string, line: number, said: RegExp])[] = [
    ["-oProxyCommand=x etcd", 1, /The host is "-oProxyCommand=x"; a name or an address was expected\./],
    ["node-a workers=1\n\nnode-a etcd", 3, /The host node-a is there a second time/],
    [
      "node-a etcd worker=2",
      1,
      /"worker=2" is not known; user=, port=, address=, etcd, coordinator, workers= or gpus= was/,
    ],
    ["node-a etcd=yes", 1, /"etcd=yes" is not known/],
    ["node-a workers=two", 1, /workers is "two"; a number from 0 to 999 was expected/],
    ["node-a workers=08", 1, /workers is "08"/],
    ["node-a workers=", 1, /workers is ""/],
    ["node-a etcd port=70000", 1, /port is "70000"; a port from 1 to 65535 was expected/],
    ["node-a etcd user=a;b", 1, /user is "a;b"; the name of a user was expected/],
    ["node-a etcd address=$(x)", 1, /address is "\$\(x\)"; a name or an address was expected/],
    ["node-a workers=1 gpus=0,x", 1, /gpus is "0,x"; numbers of GPUs, as 0,1, was expected/],
    ["node-a etcd gpus=0", 1, /node-a has gpus= and no workers that could use them/],
    ["node-a etcd etcd", 1, /etcd is there twice/],
    ["# a comment\nnode-a", 2, /node-a has nothing to do; etcd, coordinator or workers=N was expected/],
    [
      "node-a etcd\nnode-b address=node-a etcd",
      2,
      /The address node-a is that of node-b too|The address node-a is that of node-a too/,
    ],
  ];
  for (const [text, line, said] of mistakes) {
    const inventory = await operator.write("wrong", text);
    const { code, stderr, stdout } = await operator.run(...up, "--inventory", inventory);
    assert.equal(code, 2, text);
    assert.match(stderr, new RegExp(`^${inventory}:${line}: `, "m"), text);
    assert.match(stderr, said, text);
    assert.match(stderr, /nothing was done/, text);
    assert.equal(stdout, "", text);
  }
  const all = await operator.write("wrong", mistakes.map(([text]) => text.replaceAll("\n", " ")).join("\n"));
  const { stderr } = await operator.run(...up, "--inventory", all);
  assert.match(stderr, /The inventory has (\d{2}) mistakes/, "all of them are told at once");
});

test("an inventory whose hosts do not make a cluster is refused", async (context) => {
  const operator = await anOperator(context);
  const wrong: readonly (readonly [text: string, said: RegExp])[] = [
    ["a coordinator workers=1", /0 hosts have etcd; one was expected, or three/],
    ["a etcd coordinator workers=1\nb etcd", /2 hosts have etcd/],
    ["a etcd workers=1", /0 hosts have coordinator; one was expected, or two/],
    ["a etcd coordinator", /no host has room for a worker; workers=N was expected/],
    [
      "a etcd coordinator workers=1\nb workers=1 gpus=0",
      /the workers of b have gpus=, and those of a have not; all or none/,
    ],
  ];
  for (const [text, said] of wrong) {
    const { code, stderr } = await operator.run(...up, "--inventory", await operator.write("wrong", text));
    assert.equal(code, 2, text);
    assert.match(stderr, said, text);
  }
  const missing = await operator.run(...up, "--inventory", "nowhere");
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /There is no inventory nowhere\./);
  const none = await operator.run(...up);
  assert.equal(none.code, 2);
  assert.match(none.stderr, /--inventory is missing/);
});

test("the example of an inventory is a whole one", async (context) => {
  const operator = await anOperator(context);
  const inventory = path.join(root, "deploy/local/inventory.example");
  const { code, stdout, stderr } = await operator.run(...up, "--inventory", inventory, "--workers", "8");
  assert.equal(code, 0, stderr);
  assert.match(stdout, /\+ node-c: settings lockstep-etcd.service lockstep-worker@2.service/);
});

test("what does not fit is refused with a sentence: room, places, nodes, what a job imports", async (context) => {
  const operator = await anOperator(context);
  const inventory = await operator.write("inventory", threeHosts);
  const refused = async (code: number, said: RegExp, ...words: readonly [string, ...string[]]) => {
    const outcome = await operator.run(...words);
    assert.equal(outcome.code, code, `${words.join(" ")}: ${outcome.stderr}`);
    assert.match(outcome.stderr, said);
  };
  const room = /9 workers are more than the hosts have room for \(4\)/;
  await refused(2, room, ...up, "--inventory", inventory, "--workers", "9");
  await refused(2, /a folder's whole path/, ...up, "--inventory", inventory, "--checkpoints", "relative");
  await refused(2, /without spaces/, ...up, "--inventory", inventory, "--checkpoints", "/a b");
  await refused(2, /s3:\/\/BUCKET\/PREFIX was expected/, ...up, "--inventory", inventory, "--checkpoints", "s3://$x");
  const job = await operator.write("job/job.ts", `import left from "left-pad";\nexport default left;\n`);
  await operator.write("job/data/x.csv", "a\n");
  const elsewhere = ["scripts/up", "--target", "ssh", "--dry-run", "--inventory", inventory] as const;
  await refused(3, /imports left-pad, which is not sent to the hosts/, ...elsewhere, job);
  const broken = await operator.write("job/broken.ts", "export default {\n");
  await refused(3, /broken\.ts cannot be read/, ...elsewhere, broken);
  await upBefore(operator, 3, placedBefore);
  await refused(2, room, "scripts/scale", "9", "--dry-run");
  await refused(
    2,
    /There is no node and no host worker-7; there are: .*worker-2 node-a/,
    "scripts/restart-node",
    "worker-7",
  );
  await refused(2, /There is no node worker-3/, "scripts/logs", "worker-3");
  await refused(2, /there is no verb "dance"/, "local/host", "dance");
});

test("a job's own modules go with it, as they lie", async (context) => {
  const operator = await anOperator(context);
  const inventory = await operator.write("inventory", threeHosts);
  await operator.write("lib/sizes.ts", "export const size: number = 3;\n");
  await operator.write("lib/unused.ts", "export const size: number = 4;\n");
  await operator.write("jobs/data/x.csv", "a\n");
  const job = await operator.write("jobs/my job.ts", `import { size } from "../lib/sizes.ts";\nexport default size;\n`);
  const told = await operator.run(
    "scripts/up",
    "--target",
    "ssh",
    "--name",
    "mine",
    "--dry-run",
    "--inventory",
    inventory,
    job,
  );
  assert.equal(told.code, 0, told.stderr);
  assert.match(told.stdout, /\+ node-a: engine \w{16} \w{16}\/jobs\/my job\.ts \w{16} 3 cpu/);
  await operator.write("lib/unused.ts", "export const size: number = 5;\n");
  const again = await operator.run(
    "scripts/up",
    "--target",
    "ssh",
    "--name",
    "mine",
    "--dry-run",
    "--inventory",
    inventory,
    job,
  );
  assert.equal(again.stdout.replaceAll(/\d{8}-\d{6}-\d+/g, ""), told.stdout.replaceAll(/\d{8}-\d{6}-\d+/g, ""));
  await operator.write("lib/sizes.ts", "export const size: number = 6;\n");
  const changed = await operator.run(
    "scripts/up",
    "--target",
    "ssh",
    "--name",
    "mine",
    "--dry-run",
    "--inventory",
    inventory,
    job,
  );
  assert.notEqual(changed.stdout, told.stdout, "what it imports is a part of it");
});

test("certificates may be made before up, and other verbs ask for no option that they have not", async (context) => {
  const operator = await anOperator(context);
  await operator.write("lockstep/clusters/digits/target", "ssh\n");
  const early = await operator.run("scripts/status");
  assert.equal(early.code, 6);
  assert.match(early.stderr, /has no hosts yet; `up --target ssh JOB\.ts --inventory FILE` gives it some/);
  const made = await operator.run("scripts/gen-certs", "--inventory", await operator.write("inventory", threeHosts));
  assert.equal(made.code, 0, made.stderr);
  const status = await operator.run("scripts/status", "--dry-run");
  assert.equal(status.code, 0, status.stderr);
});

test("nodes stay where they were when the inventory grows, and members of etcd cannot move", async (context) => {
  const operator = await anOperator(context);
  const settings = ({ stdout }: Outcome) => stdout.split("\n").filter((line) => line.includes(": settings "));
  await upBefore(operator, 3, placedBefore, threeHosts.replace("# three hosts", "node-new workers=2"));
  const grown = await operator.run("scripts/scale", "5", "--dry-run");
  assert.equal(grown.code, 0, grown.stderr);
  assert.deepEqual(settings(grown), [
    "+ node-new: settings lockstep-worker@3.service lockstep-worker@4.service",
    "+ node-a: settings lockstep-coordinator.service lockstep-etcd.service lockstep-worker@0.service lockstep-worker@2.service",
    "+ node-b: settings lockstep-coordinator.service lockstep-etcd.service lockstep-worker@1.service",
    "+ node-c: settings lockstep-etcd.service",
  ]);
  await upBefore(
    operator,
    3,
    placedBefore,
    threeHosts.replace("node-b address=10.0.0.2 etcd coordinator workers=2", "node-b workers=1\nnode-d etcd workers=2"),
  );
  const moved = await operator.run("scripts/up", "--dry-run");
  assert.equal(moved.code, 2);
  assert.match(
    moved.stderr,
    /etcd-1 is on node-b, which has no etcd in the inventory now; members stay where they began/,
  );
  await upBefore(
    operator,
    3,
    placedBefore,
    threeHosts.replace("node-a user=ops port=2222 etcd coordinator workers=2", "node-a etcd coordinator workers=1"),
  );
  const smaller = await operator.run("scripts/up", "--dry-run");
  assert.equal(smaller.code, 0, smaller.stderr);
  assert.match(smaller.stderr, /worker-2 was on node-a, which has no room for it now/);
  assert.match(smaller.stdout, /\+ node-b: settings .*lockstep-worker@2\.service/);
});

test("the units are sound, and see no more than their own certificates and data", async (context) => {
  const folder = path.join(root, "deploy/local/units");
  const units = (await readdir(folder)).filter((name) => name.endsWith(".service"));
  assert.deepEqual(units.sort(), ["lockstep-coordinator.service", "lockstep-etcd.service", "lockstep-worker@.service"]);
  for (const unit of units) {
    const text = readFileSync(path.join(folder, unit), "utf8");
    const settings = new Map(Array.from(text.matchAll(/^(\w+)=(.*)$/gm), ([, key, value]) => [key!, value!]));
    for (const [key, value] of Object.entries({
      ...{
        Restart: "always",
        StartLimitIntervalSec: "0",
        KillSignal: "SIGTERM",
        User: "lockstep",
        NoNewPrivileges: "yes",
      },
      ...{ ProtectSystem: "strict", PrivateTmp: "yes", CapabilityBoundingSet: "", UMask: "0077" },
      ...{ TemporaryFileSystem: "/etc/lockstep:ro /var/lib/lockstep:ro", WantedBy: "lockstep.target" },
    })) {
      assert.equal(settings.get(key), value, `${unit}: ${key}`);
    }
    assert.match(settings.get("BindReadOnlyPaths")!, /^\/etc\/lockstep\/certs\/(etcd|coordinator|worker-%i)$/, unit);
  }
  const worker = readFileSync(path.join(folder, "lockstep-worker@.service"), "utf8");
  assert.match(worker, /--on-finish wait/);
  assert.match(worker, /^SuccessExitStatus=75$/m);
  if (findProgram("systemd-analyze") === null) {
    context.diagnostic("systemd-analyze is not on PATH: the units' keys were not verified by systemd itself");
    return;
  }
  const files = (await readdir(folder)).map((name) => path.join(folder, name));
  const said = await new Promise<string>((resolve) => {
    execFile("systemd-analyze", ["verify", "--man=no", ...files], (_error, _stdout, stderr) => resolve(stderr));
  });
  // The programs are on hosts only; all else that is said is a mistake in a unit.
  const wrong = said
    .split("\n")
    .filter((line) => /lockstep/.test(line) && !/Command \/opt\/lockstep\/\w+ is not executable/.test(line));
  assert.deepEqual(wrong, []);
});

test("what is done on hosts tells how it is used, and every shell script passes shellcheck", async (context) => {
  const operator = await anOperator(context);
  const help = await operator.run("local/host", "--help");
  assert.equal(help.code, 0);
  assert.match(help.stdout, /Usage: host VERB/);
  const verbs = Array.from(help.stdout.matchAll(/^ {2}([a-z-]+) /gm), ([, verb]) => verb!);
  assert.ok(verbs.length > 10);
  const text = readFileSync(path.join(root, "deploy/local/host"), "utf8");
  for (const verb of verbs) assert.match(text, new RegExp(`^${verb.replace("-", "_")}\\(\\) \\{`, "m"), verb);
  if (findProgram("shellcheck") === null) return context.skip("shellcheck is not on PATH");
  const folders = [".ci", "deploy/docker", "deploy/local", "deploy/scripts", "deploy/scripts/lib"];
  const paths = [...folders, "test/containers", "test/kubernetes"].flatMap((folder) =>
    readdirSync(path.join(root, folder), { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => path.join(root, folder, name))
      .filter((file) => /^(#!.*\bbash|# shellcheck shell=bash)$/m.test(readFileSync(file, "utf8").slice(0, 200))),
  );
  assert.ok(paths.length > 25, paths.join("\n"));
  const said = await new Promise<string>((resolve) => {
    execFile("shellcheck", ["-x", "-P", path.join(root, "deploy/scripts/lib"), ...paths], (_error, stdout) =>
      resolve(stdout),
    );
  });
  assert.equal(said, "");
});
