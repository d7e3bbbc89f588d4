/** The scripts of deploy/ on this machine: what each says of itself, what it refuses, and a cluster from `up` to `down --purge`. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { access, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { exampleJob, testFolder } from "../fixtures/running-launch.ts";

const scripts = fileURLToPath(new URL("../../deploy/scripts", import.meta.url));
const jobWithParameter = `import { csv, defineJob } from "lockstep";
export default defineJob({ units: 4 }, ({ units }) => ({
  name: "mine",
  seed: 7,
  data: csv("rows.csv", { label: "y" }),
  model: (tf, shapes) =>
    tf.sequential({ layers: [tf.layers.dense({ units, inputShape: [...shapes.features] }), tf.layers.dense({ units: 1 })] }),
  compile: { optimizer: { kind: "sgd", learningRate: 0.1 }, loss: "meanSquaredError" },
  batchSize: 8,
  epochs: 1,
}));
`;
const verbs = ["up", "down", "status", "scale", "restart-node", "logs", "gen-certs", "etcd-backup", "etcd-restore"];

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a script with a home of its own. */
async function scriptsOf(context: TestContext) {
  const folder = await testFolder(context);
  const environment: NodeJS.ProcessEnv = { ...process.env, XDG_STATE_HOME: join(folder, "state") };
  delete environment.LOCKSTEP_TARGET;
  delete environment.LOCKSTEP_CLUSTER;
  const run = (verb: string, ...args: string[]): Promise<Ran> =>
    new Promise((resolve) => {
      execFile(join(scripts, verb), args, { env: environment, cwd: folder }, (error, out, err) =>
        resolve({ code: error ? Number(error.code) : 0, out, err }),
      );
    });
  return { folder, run };
}

test("every verb is there, says what it does, and has nothing beside it", async (context) => {
  const { run } = await scriptsOf(context);
  const files = (await readdir(scripts, { withFileTypes: true })).filter((entry) => entry.isFile());
  assert.deepEqual(
    files
      .map(({ name }) => name)
      .filter((name) => !name.startsWith("."))
      .sort(),
    [...verbs].sort(),
  );
  for (const verb of verbs) {
    const { code, out } = await run(verb, "--help");
    assert.equal(code, 0, verb);
    assert.match(out, new RegExp(`Usage: ${verb} `));
    for (const option of ["--target", "--name", "--dry-run"]) assert.ok(out.includes(option), `${verb} ${option}`);
  }
});

