/** Who is let in (promise 7): strangers to a running cluster, and a cluster that starts again with something changed. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { connectControl } from "../../src/adapters/grpc/control.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import type { RegisteredRun } from "../../src/adapters/system/run-registry.ts";
import { exitCodes } from "../../src/core/errors.ts";
import { keysOf } from "../../src/core/keys.ts";
import type { EpochRecord } from "../../src/core/records.ts";
import type { CheckpointPointer, ClusterStatus } from "../../src/core/status.ts";
import { type Command, digitsJob, type Line, type Outcome, useUser } from "../fixtures/cli.ts";
import { useEtcd } from "../fixtures/etcd.ts";

const limit = { timeout: 240_000 };
const theUser = useUser();
const etcd = useEtcd();
const digits = readFileSync(digitsJob, "utf8").replace("seed: 7", "seed: SEED");
const data = digitsJob.replace(/digits\.ts$/, "data");

/** A job file with an import of its own, in a folder of its own; returns its path. */
async function jobIn(folder: string, text: string, seedModule = "export const SEED = 7;\n"): Promise<string> {
  await mkdir(theUser().at(folder), { recursive: true });
  await writeFile(theUser().at(folder, "seed.ts"), seedModule);
  return theUser().write(path.join(folder, "job.ts"), `import { SEED } from "./seed.ts";\n${text}`);
}

/** A copy of the data that lacks its last row; returns the folder. */
async function lessData(): Promise<string> {
  const folder = theUser().at("less-data");
  await cp(data, folder, { recursive: true });
  const rows = readFileSync(path.join(data, "optdigits.tra"), "utf8").trimEnd().split("\n");
  await writeFile(path.join(folder, "optdigits.tra"), `${rows.slice(0, -1).join("\n")}\n`);
  return folder;
}

/** Asked of the coordinator itself: a command takes longer to start than a small job to finish. */
async function statusOf(job: string): Promise<ClusterStatus> {
  const control = connectControl((await registered(job)).coordinator, 10_000, null);
  try {
    return await control.status();
  } finally {
    control.close();
  }
}

async function registered(job: string): Promise<RegisteredRun> {
  const file = theUser().at("home", "state", "lockstep", "jobs", `${job}.json`);
  return JSON.parse(await readFile(file, "utf8")) as RegisteredRun; // written by registerRun
}

/** Resolves when the condition holds; fails when the command ends before that. */
async function until(condition: () => Promise<boolean>, command: Command): Promise<void> {
  let end: Outcome | null = null;
  void command.exited.then((outcome) => {
    end = outcome;
  });
  while (!(await condition())) {
    assert.equal(end, null, "the command ended before that");
    await systemClock.sleep(20);
  }
}

test(
  "a worker that would train something else is refused with the field named; the cluster goes on",
  limit,
  async () => {
    const user = theUser();
    const job = await jobIn("original", digits);
    const cluster = user.start(
      ...["launch", job, "--json", "--job", "door", "--directory", user.at("run"), "--data", data],
      ...["--workers", "1", "--shards", "4", "--epochs", "100000"],
    );
    await cluster.whenLine("its first epoch", ({ event }) => event === "epoch");
    const { etcd } = await registered("door");
    const worker = (file: string, ...more: string[]): Command =>
      user.start(
        ...["worker", file, "--job", "door", "--etcd", etcd.join(), "--data", data],
        ...["--checkpoints", user.at("run", "run-1", "checkpoints"), ...more],
      );
    const scaled = digits.replace("scale(1 / 16)", "scale(1 / 8)");
    const wider = digits.replace("units: 256", "units: 128");
    const before = await statusOf("door");
    const strangers: [field: string, stranger: Command][] = [
      ["job.seed", worker(await jobIn("seed", digits, "export const SEED = 8;\n"))],
      ["job.batchSize", worker(await jobIn("batch", digits.replace("batchSize: 128", "batchSize: 64")))],
      ["job.graph", worker(await jobIn("graph", wider))],
      ["data.preprocessing", worker(await jobIn("preprocessing", scaled))],
      ["data.digest", worker(job, "--data", await lessData())],
      ["engine.kind", worker(job, "--engine", "wasm")],
      ["source.job", worker(await jobIn("text", `${digits}// One remark more.\n`))],
      ["source.job", worker(await jobIn("import", digits, "export const SEED = 3 + 4;\n"))],
    ];
    for (const [field, stranger] of strangers) {
      const { code, stderr } = await stranger.exited;
      assert.equal(code, exitCodes.incompatible, `${field}: ${stderr}`);
      assert.match(stderr, new RegExp(`lockstep: .*${field.replace(".", "\\.")} is .+ here and .+ in the cluster`));
    }
    const after = await statusOf("door");
    assert.equal(after.generation, before.generation, "nobody was let in, and the membership did not change");
    assert.ok(after.step > before.step, "the cluster went on meanwhile");
    // The one who fits is let in.
    const friend = worker(job);
    const ranks = ({ processes }: ClusterStatus) => processes.filter(({ rank }) => rank !== null).length;
    await until(async () => ranks(await statusOf("door")) === 2, friend);
    cluster.kill("SIGINT");
    assert.equal((await cluster.exited).code, exitCodes.interrupted);
    assert.equal((await friend.exited).code, 0);
  },
);

