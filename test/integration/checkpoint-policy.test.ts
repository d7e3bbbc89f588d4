/** What a job's `checkpoint` does to a run of real processes: where it ends, and what it leaves. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { exitCodes } from "../../src/core/errors.ts";
import type { ClusterStatus } from "../../src/core/status.ts";
import { type Line, type Outcome, useUser } from "../fixtures/cli.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";

const limit = { timeout: 240_000 };
const theUser = useUser();

/** The small job with another `checkpoint`. */
function jobWith(checkpoint: string, epochs: number): string {
  return smallJob().replace("  epochs: 2,", `  epochs: ${epochs},\n  checkpoint: ${checkpoint},`);
}

function finished({ code, stdout, stderr }: Outcome): Line {
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout.trimEnd().split("\n").at(-1)!) as Line;
}

test(
  "a run stops early after the same epoch, with the same bits, for every number of workers, and is then over",
  limit,
  async () => {
    const user = theUser();
    await user.write("small.csv", smallData(60));
    // No loss of this job ever falls by so much.
    const job = await user.write("early.ts", jobWith("{ earlyStopping: { patience: 2, minDelta: 100 } }", 9));
    const launch = (...args: string[]) => user.run("launch", job, "--data", user.folder, "--json", ...args);
    const [one, two] = [
      finished(await launch("--job", "early-one", "--workers", "1", "--shards", "2")),
      finished(await launch("--job", "early-two", "--workers", "2")),
    ];
    const why = "stopped early after epoch 3: val_loss has not improved by more than 100 since epoch 1";
    assert.deepEqual([one.early, one.epochs], [why, 3]);
    assert.deepEqual([two.early, two.epochs, two.weightsDigest, two.history], [why, 3, one.weightsDigest, one.history]);
    const told = (await linesOf("early-one", "coordinator")).find(({ message }) => message === "the job is finished");
    assert.deepEqual([told?.level, told?.reason], ["info", why], "the coordinator's log says why it is over");
    const again = await launch("--job", "early-one", "--workers", "1", "--epochs", "20");
    assert.deepEqual([finished(again).steps, finished(again).early], [one.steps, why], "it trains no more");
    assert.match(again.stderr, /is finished: stopped early after epoch 3/);
    // With another rule it goes on from there.
    await user.write("early.ts", jobWith("{ earlyStopping: { patience: 3, minDelta: 100 } }", 9));
    const longer = finished(await launch("--job", "early-one", "--workers", "1"));
    assert.equal(longer.early, "stopped early after epoch 4: val_loss has not improved by more than 100 since epoch 1");
  },
);

test("a monitored metric that cannot exist ends the launch before anything is started", limit, async () => {
  const user = theUser();
  const job = await user.write("absent.ts", jobWith('{ monitor: "val_f1" }', 2));
  const { code, stderr } = await user.run("launch", job, "--data", user.folder, "--json");
  assert.equal(code, exitCodes["invalid-job"], stderr);
  assert.match(stderr, /checkpoint\.monitor is \\?"val_f1\\?"; expected something that this job computes/);
});

test(
  "what is killed as a whole between two epochs goes on from the last save by steps, to the same bits",
  limit,
  async () => {
    const user = theUser();
    await user.write("many.csv", smallData(1600));
    const text = jobWith("{ saveFreq: { steps: 40 } }", 2).replace("small.csv", "many.csv");
    const job = await user.write("steps.ts", text);
    const words = (name: string) => ["launch", job, "--data", user.folder, "--json", "--job", name, "--shards", "2"];
    const whole = finished(await user.run(...words("whole"), "--workers", "1"));

    const first = user.start(...words("killed"), "--workers", "2");
    const saved = await savedInMidEpoch("killed");
    const pids = saved.processes.flatMap(({ pid }) => (pid === null ? [] : [pid]));
    first.kill("SIGKILL");
    for (const pid of pids) process.kill(pid, "SIGKILL");
    await first.exited;
    while ((await user.processes()).length > 0) await systemClock.sleep(20);

    const second = await user.run(...words("killed"), "--workers", "1");
    const { weightsDigest, history, steps } = finished(second);
    assert.deepEqual([weightsDigest, history, steps], [whole.weightsDigest, whole.history, whole.steps]);
    const lines = await linesOf("killed", "worker-0");
    const taken = Number(lines.findLast(({ message }) => message === "took the state")?.step);
    assert.ok(taken >= saved.latest!.step, `it began at step ${taken}`);
    assert.notEqual(taken % 320, 0, "in the middle of an epoch");
  },
);

/** What a process of a launched job has logged. */
async function linesOf(job: string, process: string): Promise<readonly Line[]> {
  const log = await readFile(theUser().at("runs", job, "logs", `${process}.log`), "utf8");
  return log
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

/** The status once `latest` is a state in the middle of an epoch. */
async function savedInMidEpoch(job: string): Promise<ClusterStatus> {
  for (;;) {
    const { code, stdout } = await theUser().run("status", "--json", "--job", job);
    const status = code === 0 ? (JSON.parse(stdout) as ClusterStatus) : null;
    if (status?.latest && status.latest.stepInEpoch > 0) return status;
  }
}