test("wrong words are refused in one sentence, and nothing is begun", async (context) => {
  const { folder, run } = await scriptsOf(context);
  const cases: [string[], number, RegExp][] = [
    [["up"], 2, /The job file is missing/],
    [["up", "--target", "moon", exampleJob], 2, /--target is "moon"; one of local, docker, ssh, k8s was expected/],
    [["up", "--target", "local"], 2, /The job file is missing/],
    [["up", "--target", "local", "nowhere.ts"], 2, /There is no job file nowhere\.ts/],
    [
      ["up", "--target", "local", exampleJob, "--workers", "none"],
      2,
      /--workers is "none"; a number of at least 1, or MIN:MAX/,
    ],
    [
      ["up", "--target", "local", exampleJob, "--workers", "3:2"],
      2,
      /--workers is "3:2"; .*MIN at most MAX, was expected/,
    ],
    [["up", "--target", "local", exampleJob, "--workers", "4", "--shards", "2"], 2, /more than the 2 shards/],
    [
      ["up", "--target", "local", exampleJob, "--image", "lockstep:1"],
      2,
      /--image is for --target docker and k8s, and this is --target local\./,
    ],
    [
      ["up", "--target", "ssh", exampleJob, "--overlay", "cpu"],
      2,
      /--overlay is for --target k8s, and this is --target ssh/,
    ],
    [["up", "--target", "k8s", exampleJob, "--inventory", "hosts"], 2, /--inventory is for --target ssh/],
    [["up", "--target", "local", exampleJob, "--epochs", "few"], 2, /--epochs is "few"/],
    [
      ["up", "--target", "local", exampleJob, "--data", "nowhere"],
      2,
      /--data is "nowhere", and there is no such folder/,
    ],
    [["up", "--target", "local", exampleJob, "--name", "My Job"], 2, /--name is "My Job"/],
    [["up", "--target", "local", exampleJob, "--set"], 2, /--set needs a value/],
    [["up", "--target", "local", exampleJob, "--set", "batchSize"], 2, /--set is "batchSize"; NAME=VALUE was expected/],
    [["up", "--target", "local", exampleJob, "--param", "=3"], 2, /--param is "=3"; NAME=VALUE was expected/],
    [["up", "--target", "local", exampleJob, "--set", "name=a\nb"], 2, /--set has a line break/],
    [["scale", "2", "--set", "batchSize=64"], 2, /There is no option --set/],
    ...["local", "docker", "ssh", "k8s"].flatMap((target): [string[], number, RegExp][] => [
      [["up", "--target", target, exampleJob, "--set", "batchSize=none"], 3, /batchSize is "none"/],
      [
        ["up", "--target", target, exampleJob, "--set", "batchsize=64"],
        3,
        /batchsize is not a field that a job has\. Did you mean "batchSize"/,
      ],
      [["up", "--target", target, exampleJob, "--param", "units=64"], 2, /--param units: the job has no parameter/],
    ]),
    [["up", "--target", "local", exampleJob, "--colour"], 2, /There is no option --colour/],
    [["up", "--target", "local", exampleJob, "--workers"], 2, /--workers needs a value/],
    [["scale", "two", "--target", "local", "--name", "x"], 2, /N is "two"/],
    [["status", "--target", "local", "--name", "x"], 6, /There is no cluster x/],
    [["down"], 6, /There is no cluster yet/],
    [["logs", "--name", "x"], 6, /There is no cluster x; `up` makes one\./],
    [["down", "-f", "--target", "local", "--name", "x"], 2, /There is no option -f\./],
    [["up", "--target", "local", exampleJob, "--workers", ""], 2, /--workers has no value\./],
    [["up", "--target", "local", exampleJob, "--name="], 2, /--name has no value\./],
    [
      ["up", "--target", "local", exampleJob, "--checkpoints", "nowhere"],
      2,
      /--checkpoints is "nowhere", and there is no such folder/,
    ],
    [["gen-certs", "--target", "docker", "--name", "x", "--rotate"], 6, /There is no cluster x/],
    [["gen-certs", "--target", "local", "--name", "x"], 2, /makes its own certificates/],
    [["gen-certs", "--target", "docker", "--name", "x", "--before", "30"], 2, /--before is for --rotate/],
    [["gen-certs", "--target", "docker", "--name", "x", "--rotate", "--before", "soon"], 2, /--before is "soon"/],
    [["gen-certs", "--target", "ssh", "--name", "x"], 2, /--inventory is missing/],
    [["logs", "--target", "local", "--name", "x", "--follow", "--previous"], 2, /--previous is over/],
    [["etcd-backup", "nowhere/backup", "--target", "local", "--name", "x"], 2, /There is no folder nowhere/],
  ];
  for (const [[verb, ...args], code, says] of cases as [[string, ...string[]], number, RegExp][]) {
    const ran = await run(verb, ...args);
    assert.equal(ran.code, code, `${verb} ${args.join(" ")}: ${ran.err}`);
    assert.match(ran.err, says);
    assert.equal(ran.err.trim().split("\n").length, 1, ran.err);
  }
  await assert.rejects(access(join(folder, "state")));
});

