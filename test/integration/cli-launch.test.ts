/**
 * A whole cluster from the command line: what it prints, what it leaves, and that its weights are the same bits however
 * training was started, ended and gone on with. The tests build on each other's runs, in their order.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
import type { ClusterStatus } from "../../src/core/status.ts";
import { digitsJob, type Line, type Outcome, useUser } from "../fixtures/cli.ts";
import { startTestEtcd } from "../fixtures/etcd.ts";

const limit = { timeout: 180_000 };
const digest = /^sha256:[0-9a-f]{64}$/;
const theUser = useUser();

interface Checkpoint {
  readonly epoch: number;
  readonly step: number;
  readonly monitor: string;
  readonly value: number;
  readonly path: string;
}

/** The last line of `launch --json`, as the documentation has it. */
interface Finished {
  readonly event: "finished";
  readonly job: string;
  readonly epochs: number;
  readonly steps: number;
  readonly weightsDigest: string;
  readonly best: Checkpoint;
  readonly latest: Checkpoint;
  readonly history: readonly Readonly<Record<string, number>>[];
  readonly test: Readonly<Record<string, number>>;
  readonly testLatest: Readonly<Record<string, number>>;
  readonly generations: number;
}

const launch = (job: string, directory: string, ...more: string[]) =>
  ["launch", job, "--workers", "3", "--json", "--directory", theUser().at(directory), ...more] as const;

/** The JSON lines of a launch that went well; anything else on standard output fails here. */
function linesOf({ code, stdout, stderr }: Outcome): Line[] {
  assert.equal(code, 0, stderr);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

function resultOf(outcome: Outcome): Finished {
  const last = linesOf(outcome).at(-1);
  assert.equal(last?.event, "finished");
  // Its fields are compared, one by one, where the first result is looked at.
  return last as unknown as Finished;
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Every file of a folder with its size and the time of its last change. */
async function stateOf(folder: string): Promise<Record<string, string>> {
  const names = (await readdir(folder, { recursive: true })).sort();
  const states = names.map(async (name) => {
    const { size, mtimeMs } = await stat(path.join(folder, name));
    return [name, `${size} bytes, ${mtimeMs}`];
  });
  return Object.fromEntries(await Promise.all(states));
}

async function assertNothingRuns(): Promise<void> {
  // Every port that was open belonged to one of these processes.
  assert.deepEqual(await theUser().processes(), []);
  assert.deepEqual(await theUser().leftovers(), []);
}

/** The undisturbed runs, of two epochs and of three. */
let two: Finished;
let three: Finished;

test("a launch of three workers prints nothing but JSON lines, and the result as the last one", limit, async () => {
  const outcome = await theUser().run(...launch(digitsJob, "run", "--epochs", "2"));
  const lines = linesOf(outcome);
  two = resultOf(outcome);
  const fields = [
    "event",
    "job",
    "epochs",
    "steps",
    "weightsDigest",
    "best",
    "latest",
    "history",
    "test",
    "testLatest",
    "generations",
  ];
  assert.deepEqual(Object.keys(two).sort(), fields.sort());
  assert.equal(lines.filter(({ event }) => event === "finished").length, 1);
  assert.deepEqual(
    lines.filter(({ event }) => event === "epoch").map(({ epoch }) => epoch),
    [1, 2],
  );
  assert.equal(two.job, "digits");
  assert.equal(two.epochs, 2);
  assert.equal(two.steps, two.latest.step);
  assert.match(two.weightsDigest, digest);
  assert.ok(Number.isInteger(two.generations) && two.generations >= 1);
  for (const checkpoint of [two.best, two.latest]) {
    assert.deepEqual(Object.keys(checkpoint).sort(), ["epoch", "monitor", "path", "step", "value"]);
    assert.equal(checkpoint.monitor, "val_accuracy");
    assert.equal(checkpoint.value, two.history[checkpoint.epoch - 1]?.val_accuracy);
  }
  assert.equal(two.latest.epoch, 2);
  assert.equal(two.best.value, Math.max(...two.history.map(({ val_accuracy }) => val_accuracy!)));
  for (const metrics of [two.test, two.testLatest]) assert.deepEqual(Object.keys(metrics).sort(), ["accuracy", "loss"]);
  const [first, second] = two.history;
  // Committed state and nothing else: no times, no rates.
  for (const epoch of two.history) {
    assert.deepEqual(Object.keys(epoch).sort(), ["accuracy", "epoch", "loss", "val_accuracy", "val_loss"]);
  }
  assert.deepEqual([first?.epoch, second?.epoch, two.history.length], [1, 2, 2]);
  assert.ok(second!.loss! < first!.loss!, "it learns");
});

test("after the end the run's files are there, whole, and nothing runs any more", limit, async () => {
  await assertNothingRuns();
  const run = theUser().at("run", "run-1");
  assert.deepEqual((await readdir(run)).sort(), ["checkpoints", "curve.svg"]);
  assert.match(await readFile(path.join(run, "curve.svg"), "utf8"), /^<svg[\s\S]*<\/svg>\s*$/);
  const checkpoints = await readdir(path.join(run, "checkpoints"));
  for (const { path: named } of [two.best, two.latest]) assert.ok(checkpoints.includes(path.basename(named)), named);
  for (const id of checkpoints) {
    const folder = path.join(run, "checkpoints", id);
    const manifest = JSON.parse(await readFile(path.join(folder, "manifest.json"), "utf8"));
    const names = manifest.files.map(({ name }: { name: string }) => name);
    assert.deepEqual((await readdir(folder)).sort(), [...names, "manifest.json"].sort());
    for (const { name, sizeBytes, sha256: expected } of manifest.files) {
      const bytes = await readFile(path.join(folder, name));
      assert.deepEqual([bytes.byteLength, sha256(bytes)], [sizeBytes, expected], `${id}/${name}`);
    }
  }
  const status = await theUser().run("status", "--json");
  assert.deepEqual([status.code, status.stdout], [exitCodes.usage, ""], status.stderr);
});

test("weightsDigest is SHA-256 over the weights' little-endian bytes in the model's order", limit, async () => {
  const bytes = await readFile(path.join(two.latest.path, "weights.safetensors"));
  const headerEnd = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, headerEnd)) as Record<
    string,
    { data_offsets?: [number, number] }
  >;
  const { __metadata__: _words, ...tensors } = header;
  // A model lists a layer's kernel before its bias, layer after layer.
  const order = Object.keys(tensors);
  const layers = order.filter((_, i) => i % 2 === 0).map((name) => name.replace(/\/kernel$/, ""));
  assert.deepEqual(
    order,
    layers.flatMap((layer) => [`${layer}/kernel`, `${layer}/bias`]),
  );
  const data = order.map((name) =>
    bytes.subarray(headerEnd + tensors[name]!.data_offsets![0], headerEnd + tensors[name]!.data_offsets![1]),
  );
  assert.equal(`sha256:${sha256(Buffer.concat(data))}`, two.weightsDigest);
});

