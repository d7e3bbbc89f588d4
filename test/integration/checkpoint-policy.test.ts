/** What a job's `checkpoint` does to a run of real processes: where it ends, and what it leaves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
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
    const why = "stopped early after epoch 3: val_loss has not improved since epoch 1";
    assert.deepEqual([one.early, one.epochs], [why, 3]);
    assert.deepEqual([two.early, two.epochs, two.weightsDigest, two.history], [why, 3, one.weightsDigest, one.history]);
    const again = await launch("--job", "early-one", "--workers", "1", "--epochs", "20");
    assert.deepEqual([finished(again).steps, finished(again).early], [one.steps, why], "it trains no more");
    assert.match(again.stderr, /is finished: stopped early after epoch 3/);
    // With another rule it goes on from there.
    await user.write("early.ts", jobWith("{ earlyStopping: { patience: 3, minDelta: 100 } }", 9));
    const longer = finished(await launch("--job", "early-one", "--workers", "1"));
    assert.equal(longer.early, "stopped early after epoch 4: val_loss has not improved since epoch 1");
  },
);

test("a monitored metric that cannot exist ends the launch before anything is started", limit, async () => {
  const user = theUser();
  const job = await user.write("absent.ts", jobWith('{ monitor: "val_f1" }', 2));
  const { code, stderr } = await user.run("launch", job, "--data", user.folder, "--json");
  assert.equal(code, exitCodes["invalid-job"], stderr);
  assert.match(stderr, /checkpoint\.monitor is \\?"val_f1\\?"; expected something that this job computes/);
});
