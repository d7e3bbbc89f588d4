import assert from "node:assert/strict";
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

test("a job's files tell how its last launch has ended: finished, or failed and why", { timeout: 240_000 }, async () => {
  const { user, job } = await trained();
  const shown = async () => (await (await openFinishedJob(user.at("runs", "small"), null, log)).view()).status;
  assert.equal((await shown()).state, "finished");

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
