/** What a start finds in etcd: what the run was last trained with, and why it cannot go on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { createLog } from "../../src/adapters/system/log.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import { type Done, isFor } from "../../src/core/records.ts";
import { clusterStatus } from "../../src/runtime/cluster-status.ts";
import { openRun, type RunRequest } from "../../src/runtime/open-run.ts";
import { readRun } from "../../src/runtime/run-reading.ts";
import { ruleOf } from "../fixtures/checkpoint-rule.ts";

const log = createLog({ stream: process.stderr, format: "text", level: "error" });
const keys = keysOf("one", 1);
const request: RunRequest = {
  ...{ job: "one", resume: "auto", shards: null, threads: null, workers: 2, bounds: null, budgetMs: 5000 },
  ...{ fields: { "job.seed": "7", "job.batchSize": "20" }, epochs: 3 },
  checkpoint: ruleOf({ monitor: "loss", mode: "min" }),
  ...{ replicas: null, allowChange: false, defaultThreads: () => 1 },
};
const fingerprint = {
  ...{ ...request.fields, "job.graph": "g", "engine.kind": "native", "engine.threads": "1", shards: "2" },
};

async function begun() {
  const store = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
  const client = store.connect();
  await openRun(client, request);
  // What the first membership has written.
  await client.transact([], [{ kind: "put", key: keys.fingerprint, value: encodeJson(fingerprint) }]);
  return { store, client };
}

const refused = (says: RegExp) => (error: unknown) =>
  error instanceof LockstepError && error.code === "incompatible" && says.test(error.message);

test("a change that was allowed, and of which no worker was let in, has changed nothing", async () => {
  const { store, client } = await begun();
  const changed = { ...request, fields: { ...request.fields, "job.batchSize": "10" }, shards: 4, threads: 3 };
  const wish = await openRun(client, { ...changed, allowChange: true });
  assert.deepEqual([wish.record.shards, wish.record.threads, wish.record.fields], [4, 3, changed.fields]);
  // The cluster came to nothing; the same change is still a change, and the job as it was still goes on.
  await assert.rejects(openRun(client, changed), refused(/job\.batchSize was 20 and is 10; shards was 2 and is 4/));
  const { record } = await openRun(client, request);
  assert.deepEqual([record.shards, record.threads, record.fields], [2, 1, request.fields]);
  store.close();
});

test("a change of which workers were let in is what the run is held to afterwards", async () => {
  const { store, client } = await begun();
  const changed = { ...request, fields: { ...request.fields, "job.batchSize": "10" } };
  await openRun(client, { ...changed, allowChange: true });
  const now = encodeJson({ ...fingerprint, ...changed.fields });
  await client.transact([], [{ kind: "put", key: keys.fingerprint, value: now }]);
  await assert.rejects(openRun(client, request), refused(/job\.batchSize was 10 and is 20/));
  assert.deepEqual((await openRun(client, changed)).record.fields, changed.fields);
  store.close();
});

test("a run that cannot go on says why, whatever its membership is at", async () => {
  const { store, client } = await begun();
  const { record } = await openRun(client, request);
  const status = async () => {
    const { entries } = await client.list(keys.prefix);
    return clusterStatus({
      ...{ record, keys, lease: null, progresses: [], stepsPerEpoch: 4 },
      ...{ reading: readRun(entries, keys), self: { address: "127.0.0.1:1", pid: 1, name: "coordinator" } },
      reason: "0 of 2 workers are here",
    });
  };
  assert.deepEqual([(await status()).state, (await status()).reason], ["waiting", "0 of 2 workers are here"]);
  const why = "the workers' states differ at epoch-3, and nobody can tell who is right";
  await client.transact(
    [],
    [{ kind: "put", key: keys.failed, value: encodeJson({ start: record.start, reason: why }) }],
  );
  assert.deepEqual([(await status()).state, (await status()).reason], ["failed", why]);
  store.close();
});

test("a stop is for those of its start and of earlier ones; a coordinator that is started again makes no new start", async () => {
  const { store, client } = await begun();
  const first = (await openRun(client, { ...request, resume: "same" })).record;
  const stop = { start: first.start, reason: "Ctrl-C" };
  await client.transact([], [{ kind: "put", key: keys.stop, value: encodeJson(stop) }]);
  const again = (await openRun(client, { ...request, resume: "same" })).record;
  const next = (await openRun(client, request)).record;
  assert.deepEqual(
    [first.start, again.start, next.start].map((start) => isFor(stop, start)),
    [true, true, false],
  );
  store.close();
});

test("another metric or mode is said at the start, and another threshold is no news", async () => {
  const { store, client } = await begun();
  const threshold = { ...request, checkpoint: ruleOf({ monitor: "loss", minDelta: 0.1 }) };
  assert.deepEqual((await openRun(client, threshold)).notices, []);
  const { notices } = await openRun(client, { ...request, checkpoint: ruleOf({ monitor: "accuracy" }) });
  assert.deepEqual(notices, [
    "What is best was decided by loss (min) and is decided by accuracy (max) from here on: a new line of bests begins, and best moves with the next finite accuracy.",
  ]);
  store.close();
});

test("a run that stopped early is trained on by another rule alone; one that reached its end, by more epochs", async () => {
  const { store, client } = await begun();
  const rule = (patience: number) => ruleOf({ monitor: "loss", earlyStopping: { patience } });
  const isDone = async (change: Partial<RunRequest>) => {
    await openRun(client, { ...request, checkpoint: rule(2), ...change });
    return (await client.get(keys.done)) !== null;
  };
  const end = (done: Done) => client.transact([], [{ kind: "put", key: keys.done, value: encodeJson(done) }]);
  await isDone({});
  await end({ epoch: 2, early: "stopped early after epoch 2" });
  assert.equal(await isDone({}), true);
  assert.equal(await isDone({ epochs: 30 }), true, "it would stop again");
  assert.equal(await isDone({ epochs: 2, checkpoint: rule(3) }), true, "it has as many epochs as are asked for");
  assert.equal(await isDone({ checkpoint: rule(4) }), false);
  await end({ epoch: 3, early: null });
  assert.equal(await isDone({ checkpoint: rule(5) }), true);
  assert.equal(await isDone({ epochs: 4 }), false);
  store.close();
});