test(
  "a coordinator and three workers started by hand train the same weights, and end by themselves",
  limit,
  async () => {
    const user = theUser();
    const etcd = await startTestEtcd();
    try {
      const where = [digitsJob, "--etcd", etcd.endpoint];
      const coordinator = user.start("coordinator", ...where, "--workers", "3", "--epochs", "2");
      const { address } = await coordinator.whenLine("it serves", ({ message }) => message === "serving");
      const workers = [0, 1, 2].map((i) =>
        user.start(
          "worker",
          ...where,
          "--name",
          `hand-${i}`,
          "--listen",
          "127.0.0.1:0",
          "--checkpoints",
          user.at("hand"),
        ),
      );
      for (const worker of workers) {
        const { code, stderr } = await worker.exited;
        assert.equal(code, 0, stderr);
      }
      const outcome = await user.run("status", "--coordinator", String(address), "--json");
      const status = JSON.parse(outcome.stdout) as ClusterStatus;
      assert.equal(status.state, "finished");
      assert.equal(status.latest?.weightsDigest, two.weightsDigest);
      assert.deepEqual(
        status.history.map(({ epoch, metrics }) => ({ epoch, ...metrics })),
        two.history,
      );
      coordinator.kill("SIGTERM");
      assert.equal((await coordinator.exited).code, 0);
    } finally {
      await etcd.stop();
    }
    await assertNothingRuns();
  },
);

test("a job that is finished prints its result again, names --epochs, and trains nothing", limit, async () => {
  const outcome = await theUser().run(...launch(digitsJob, "run", "--epochs", "2"));
  assert.deepEqual(resultOf(outcome), two);
  assert.match(outcome.stderr, /--epochs/);
  const trained = linesOf(outcome).filter(({ state }) => state === "training" || state === "forming");
  assert.deepEqual(trained, []);
});

test("a higher --epochs goes on from where the run ended, with fewer workers too", limit, async () => {
  three = resultOf(await theUser().run(...launch(digitsJob, "run", "--epochs", "3", "--workers", "1")));
  assert.equal(three.epochs, 3);
  assert.deepEqual(three.history.slice(0, 2), two.history);
  assert.notEqual(three.weightsDigest, two.weightsDigest);
  assert.deepEqual(
    (await readdir(theUser().at("run"))).filter((name) => name.startsWith("run-")),
    ["run-1"],
  );
});

test(
  "--resume never makes run-2 beside run-1, whose files stay; uninterrupted, it comes to the same bits",
  limit,
  async () => {
    const before = await stateOf(theUser().at("run", "run-1"));
    const anew = resultOf(await theUser().run(...launch(digitsJob, "run", "--epochs", "3", "--resume", "never")));
    assert.equal(anew.weightsDigest, three.weightsDigest);
    assert.deepEqual(anew.history, three.history);
    assert.deepEqual(anew.test, three.test);
    assert.ok(anew.latest.path.startsWith(theUser().at("run", "run-2")), anew.latest.path);
    assert.deepEqual(await stateOf(theUser().at("run", "run-1")), before);
    assert.deepEqual((await readdir(theUser().at("run"))).sort(), ["etcd", "logs", "run-1", "run-2"]);
  },
);