test("a dry run prints the commands and leaves nothing", async (context) => {
  const { folder, run } = await scriptsOf(context);
  const { code, out } = await run(
    "up",
    "--target",
    "local",
    exampleJob,
    "--workers",
    "1:2",
    "--epochs",
    "1",
    "--set=batchSize=64",
    "--set",
    "checkpoint.mode=min",
    "--set",
    "batchSize=32",
    "--dry-run",
  );
  assert.equal(code, 0);
  const settings = "--set=batchSize=32 --set=checkpoint.mode=min";
  assert.match(out, new RegExp(`\\+ lockstep check .*digits\\.ts ${settings} --data`));
  assert.match(
    out,
    new RegExp(
      `\\+ lockstep launch .*digits\\.ts --job digits --workers 1:2 --shards 2 .*--tls --epochs 1 ${settings} --resume auto`,
    ),
  );
  await assert.rejects(access(join(folder, "state")));
});

test("what --set and --param said is remembered, and others are for another start, which says what it does with the run", async (context) => {
  const { folder, run } = await scriptsOf(context);
  const state = join(folder, "state/lockstep/clusters/mine");
  await mkdir(state, { recursive: true });
  await writeFile(join(folder, "mine.ts"), jobWithParameter);
  const known = {
    target: "local",
    job: join(folder, "mine.ts"),
    start: "first",
    settings: "--param=units=8\n--set=seed=3",
  };
  for (const [name, text] of Object.entries(known)) await writeFile(join(state, name), `${text}\n`);
  const up = (...words: string[]) => run("up", "--dry-run", ...words);
  const launched = ({ code, out, err }: Ran) => {
    assert.equal(code, 0, err);
    return /lockstep launch .* (--param.*) --resume/.exec(out)?.[1];
  };
  const asBefore = ["--set", "seed=3", "--param", "units=8"];
  assert.equal(launched(await up()), "--param=units=8 --set=seed=3");
  assert.equal(launched(await up(...asBefore)), "--param=units=8 --set=seed=3");
  const other = ["--param", "units=16"];
  const refused = async (code: number, says: RegExp, ...words: string[]) => {
    const ran = await up(...words);
    assert.equal(ran.code, code, ran.err);
    assert.match(ran.err, says);
    assert.equal(ran.err.trim().split("\n").length, 1, ran.err);
    assert.equal(ran.out, "");
  };
  await refused(7, /was started with --param=units=8 --set=seed=3, and one start .* take it down first/, ...other);
  await refused(
    9,
    /cannot go on as before: job\.seed was 3 and is 7; job\.params was .*8.* and is .*16.*give that again.*--allow-change.*--resume never/,
    ...[...other, "--resume", "auto"],
  );
  assert.equal(launched(await up(...other, "--resume", "never")), "--param=units=16");
  assert.equal(launched(await up(...other, "--resume", "auto", "--allow-change")), "--param=units=16");
  await rm(join(state, "start"));
  await refused(9, /cannot go on as before/, ...other);
  assert.equal(
    launched(await up(...asBefore, "--set", "epochs=60")),
    "--param=units=8 --set=epochs=60 --set=seed=3",
    "what does not decide the bits may change",
  );
});

test("a launch that fails leaves no start behind, so that the next one may be told something else", async (context) => {
  const { folder, run } = await scriptsOf(context);
  await mkdir(join(folder, "state/lockstep/clusters/digits"), { recursive: true });
  const backup = await run("etcd-backup", join(folder, "backup.tar"), "--target", "local");
  assert.equal(backup.code, 6, backup.err);
  assert.match(backup.err, /has no etcd yet/);
  const failed = await run("up", "--target", "local", exampleJob, "--workers", "1", "--resume", "nothing-like-it");
  assert.equal(failed.code, 1, failed.err);
  assert.match(failed.err, /The launch has ended; what it said is above/);
  const next = await run("up", "--epochs", "3", "--dry-run");
  assert.equal(next.code, 0, next.err);
  assert.match(next.out, /lockstep launch .*--epochs 3/);
});

