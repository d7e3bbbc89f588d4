import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { digitsJob, type Line, useUser } from "../fixtures/cli.ts";

const user = useUser();
const limit = { timeout: 480_000 };
const last = (stdout: string) => JSON.parse(stdout.trim().split("\n").at(-1)!) as Line;

test(
  "promise 1: verify-exact proves a job's exactness through kills, with the faults shown to have happened",
  limit,
  async () => {
    const words = ["--workers", "1,2", "--shards", "3", "--epochs", "4", "--kill", "--json"];
    const { code, stdout, stderr } = await user().run("verify-exact", digitsJob, ...words);
    assert.equal(code, 0, stderr);
    const { run, failed, skipped, digests } = last(stdout);
    assert.deepEqual([run, failed, skipped], [6, 0, 0], stdout);
    assert.equal((digests as string[]).length, 1);
    const lines = stdout.trim().split("\n").slice(0, -1);
    const killed = lines.map((line) => JSON.parse(line) as Line).filter(({ fault }) => fault !== "none");
    assert.ok(killed.every(({ generations }) => Number(generations) > 1));
  },
);

test("verify-exact finds a job that is not a function of its seed, and exits with 1", limit, async () => {
  // Every process builds another first layer, so each run of one worker comes to other weights.
  const source = readFileSync(digitsJob, "utf8").replace(
    'activation: "relu", inputShape: [...shapes.features]',
    "$&, biasInitializer: tf.initializers.constant({ value: process.pid / 1e6 })",
  );
  assert.match(source, /process\.pid/);
  const job = await user().write("impure.ts", source);
  const words = ["--workers", "1,1", "--epochs", "1", "--data", digitsJob.replace(/digits\.ts$/, "data")];
  const { code, stdout } = await user().run("verify-exact", job, ...words);
  assert.equal(code, 1);
  assert.match(stdout, /other weights/);
  assert.match(stdout, /NOT exact: 1 of 2 runs failed or differ/);
});