test(
  "what would change the bits is refused with its name, goes on with --allow-change, and is told from then on",
  limit,
  async () => {
    const user = theUser();
    const source = await readFile(digitsJob, "utf8");
    const [, batchSize] = /batchSize: (\d+)/.exec(source) ?? [];
    const halved = String(Number(batchSize) / 2);
    const changed = await user.write("changed.ts", source.replace(`batchSize: ${batchSize}`, `batchSize: ${halved}`));
    const more = ["--data", path.dirname(digitsJob), "--epochs", "4", "--workers", "1"];
    const before = await stateOf(user.at("run", "run-2"));
    const refused = await user.run(...launch(changed, "run", ...more));
    assert.equal(refused.code, exitCodes.incompatible, refused.stderr);
    assert.ok(refused.stderr.includes(`job.batchSize was ${batchSize} and is ${halved}`), refused.stderr);
    assert.match(refused.stderr, /--allow-change/);
    const crowded = await user.run(...launch(digitsJob, "run", "--workers", "4"));
    assert.equal(crowded.code, exitCodes.usage, crowded.stderr);
    assert.match(crowded.stderr, /4 workers cannot share 3 shards/);
    await assertNothingRuns();
    assert.deepEqual(await stateOf(user.at("run", "run-2")), before);

    const outcome = await user.run(...launch(changed, "run", ...more, "--allow-change"));
    const allowed = resultOf(outcome);
    assert.match(outcome.stderr, /equivalent, not bit-exact/);
    assert.deepEqual(allowed.history.slice(0, 3), three.history);
    const stepsPerEpoch = three.steps / 3;
    assert.ok(allowed.steps - three.steps > stepsPerEpoch * 1.5, "the fourth epoch took the smaller batches");
    await assertNothingRuns();
  },
);

test(
  "status tells of three workers and one leader; a second launch is refused; Ctrl-C ends everything in order",
  limit,
  async () => {
    const user = theUser();
    const args = launch(digitsJob, "busy", "--job", "busy", "--epochs", "100000");
    const first = user.start(...args);
    await first.whenLine("its first epoch", ({ event }) => event === "epoch");

    let status: ClusterStatus;
    do {
      const { stdout, stderr } = await user.run("status", "--json");
      assert.ok(stdout.startsWith("{"), stderr);
      status = JSON.parse(stdout) as ClusterStatus;
      // On a machine under load a generation may just be forming.
    } while (status.processes.filter(({ rank }) => rank !== null).length < 3);
    assert.equal(status.job, "busy");
    assert.equal(status.state, "training");
    for (const field of ["generation", "epoch", "step"] as const)
      assert.ok(Number.isInteger(status[field]) && status[field] >= 1, field);
    for (const entry of status.processes) {
      for (const field of ["role", "workerId", "rank", "pid", "address", "epoch", "step", "lease"])
        assert.ok(field in entry, field);
    }
    const roles = status.processes.map(({ role }) => role).sort();
    assert.deepEqual(roles, ["coordinator", "etcd", "launch", "worker", "worker", "worker"]);
    const alive = await user.processes();
    for (const { role, pid } of status.processes)
      assert.ok(
        alive.some((entry) => entry.startsWith(`${pid} `)),
        `${role} ${pid} lives`,
      );
    const workers = status.processes.filter(({ role }) => role === "worker");
    assert.deepEqual(workers.map(({ rank }) => rank).sort(), [0, 1, 2]);
    assert.deepEqual(
      workers.map(({ lease }) => lease),
      ["held", "held", "held"],
    );
    assert.equal(workers.filter(({ leader }) => leader).length, 1);
    assert.equal(new Set(workers.map(({ workerId }) => workerId)).size, 3);

    const second = await user.run(...args);
    assert.deepEqual([second.code, second.stdout], [exitCodes["job-running"], ""], second.stderr);
    assert.ok(second.stderr.includes('"busy"') && second.stderr.includes(String(first.pid)), second.stderr);

    first.kill("SIGINT");
    const { code, stdout, stderr } = await first.exited;
    assert.equal(code, exitCodes.interrupted, stderr);
    assert.match(stderr, /Stopped: step \d+ is saved/);
    assert.doesNotMatch(stdout, /"event":"finished"/);
    await assertNothingRuns();
    const checkpoints = await readdir(user.at("busy", "run-1", "checkpoints"));
    assert.ok(
      checkpoints.length > 0 && checkpoints.every((name) => name.startsWith("busy-1-step-")),
      checkpoints.join(" "),
    );
  },
);
