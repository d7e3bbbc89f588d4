/** What an operator asks of a running launch from another terminal. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
import { useUser } from "../fixtures/cli.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";

const limit = { timeout: 240_000 };
const user = useUser();

interface Status {
  readonly processes: readonly { readonly role: string; readonly workerId: string | null; readonly pid: number }[];
}

async function done(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await user().run(...words);
  assert.equal(code, 0, `${words.join(" ")}: ${stderr}`);
  return stdout;
}

async function refused(says: RegExp, ...words: string[]): Promise<void> {
  const { code, stdout, stderr } = await user().run(...words);
  assert.deepEqual([code, stdout], [exitCodes.usage, ""], stderr);
  assert.match(stderr, says);
}

const status = async () => JSON.parse(await done("status", "--json")) as Status;
const workers = async () => {
  const { processes } = await status();
  const there = processes.filter(({ role }) => role === "worker");
  return new Map(there.map(({ workerId, pid }) => [workerId!.replace(/\..*/, ""), pid]));
};

test("workers are added, drained, restarted and taken away; the run is stopped and resumed", limit, async () => {
  await user().write("small.csv", smallData(80));
  const job = await user().write("small.ts", smallJob());
  const words = ["--workers", "2", "--shards", "4", "--json"];
  const launch = user().start("launch", job, ...words, "--epochs", "100000");
  await launch.whenLine("that it trains", ({ event, epoch }) => event === "epoch" && Number(epoch) >= 2);

  assert.match(await done("scale", "3"), /^3 workers are there: generation \d+, training\.$/m);
  assert.deepEqual([...(await workers()).keys()].sort(), ["worker-0", "worker-1", "worker-2"]);
  await refused(/5 workers were asked for; the run takes 1 to 4/, "scale", "5");
  await refused(/is "x"; a whole number/, "scale", "x");

  assert.match(await done("drain", "worker-1"), /^worker-1 has left, and 2 workers go on\./);
  assert.equal((await workers()).has("worker-1"), false);
  await refused(/There is no worker "worker-9"/, "drain", "worker-9");

  assert.match(await done("restart", "worker-1"), /^worker-1 is back, as process \d+\.$/m);
  const before = await workers();
  await done("restart", "worker-0");
  const after = await workers();
  assert.notEqual(after.get("worker-0"), before.get("worker-0"));
  assert.equal(after.get("worker-1"), before.get("worker-1"), "the others are the processes that they were");
  await refused(/There is no worker "worker-9"/, "restart", "worker-9");

  assert.match(await done("scale", "1"), /^1 worker is there: /);
  assert.deepEqual([...(await workers()).keys()], ["worker-0"]);

  assert.match(await done("logs", "--worker", "0", "--previous"), /asked to start again/);
  const lines = (await done("logs", "--json")).trimEnd().split("\n");
  const entries = lines.map((line) => JSON.parse(line) as { process: string; time?: string; message?: string });
  const times = entries.flatMap(({ time }) => time ?? []);
  assert.deepEqual(times, [...times].sort(), "in the order of time");
  assert.deepEqual([...new Set(entries.map((entry) => entry.process))].sort(), [
    ...["coordinator", "worker-0", "worker-1", "worker-2"],
  ]);
  const asked = lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ process, message }) => process === "coordinator" && String(message).startsWith("asked to "))
    .map(({ message, workers: wanted, worker }) => [message, wanted ?? worker]);
  assert.deepEqual(asked, [
    ["asked to scale", 3],
    ["asked to drain a worker", "worker-1"],
    ["asked to restart a worker", "worker-1"],
    ["asked to restart a worker", "worker-0"],
    ["asked to scale", 1],
  ]);
  await refused(/There is no log of worker-7 in /, "logs", "--worker", "7");
  const following = user().start("logs", "--worker", "0", "--follow", "--json");
  await following.whenLine("a new epoch", ({ message }) => message === "committed");

  const stopped = await done("stop");
  assert.match(
    stopped,
    /^Stopped: step \d+ is saved as small-1-step-\S+\. Go on with: npx lockstep resume --job small$/m,
  );
  const { code, stderr } = await launch.exited;
  assert.equal(code, exitCodes.interrupted, stderr);
  assert.match(stderr, /2 → 3 workers.*3 → 1 workers/s);
  assert.equal((await following.exited).code, 0, "who follows ends with the job");
  await refused(/No job is running/, "stop");

  const { checkpoints } = JSON.parse(await done("checkpoints", "list", "--json")) as {
    checkpoints: { epoch: number }[];
  };
  const epochs = String(checkpoints.at(-1)!.epoch + 2);
  assert.match(
    await done("resume", "--epochs", epochs),
    new RegExp(`"event":"finished","job":"small","epochs":${epochs},`),
  );
});

test(
  "a number of workers that is changed back at once is what there is: nobody stays away, none is started twice",
  limit,
  async () => {
    const job = await user().write("back.ts", smallJob().replace('name: "small"', 'name: "back"'));
    await user().write("small.csv", smallData(80));
    const words = ["--directory", user().at("back"), "--json", "--epochs", "100000"];
    const launch = user().start("launch", job, "--workers", "1:2", ...words);
    await launch.whenLine("that it waits for workers, which start", ({ event }) => event === "state");

    // Of the second worker's process, which has no more than begun; and then of one that trains.
    for (const _ of [1, 2]) {
      assert.match(await done("scale", "1"), /^1 worker is there: /);
      assert.match(await done("scale", "2"), /^2 workers are there: /);
      assert.deepEqual([...(await workers()).keys()].sort(), ["worker-0", "worker-1"]);
    }
    const log = await readFile(user().at("back", "logs", "worker-1.log"), "utf8");
    const starts = log.split("\n").filter((line) => line.includes('"message":"process started"'));
    assert.equal(starts.length, 3, log);
    await done("stop");
    const { stderr } = await launch.exited;
    assert.doesNotMatch(stderr, /starting it again/);
  },
);
