import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { keysOf } from "../../src/core/keys.ts";
import { digitsJob, type Line, type Outcome, useUser } from "../fixtures/cli.ts";
import { useEtcd } from "../fixtures/etcd.ts";

const user = useUser();
const etcd = useEtcd();
const limit = { timeout: 240_000 };

function linesOf({ stdout }: Outcome): Line[] {
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

function finished(outcome: Outcome): Line {
  assert.equal(outcome.code, 0, outcome.stderr);
  const last = linesOf(outcome).at(-1)!;
  assert.equal(last.event, "finished");
  return last;
}

const launchDigits = (name: string, ...args: string[]) => [
  ...["launch", digitsJob, "--json", "--job", name, "--directory", user().at(name), "--shards", "3"],
  ...args,
];

/** The result of two undisturbed epochs, with which the other tests compare. */
let two: Line;

test(
  "a launch prints JSON lines, shows three workers while it trains, and leaves nothing but its files",
  limit,
  async () => {
    two = finished(await user().run(...launchDigits("whole", "--workers", "3", "--epochs", "2")));
    assert.deepEqual(Object.keys(two).sort(), [
      ...[
        "best",
        "early",
        "epochs",
        "equivalences",
        "event",
        "exactness",
        "generations",
        "history",
        "job",
        "latest",
        "steps",
        "test",
        "testLatest",
        "weightsDigest",
      ],
    ]);
    assert.match(String(two.weightsDigest), /^sha256:[0-9a-f]{64}$/);
    assert.deepEqual(
      (two.history as Line[]).map((epoch) => Object.keys(epoch)),
      Array(2).fill(["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]),
    );
    assert.deepEqual(await user().processes(), []);
    assert.deepEqual(await user().leftovers(), []);
    const { path } = two.best as { path: string };
    assert.deepEqual(readdirSync(path).sort(), [
      "manifest.json",
      "optimizer.safetensors",
      "state.json",
      "weights.safetensors",
    ]);
    assert.match(readFileSync(user().at("whole", "run-1", "curve.svg"), "utf8"), /^<svg[\s\S]*<\/svg>\s*$/);
  },
);

test("each worker's log says what memory it needs, before it is ready", () => {
  const logs = readdirSync(user().at("whole", "logs")).filter((name) => name.startsWith("worker-"));
  assert.equal(logs.length, 3);
  for (const name of logs) {
    const log = readFileSync(user().at("whole", "logs", name), "utf8");
    assert.match(
      log,
      /"Memory: a worker needs [\d.]+ MB and room for .*: [\d.]+ MB in use already, .*"message":"ready"/s,
    );
  }
});

test("a coordinator and three workers started by hand train the same bits", limit, async () => {
  const words = ["--etcd", etcd().endpoint, "--job", "by-hand"];
  const coordinator = user().start(
    ...["coordinator", digitsJob, ...words, "--workers", "3", "--epochs", "2", "--threads", "1"],
  );
  await coordinator.whenLine("that it serves", ({ message }) => message === "serving");
  const workers = ["a", "b", "c"].map((name) =>
    user().start("worker", digitsJob, ...words, "--name", name, "--checkpoints", user().at("by-hand")),
  );
  const outcomes = await Promise.all(workers.map(({ exited }) => exited));
  assert.deepEqual(
    outcomes.map(({ code }) => code),
    [0, 0, 0],
    outcomes.map(({ stderr }) => stderr).join("\n"),
  );
  const client = etcd().connect();
  const latest = await client.get(keysOf("by-hand", 1).latest);
  assert.equal((JSON.parse(latest!.value) as Line).weightsDigest, two.weightsDigest);
  coordinator.kill("SIGTERM");
  assert.equal((await coordinator.exited).code, 0);
});

test(
  "a finished job prints its result again; a higher --epochs trains on to the bits of one long run",
  limit,
  async () => {
    const again = await user().run(...launchDigits("whole", "--workers", "2", "--epochs", "2"));
    assert.deepEqual(finished(again), two);
    assert.match(again.stderr, /is finished: 2 of 2 epochs\. To train on, give a higher --epochs/);
    const on = finished(await user().run(...launchDigits("whole", "--workers", "1", "--epochs", "3")));
    const long = finished(await user().run(...launchDigits("long", "--workers", "2", "--epochs", "3")));
    assert.equal(on.weightsDigest, long.weightsDigest);
    assert.deepEqual(on.history, long.history);
  },
);

test(
  "the ledger of a run that is over tells its samples, and its weights at every boundary and save",
  limit,
  async () => {
    const words = [digitsJob, "--job", "long", "--directory", user().at("long"), "--epoch", "3"];
    const outcome = await user().run("ledger", ...words);
    assert.equal(outcome.code, 0, outcome.stderr);
    const [header, ...lines] = linesOf(outcome);
    assert.deepEqual([header!.job, header!.run, header!.shards, header!.exactness], ["long", 1, 3, "bit-exact"]);
    const used = lines.flatMap((line) => (line.samples as number[] | undefined) ?? []);
    assert.equal(new Set(used).size, used.length);
    const digests = lines.filter((line) => line.event !== undefined);
    assert.deepEqual(
      digests.filter((line) => line.event === "boundary").map(({ epoch }) => epoch),
      [0, 1, 2, 3],
    );
    for (const save of digests.filter((line) => line.event === "save")) {
      const boundary = digests.find((line) => line.event === "boundary" && line.step === save.step);
      assert.equal(save.weightsDigest, boundary?.weightsDigest);
    }
    const changed = await user().write("seed.ts", readFileSync(digitsJob, "utf8").replace("seed: 7", "seed: 8"));
    const data = digitsJob.replace(/digits\.ts$/, "data");
    const refused = await user().run("ledger", changed, ...words.slice(1), "--data", data);
    assert.equal(refused.code, 9);
    assert.match(refused.stderr, /job\.seed was 7 in the run and is 8 now/);
  },
);

test("evaluate takes the best checkpoint of the newest run, unless told otherwise", limit, async () => {
  const { code, stdout, stderr } = await user().run(
    ...["evaluate", digitsJob, "--job", "whole", "--directory", user().at("whole")],
  );
  assert.equal(code, 0, stderr);
  const again = finished(await user().run(...launchDigits("whole", "--workers", "1", "--epochs", "3")));
  const { path } = again.best as { path: string };
  assert.deepEqual((JSON.parse(stdout) as { test: object }).test, { [path.split("/").at(-1)!]: again.test });
});

test("--resume never begins a run beside the old one, which stays", limit, async () => {
  const before = readdirSync(user().at("whole", "run-1", "checkpoints")).sort();
  const anew = finished(
    await user().run(...launchDigits("whole", "--workers", "2", "--epochs", "2", "--resume", "never")),
  );
  assert.equal(anew.weightsDigest, two.weightsDigest);
  assert.ok(existsSync(user().at("whole", "run-2", "checkpoints")));
  assert.deepEqual(readdirSync(user().at("whole", "run-1", "checkpoints")).sort(), before);
});

test("what decides the bits may not change from start to start, unless it is allowed", limit, async () => {
  const source = readFileSync(digitsJob, "utf8");
  const job = await user().write("changed.ts", source.replace(/batchSize: \d+/, "batchSize: 64"));
  const words = [
    "launch",
    job,
    "--json",
    "--job",
    "long",
    "--directory",
    user().at("long"),
    "--workers",
    "1",
    "--epochs",
    "4",
  ];
  words.push("--data", digitsJob.replace(/digits\.ts$/, "data"));
  const refused = await user().run(...words);
  assert.equal(refused.code, 9);
  assert.match(refused.stderr, /job\.batchSize was \d+ and is 64/);
  const allowed = finished(await user().run(...words, "--allow-change"));
  assert.equal(allowed.epochs, 4);
  assert.equal(allowed.exactness, "equivalent");
  assert.match(JSON.stringify(allowed.equivalences), /job\.batchSize was \d+ and is 64/);
  // The checkpoint says so too, and so does every later start.
  const { path } = allowed.latest as { path: string };
  const manifest = JSON.parse(readFileSync(`${path}/manifest.json`, "utf8")) as Line;
  assert.deepEqual(manifest.equivalences, allowed.equivalences);
  assert.equal(finished(await user().run(...words, "--epochs", "5")).exactness, "equivalent");
});
