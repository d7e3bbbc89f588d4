/** What a start may change, and what is left of a change: the checkpoint has to fit, and the ledger stays true. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
import { type Line, type Outcome, useUser } from "../fixtures/cli.ts";
import { smallData, smallJob, widerJob } from "../fixtures/small-job.ts";

const limit = { timeout: 480_000 };
const theUser = useUser();

/** 320 of 400 samples train. */
const trainingSamples = 320;

/** A job file in a folder of its own, with its data in another; returns what names both. */
async function jobIn(folder: string, text: string): Promise<[job: string, ...data: string[]]> {
  const user = theUser();
  await mkdir(user.at(folder), { recursive: true });
  await mkdir(user.at("elsewhere"), { recursive: true });
  await writeFile(user.at("elsewhere", "small.csv"), smallData(400));
  return [await user.write(path.join(folder, "job.ts"), text), "--data", user.at("elsewhere")];
}

const linesOf = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
const finished = ({ code, stdout, stderr }: Outcome): Line => {
  assert.equal(code, 0, stderr);
  return linesOf(stdout).at(-1)!;
};

test(
  "a changed model is refused with what to do; allowed, it is refused if the checkpoint does not fit, and nothing is lost",
  limit,
  async () => {
    const user = theUser();
    const launch = (name: string, job: readonly string[], ...more: string[]) =>
      user.run(
        ...["launch", ...job, "--json", "--job", name, "--directory", user.at(name)],
        ...["--workers", "2", "--shards", "4", ...more],
      );
    const [job, wider] = [await jobIn("job", smallJob()), await jobIn("wider", widerJob)];
    const calm = finished(await launch("calm", job, "--epochs", "3"));
    finished(await launch("changed", job, "--epochs", "1"));

    const refused = await launch("changed", wider, "--epochs", "3");
    assert.equal(refused.code, exitCodes.incompatible, refused.stderr);
    assert.match(refused.stderr, /job\.graph is sha256:\w+… here and sha256:\w+… in the cluster/);
    assert.match(refused.stderr, /--allow-change .*equivalent.*--resume never/);

    // Of the batch size too, which is written down before anything of the model is known.
    const both = await jobIn("both", widerJob.replace("batchSize: 4", "batchSize: 8"));
    for (const other of [wider, both]) {
      const misfit = await launch("changed", other, "--epochs", "3", "--allow-change");
      assert.equal(misfit.code, exitCodes.incompatible, misfit.stderr);
      assert.match(
        misfit.stderr,
        /^lockstep: The checkpoint \S+ has \[6, 8\] for dense_\w+\/kernel, where the job has \[6, 16\]\.\n {2}Undo the change.*\n/m,
      );
      assert.doesNotMatch(misfit.stdout, /"event":"state"/, "no cluster was started");
    }
    const restored = finished(await launch("changed", job, "--epochs", "3"));
    assert.deepEqual([restored.exactness, restored.equivalences], ["bit-exact", []]);
    assert.equal(restored.weightsDigest, calm.weightsDigest);
    assert.deepEqual(restored.history, calm.history);
  },
);

