import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { createLog } from "../../src/adapters/system/log.ts";
import { openFinishedJob } from "../../src/cli/dashboard/finished-job.ts";
import { exitCodes } from "../../src/core/errors.ts";
import type { ClusterStatus } from "../../src/core/status.ts";
import type { Line } from "../fixtures/cli.ts";
import { useTrained } from "../fixtures/trained.ts";

const trained = useTrained();
const log = createLog({ stream: process.stderr, format: "text", level: "error" });
const isTraining = (line: Line) => line.event === "state" && line.state === "training";

test("a job's files tell how its last launch has ended: finished, or stopped or failed and why", {
  timeout: 240_000,
}, async () => {
  const { user, job } = await trained();
  const view = async () => (await openFinishedJob(user.at("runs", "small"), null, log)).view();
  const shown = async () => (await view()).status;
  const done = await shown();
  assert.deepEqual([done.state, done.reason], ["finished", "all epochs are trained"]);

  const more = user.start("launch", job, "--workers", "1", "--epochs", "100000", "--json");
  await more.whenLine("training", isTraining);
  assert.equal((await user.run("stop")).code, 0);
  assert.equal((await more.exited).code, exitCodes.interrupted);
  const stopped = await view();
  assert.deepEqual([stopped.status.state, stopped.status.reason], ["stopped", "lockstep stop"]);
  assert.ok(stopped.decisions.items.some(({ message }) => message === "asked to stop"));

  const launch = user.start("launch", job, "--workers", "1", "--epochs", "100000", "--max-restarts", "0", "--json");
  await launch.whenLine("training", isTraining);
  const { processes } = JSON.parse((await user.run("status", "--json")).stdout) as ClusterStatus;
  process.kill(processes.find(({ role }) => role === "worker")!.pid!, "SIGKILL");
  const { code, stderr } = await launch.exited;
  assert.equal(code, exitCodes["process-failed"], stderr);
  const { state, reason } = await shown();
  assert.equal(state, "failed");
  assert.match(reason, /^worker-0 was ended by SIGKILL/);
  assert.ok(stderr.includes(reason), "as the launch has said it");
});

test("the command that a job's files give for a checkpoint finds it and the job file, without a warning", {
  timeout: 240_000,
}, async () => {
  const { user, job } = await trained();
  await user.write("other.ts", readFileSync(job, "utf8").replace('name: "small"', 'name: "other"'));
  // As after a launch with --job: the file has another name.
  const { jobFile, words } = (await (await openFinishedJob(user.at("runs", "small"), null, log)).view()).checkpoints;
  assert.equal(jobFile, user.at("small.ts"));
  const { code, stdout, stderr } = await user.run(
    "checkpoints",
    "export",
    "other.ts",
    "latest",
    "--to",
    "tfjs",
    ...words,
  );
  assert.deepEqual([code, stderr], [0, ""]);
  assert.match(stdout, /model\.json/);
});

test("what the processes of a later run have logged is not told of the run before it", {
  timeout: 240_000,
}, async () => {
  const { user, job } = await trained();
  const told = async (run: number) => {
    const { decisions } = await (await openFinishedJob(user.at("runs", "small"), run, log)).view();
    return decisions.items;
  };
  const before = await told(1);
  const { code, stderr } = await user.run("launch", job, "--resume", "never", "--workers", "1", "--epochs", "1");
  assert.equal(code, 0, stderr);
  assert.deepEqual(await told(1), before);
  const [first] = await told(2);
  assert.equal(first?.message, "process started", "although it did not know its run yet");
});