const finished = ({ code, stdout, stderr }: Outcome): Line => {
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout.trim().split("\n").at(-1)!) as Line;
};

/** More than a killed cluster gets to, before it is killed. */
const epochs = 8;
const launch = (name: string, job: string, ...more: string[]) => [
  ...["launch", job, "--json", "--job", name, "--directory", theUser().at(name)],
  ...["--workers", "2", "--epochs", String(epochs), "--data", data, ...more],
];

/** Starts a cluster and kills all of its processes at once, while it trains. */
async function launchAndKill(name: string, job: string, ...more: string[]): Promise<void> {
  const cluster = theUser().start(...launch(name, job, ...more));
  await cluster.whenLine("its first epoch", ({ event }) => event === "epoch");
  const { processes } = await statusOf(name);
  assert.deepEqual(processes.filter(({ role }) => role === "worker").length, 2);
  // The launch first: it would start the others again.
  for (const pid of [cluster.pid, ...processes.map((one) => one.pid!)]) process.kill(pid, "SIGKILL");
  assert.equal((await cluster.exited).code, null);
}

test(
  "a cluster that was killed as a whole may start again at once with another text of the same meaning",
  limit,
  async () => {
    const job = await jobIn("text-before", digits);
    const calm = finished(await theUser().run(...launch("calm", job)));
    const inEtcd = ["--etcd", etcd().endpoint];
    await launchAndKill("text", job, ...inEtcd);
    // The dead members' leases are made to last until a new member is there, however long that takes.
    const client = etcd().connect();
    const { members } = keysOf("text", 1);
    const listed = async () => (await client.list(members)).entries;
    const dead = await listed();
    assert.equal(dead.length, 2);
    const lease = await client.grantLease(5000);
    await client.transact(
      [],
      dead.map(({ key, value }) => ({ kind: "put", key, value, lease })),
    );
    const other = await jobIn("text-after", `${digits}// One remark more.\n`, "export const SEED = 3 + 4;\n");
    const next = theUser().start(...launch("text", other, ...inEtcd));
    await until(async () => (await listed()).length === 4, next);
    await until(async () => (await statusOf("text")).reason.includes("does not fit"), next);
    await lease.revoke();
    const result = finished(await next.exited);
    assert.deepEqual([result.exactness, result.weightsDigest], ["bit-exact", calm.weightsDigest]);
    assert.deepEqual(result.history, calm.history);
  },
);

test("with other data it may not, unless that is allowed; then the run is equivalent", limit, async () => {
  const job = await jobIn("data", digits);
  const inEtcd = ["--etcd", etcd().endpoint];
  await launchAndKill("data", job, ...inEtcd);
  // An epoch that was committed, and whose state has died before it was published.
  const client = etcd().connect();
  const runKeys = keysOf("data", 1);
  const { epoch } = JSON.parse((await client.get(runKeys.latest))!.value) as CheckpointPointer; // see status.ts
  const known = JSON.parse((await client.get(runKeys.epoch(1, epoch)))!.value) as EpochRecord; // see records.ts
  const lost: EpochRecord = {
    ...known,
    epoch: epoch + 1,
    state: { ...known.state, epoch: epoch + 1, digest: "sha256:lost" },
  };
  await client.transact([], [{ kind: "put", key: runKeys.epoch(1, epoch + 1), value: JSON.stringify(lost) }]);
  const words = launch("data", job, ...inEtcd, "--data", await lessData());
  const refused = await theUser().run(...words);
  assert.equal(refused.code, exitCodes.incompatible, refused.stderr);
  assert.match(refused.stderr, /data\.digest is sha256:\w+… here and sha256:\w+… in the cluster/);
  const result = finished(await theUser().run(...words, "--allow-change"));
  assert.equal(result.exactness, "equivalent");
  assert.match(String(result.equivalences), /^data\.digest was sha256:\w+… and is sha256:\w+…$/);
  const again = JSON.parse((await client.get(runKeys.epoch(1, epoch + 1)))!.value) as EpochRecord;
  assert.notEqual(again.state.digest, lost.state.digest, "what is trained otherwise is agreed on anew");
  const place = ["--job", "data", "--directory", theUser().at("data"), ...inEtcd];
  const ledger = await theUser().run("ledger", job, "--epoch", "1", ...place, "--data", data);
  assert.equal(ledger.code, exitCodes.incompatible, ledger.stderr);
  assert.match(ledger.stderr, /data\.digest was sha256:\w+ in the run and is sha256:\w+ now/);
});