test(
  "after a change of the batch size in an epoch's middle, epochs and the ledger tell the real steps, and mid-epoch saves",
  limit,
  async () => {
    const user = theUser();
    const [small, large] = [await jobIn("small", smallJob()), await jobIn("large", smallJob({ batchSize: 10 }))];
    const place = ["--job", "steps", "--directory", user.at("steps")];
    const launch = (job: readonly string[], ...more: string[]) => [
      ...["launch", ...job, "--json", ...place, "--workers", "2", ...more],
    ];
    // As often as it takes to stop inside an epoch.
    let stopped = 0;
    while (stopped % 80 === 0) {
      const running = user.start(...launch(small, "--epochs", "100000"));
      const epoch = await running.whenLine(
        "another epoch",
        ({ event, step }) => event === "epoch" && Number(step) > stopped,
      );
      assert.equal(Number(epoch.step), 80 * Number(epoch.epoch));
      running.kill("SIGINT");
      const { code, stderr } = await running.exited;
      assert.equal(code, exitCodes.interrupted, stderr);
      stopped = Number(/Stopped: step (\d+) is saved/.exec(stderr)![1]);
      const command = /Go on with: npx lockstep (.*)/.exec(stderr)![1]!;
      assert.deepEqual(command.split(" ").sort(), launch(small, "--epochs", "100000").sort());
    }
    const before = Math.floor(stopped / 80);
    const rest = Math.ceil((trainingSamples - (stopped % 80) * 4) / 10);
    /** The step at which each epoch ends. */
    const ends = [...Array.from({ length: before }, (_, i) => 80 * (i + 1)), stopped + rest, stopped + rest + 32];

    const outcome = await user.run(...launch(large, "--epochs", String(before + 2), "--allow-change"));
    assert.equal(finished(outcome).exactness, "equivalent");
    const epochs = linesOf(outcome.stdout).filter(({ event }) => event === "epoch");
    assert.deepEqual(
      epochs.map(({ epoch, step }) => [epoch, step]),
      ends.map((step, i) => [i + 1, step]),
    );

    const ledger = (...words: string[]) => user.run("ledger", ...large, ...place, ...words);
    const seen: number[][] = [];
    for (const epoch of [1, before, before + 1, before + 2]) {
      const told = await ledger("--epoch", String(epoch));
      assert.equal(told.code, 0, told.stderr);
      const lines = linesOf(told.stdout);
      const steps = lines.filter(({ event }) => event === undefined).map(({ step }) => Number(step));
      assert.deepEqual([Math.min(...steps), Math.max(...steps)], [(ends[epoch - 2] ?? 0) + 1, ends[epoch - 1]]);
      assert.equal(lines[0]!.batchSize, epoch <= before + 1 ? 4 : 10);
      const changes = lines.filter(({ event }) => event === "change").map(({ step, batchSize }) => [step, batchSize]);
      assert.deepEqual(changes, epoch === before + 1 ? [[stopped + 1, 10]] : []);
      const used = lines.flatMap(({ samples, event }) => (event === undefined ? (samples as number[]) : []));
      assert.equal(used.length, trainingSamples);
      assert.equal(new Set(used).size, trainingSamples);
      seen.push([...used].sort((a, b) => a - b));
      const boundaries = lines.filter(({ event }) => event === "boundary").map(({ step }) => step);
      assert.deepEqual(boundaries, [0, ...ends]);
      const save = lines.find(({ event, step }) => event === "save" && step === stopped);
      assert.match(String(save?.weightsDigest), /^sha256:[0-9a-f]{64}$/, "the save in the epoch's middle");
      assert.equal(save?.epoch, before);
    }
    for (const used of seen) assert.deepEqual(used, seen[0]);

    for (const [words, says] of [
      [
        ["--epoch", String(before + 3)],
        new RegExp(`--epoch is ${before + 3}, but run 1 of "steps" has ${before + 2} epochs`),
      ],
      [["--epoch", "1", "--run", "1", "--shards", "2"], /--run and --shards contradict each other/],
    ] as const) {
      const refused = await ledger(...words);
      assert.equal(refused.code, exitCodes.usage, refused.stderr);
      assert.match(refused.stderr, says);
      assert.equal(refused.stdout, "");
    }
  },
);

test("the commands that the summary suggests do what they say, as they are printed", limit, async () => {
  const user = theUser();
  const job = await jobIn("suggested", smallJob());
  const first = await user.run(
    ...["launch", ...job, "--directory", user.at("sug gested"), "--workers", "2", "--epochs", "1"],
  );
  assert.equal(first.code, 0, first.stderr);
  const digest = /^weights (sha256:\w+)$/m.exec(first.stdout)![1]!;
  const suggested = (name: string) => {
    const words = new RegExp(`^  ${name} +npx lockstep (.*)$`, "m").exec(first.stdout)![1]!;
    return words.match(/'[^']*'|\S+/g)!.map((word) => word.replaceAll("'", ""));
  };
  const again = await user.run(...suggested("see this again"));
  assert.equal(again.code, 0, again.stderr);
  assert.ok(again.stdout.includes(digest), "the same result");
  const on = await user.run(...suggested("train on"));
  assert.equal(on.code, 0, on.stderr);
  assert.match(on.stdout, /^small: 2 epochs, 160 steps/m);
});