test("from up to down --purge, with everything between", async (context) => {
  const { folder, run } = await scriptsOf(context);
  context.after(() => run("down", "--purge"));
  const good = async (verb: string, ...args: string[]): Promise<string> => {
    const { code, out, err } = await run(verb, ...args);
    if (code !== 0) {
      const launch = await readFile(join(folder, "state/lockstep/clusters/digits/launch.log"), "utf8").catch(String);
      assert.fail(`${verb} ${args.join(" ")}: ${err}${out}\nThe launch: ${launch}`);
    }
    return out;
  };
  const up = await good("up", "--target", "local", exampleJob, "--workers", "1:2", "--epochs", "5000");
  assert.match(up, /The cluster digits is up/);
  assert.match(await good("up", exampleJob), /The cluster digits is up/, "again, it changes nothing");
  for (const words of [
    ["--epochs", "6000"],
    ["--resume", "auto"],
    ["--resume", "auto", "--epochs", "6000"],
  ]) {
    const refused = await run("up", ...words);
    assert.equal(refused.code, 7, refused.err);
    assert.match(
      refused.err,
      words.includes("--resume") ? /take it down before it makes a new start/ : /to train to epoch 5000/,
    );
    assert.equal(refused.err.trim().split("\n").length, 1, refused.err);
  }
  assert.equal(await readFile(join(folder, "state/lockstep/clusters/digits/epochs"), "utf8"), "5000\n");
  assert.match(await good("status"), /digits: /);
  assert.equal(JSON.parse(await good("status", "--json")).job, "digits");
  await good("scale", "1");
  assert.match(await good("up", "--workers", "1:2"), /2 workers are there/, "more workers can be asked for again");
  const elsewhere = await run("up", "--data", folder);
  assert.equal(elsewhere.code, 7, elsewhere.err);
  assert.match(elsewhere.err, /was started with the data \S+, and not with \S+: take it down first/);
  const shards = await run("up", "--shards", "5");
  assert.equal(shards.code, 9, shards.err);
  assert.match(shards.err, /--shards is 5, and the run of digits was begun with 2/);
  await good("restart-node", "worker-1");
  assert.match(await good("logs", "worker-1", "--previous"), /ready/);
  assert.match(await good("logs", "coordinator-0"), /coordinator/);
  assert.match((await run("logs", "etcd-0")).err, /on --target local etcd keeps no log/);
  const running = await run("etcd-backup", join(folder, "backup.tar"));
  assert.equal(running.code, 7);
  assert.match(running.err, /take it down first/);
  assert.match(await good("down"), /Stopped: .* Go on with: \S+\/up --name digits\n/);
  assert.match(await good("status"), /is not running/);
  for (const words of [
    ["scale", "2"],
    ["restart-node", "worker-1"],
  ] as [string, string][]) {
    const { code, err } = await run(...words);
    assert.equal(code, 6, err);
    assert.match(err, /The cluster digits is not running; \S+\/up --name digits starts it\./);
  }
  assert.match(await good("etcd-backup", join(folder, "backup.tar")), /backup\.tar: \d+ bytes/);
  const etcd = join(folder, "state/lockstep/clusters/digits/run/etcd");
  const before = await readdir(join(etcd, "member", "wal"));
  await writeFile(join(folder, "cut"), (await readFile(join(folder, "backup.tar"))).subarray(0, 100_000));
  for (const file of ["cut", "state/lockstep/clusters/digits/launch.log"]) {
    const { code, err } = await run("etcd-restore", join(folder, file));
    assert.equal(code, 2, err);
    assert.match(err, /is no whole backup of etcd, and nothing was done/);
  }
  assert.deepEqual(await readdir(join(etcd, "member", "wal")), before, "what is none takes nothing away");
  await good("etcd-restore", join(folder, "backup.tar"));
  assert.deepEqual(await readdir(join(`${etcd}.before`, "member", "wal")), before, "what was there is kept");
  const again = await good("up");
  assert.match(again, /The cluster digits is up/, "it goes on as it was told before");
  await good("down", "--purge");
  await assert.rejects(access(join(folder, "state/lockstep/clusters/digits")));
});
