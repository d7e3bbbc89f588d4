import assert from "node:assert/strict";
import { test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
import type { ClusterStatus } from "../../src/core/status.ts";
import { type Line, useUser } from "../fixtures/cli.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";

const theUser = useUser();
const isTraining = (line: Line) => line.event === "state" && line.state === "training";
const parsed = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);

test("status --watch shows a run without a terminal, a line for each change, and ends with it as it ends", {
  timeout: 240_000,
}, async () => {
  const user = theUser();
  await user.write("small.ts", smallJob());
  await user.write("small.csv", smallData(600));
  const launch = (epochs: string) => user.start("launch", "small.ts", "--workers", "2", "--epochs", epochs, "--json");

  const stopped = launch("500");
  await stopped.whenLine("training", isTraining);
  const [plain, json] = [user.start("status", "--watch"), user.start("status", "--watch", "--json")];
  await json.whenLine("an epoch", ({ event }) => event === "epoch");
  const now = JSON.parse((await user.run("status", "--json")).stdout) as ClusterStatus;
  const { percent, updatedAt } = now.progress;
  assert.ok(
    percent > 0 && percent < 100 && Math.abs(Date.parse(updatedAt!) - Date.now()) < 60_000,
    JSON.stringify(now.progress),
  );
  // A run that is trained is asked by its coordinator, by name or by address.
  const { address } = now.processes.find(({ role }) => role === "coordinator")!;
  for (const words of [["small"], ["--coordinator", address!]]) {
    const { code, stdout, stderr } = await user.run("history", ...words, "--csv");
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout, /^epoch,step,loss,accuracy,val_loss,val_accuracy,best\n1,\d+,[\d.]+,/);
  }
  // Nor is its folder mistaken for what an ended job has left.
  for (const words of [["small"], ["runs/small"], ["runs/small/run-1"]]) {
    const { code, stdout, stderr } = await user.run("dashboard", "--no-open", ...words);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout, /^http:\/\/127\.0\.0\.1:\d+\/\n$/);
  }
  assert.equal((await user.run("stop")).code, 0);
  assert.equal((await stopped.exited).code, exitCodes.interrupted);
  for (const watching of [plain, json]) {
    const { code, stderr } = await watching.exited;
    assert.deepEqual([code, stderr], [exitCodes.interrupted, ""]);
  }
  const { stdout } = await plain.exited;
  assert.ok(!stdout.includes("\u001b"));
  const told = Array.from(stdout.matchAll(/^Epoch +(\d+)\/500 {2}loss /gm), ([, epoch]) => Number(epoch));
  assert.ok(told.length > 0);
  assert.deepEqual(
    told,
    told.map((_, i) => told[0]! + i),
    "each epoch once",
  );
  assert.match(stdout, /\nstopped: .*; \d+ epochs?, [\d,]+ steps; best is epoch \d+, val_loss [\d.e-]+\n$/);

  const enough = String(parsed((await json.exited).stdout).filter(({ event }) => event === "epoch").length + 10);
  const finished = launch(enough);
  await finished.whenLine("training", isTraining);
  const last = user.start("status", "--watch");
  assert.equal((await finished.exited).code, 0);
  const end = await last.exited;
  assert.equal(end.code, 0, end.stderr);
  assert.match(end.stdout, new RegExp(`^finished; ${enough} epochs, .*\\n$`, "m"));
  assert.match(end.stdout, /^Epochs? 1.* of \d+ so far: val_loss /m);
});
