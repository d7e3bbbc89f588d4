/** Waiting for a checkpoint that cannot be read: over the in-memory etcd, with a storage that has none. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { failureBudget } from "../../src/core/failure-budget.ts";
import { decodeJson, encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import { CheckpointError } from "../../src/core/manifest.ts";
import type { CheckpointRecord } from "../../src/core/records.ts";
import type { Log } from "../../src/ports/log.ts";
import { type LoadOptions, loadState } from "../../src/runtime/load-state.ts";

const keys = keysOf("one", 1);
const wanted = { id: "c1", digest: "sha256:1", generation: 1 };

/** A member that is to load c1, which is not there; `there` is what the storage lists of the run. */
async function lookingForC1(context: TestContext, there: readonly string[], nowMs: number, replicas = 0) {
  const told: string[] = [];
  const log: Log = {
    ...{ debug() {}, info() {}, with: () => log },
    warn: (message) => void told.push(message),
    error: (message) => void told.push(message),
  };
  const store = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
  context.after(() => store.close());
  const coordination = store.connect();
  const live = encodeJson({ state: "live", pointer: { id: "c1" }, writtenAtMs: 1_000_000 });
  const { revision } = await coordination.transact(
    [],
    [
      { kind: "put", key: keys.checkpoint("c1"), value: live },
      { kind: "put", key: keys.generation, value: "{}" },
    ],
  );
  let loads = 0;
  let first: Error | null = null;
  const storage = {
    load: () => {
      loads += 1;
      if (first !== null && loads === 1) return Promise.reject(first);
      return Promise.reject(new CheckpointError("missing", "There is no checkpoint c1."));
    },
    list: async () => there.map((id) => ({ id, manifest: { job: "one", run: "1" } })),
  };
  const budget = { ...failureBudget(5000), pollMs: 1 };
  const record = { job: "one", run: 1, replicas };
  const clock = { ...systemClock, wallMs: () => nowMs };
  // Nothing else of the storage, and nothing of the model, is asked for.
  const options = { record, keys, budget, coordination, storage, clock, log, workerId: "a" } as unknown as LoadOptions;
  const load = (over: AbortSignal, isStopping: () => boolean) =>
    loadState(options, { ...wanted, generation: revision }, over, isStopping);
  const failFirst = (error: Error) => {
    first = error;
  };
  return { coordination, load, loads: () => loads, told, failFirst };
}

const justNowMs = 1_059_000;
const longAgoMs = 1_061_000;

test("whoever waits for a checkpoint that is not there stops waiting when a stop is asked for", async (context) => {
  for (const [there, nowMs, replicas] of [
    [[], longAgoMs, 0], // nothing else is there: another place, perhaps
    [["c1"], longAgoMs, 0], // its own manifest is no other one
    [["c0"], justNowMs, 0], // it may not be visible yet
    [["c0"], longAgoMs, 1], // another worker may have it
  ] as const) {
    const { load, loads, told } = await lookingForC1(context, there, nowMs, replicas);
    const taken = await load(new AbortController().signal, () => loads() >= 3);
    assert.deepEqual([taken, loads()], [null, 3]);
    assert.deepEqual(told, ["the state cannot be read yet; waiting for it"]);
  }
});

test("an etcd that does not answer who has a checkpoint is asked again", async (context) => {
  const { load, loads, told, failFirst } = await lookingForC1(context, [], longAgoMs);
  failFirst(new LockstepError("coordination-unavailable", "etcd does not answer."));
  assert.equal(await load(new AbortController().signal, () => true), null);
  assert.equal(loads(), 2);
  assert.ok(told.includes("the state cannot be read yet; waiting for it"));
});

test("a checkpoint that is gone, while others of the run are there, is set aside", async (context) => {
  const { coordination, load, told } = await lookingForC1(context, ["c0"], longAgoMs);
  const over = new AbortController();
  const taken = load(over.signal, () => false);
  let record: CheckpointRecord;
  do record = decodeJson<CheckpointRecord>((await coordination.get(keys.checkpoint("c1")))!.value);
  while (record.state === "live");
  over.abort(new Error("the next generation"));
  await assert.rejects(taken, /the next generation/);
  assert.deepEqual(told, ["a checkpoint is set aside"]);
  assert.ok(record.state === "set-aside");
  assert.match(record.reason!, /^a says: it, or a part of it, is not there any more, and others of the run are$/);
});
