/** What a start finds in etcd: what the run was last trained with, and why it cannot go on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { createLog } from "../../src/adapters/system/log.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { decodeJson, encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import { CheckpointError, type Manifest } from "../../src/core/manifest.ts";
import { initialProgress } from "../../src/core/progress.ts";
import type { StoredCheckpoint } from "../../src/ports/checkpoint-storage.ts";
import type { RunArchive } from "../../src/runtime/rebuild-run.ts";
import { type Done, isFor } from "../../src/core/records.ts";
import { isOnTheWay, type Origin } from "../../src/core/origin.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";
import { clusterStatus } from "../../src/runtime/cluster-status.ts";
import { openRun, type RunRequest } from "../../src/runtime/open-run.ts";
import { readRun } from "../../src/runtime/run-reading.ts";
import { ruleOf } from "../fixtures/checkpoint-rule.ts";
import { plainRequest } from "../fixtures/run-request.ts";

const log = createLog({ stream: process.stderr, format: "text", level: "error" });
const keys = keysOf("one", 1);
const request: RunRequest = { ...plainRequest, fields: { "job.seed": "7", "job.batchSize": "20" } };
const fingerprint = {
  ...{ ...request.fields, "job.graph": "g", "engine.kind": "native", "engine.threads": "1", shards: "2" },
};

const pointer = (id: string, step: number): CheckpointPointer => ({
  ...{ id, location: id, lineage: 1, era: 1, step, epoch: 1, stepInEpoch: 0, generation: 1 },
  ...{ stateDigest: `sha256:${step}`, weightsDigest: "", manifestSha256: "0a", monitor: "loss", value: 0.5 },
  of: { monitor: "loss", mode: "min", data: "d" },
});

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
      ...{ record, keys, lease: null, progresses: [], stepsPerEpoch: 4, speed: null, updatedAt: null },
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

test("a start that has a name is made once, whoever comes with it, also where there was no run and several come at once", async () => {
  const store = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
  const client = store.connect();
  const named = { ...request, startName: "monday" };
  const both = await Promise.all([openRun(client, named), openRun(store.connect(), named)]);
  assert.deepEqual(
    both.map(({ record }) => [record.run, record.start]),
    [
      [1, 1],
      [1, 1],
    ],
  );
  const startOf = async (change: Partial<RunRequest>) => {
    const { record } = await openRun(client, { ...named, ...change });
    return [record.run, record.start];
  };
  assert.deepEqual(await startOf({}), [1, 1]);
  assert.deepEqual(await startOf({ startName: "tuesday" }), [1, 2]);
  assert.deepEqual(
    await startOf({ startName: "tuesday", resume: "never" }),
    [1, 2],
    "its name is that of the last start",
  );
  assert.deepEqual(await startOf({ startName: null, resume: "same" }), [1, 2]);
  assert.deepEqual(await startOf({ startName: "tuesday" }), [1, 2], "who took part has not taken its name away");
  assert.deepEqual(await startOf({ startName: "wednesday", resume: "never" }), [2, 1]);
  assert.deepEqual(await startOf({ startName: "wednesday", resume: "never" }), [2, 1]);
  assert.deepEqual(await startOf({ startName: null }), [2, 2]);
  // A coordinator of a start before, which its supervisor has started again too late.
  await assert.rejects(
    startOf({ startName: "wednesday" }),
    (error: unknown) => error instanceof LockstepError && /The start "wednesday" of "one" is over/.test(error.message),
  );
  assert.deepEqual(await startOf({ startName: "thursday" }), [2, 3]);
  await assert.rejects(startOf({ startName: "wednesday" }), /is over/);
  assert.deepEqual(await startOf({ startName: "thursday" }), [2, 3]);
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

test("rule 20: another S opens a lineage from latest; a run of which nothing is published has nothing to go back to", async () => {
  const { store, client } = await begun();
  const wider = { ...request, shards: 4, allowChange: true };
  await openRun(client, wider);
  assert.equal(await client.get(keys.origin), null);
  await client.transact(
    [],
    [
      { kind: "put", key: keys.latest, value: encodeJson(pointer("c1", 7)) },
      { kind: "put", key: keys.checkpoint("c1"), value: encodeJson({ state: "live", pointer: pointer("c1", 7) }) },
    ],
  );
  const { notices } = await openRun(client, wider);
  assert.deepEqual(notices, ["Lineage 2 begins: S was 2 and is 4."]);
  const origin = decodeJson<Origin>((await client.get(keys.origin))!.value);
  assert.deepEqual([origin.lineage, origin.from?.checkpoint], [2, "c1"]);
  store.close();
});

test("rule 11: nobody goes back while somebody trains, nor to what is set aside; latest itself is no way back", async () => {
  const { store, client } = await begun();
  const live = (id: string, step: number) =>
    ({
      kind: "put",
      key: keys.checkpoint(id),
      value: encodeJson({ state: "live", pointer: pointer(id, step) }),
    }) as const;
  const aside = { state: "set-aside", pointer: pointer("c2", 8), reason: "w1.a says: cut off" };
  await client.transact(
    [],
    [
      { kind: "put", key: keys.latest, value: encodeJson(pointer("c3", 9)) },
      { kind: "put", key: keys.best, value: encodeJson({ ...pointer("c1", 7), value: 0.25 }) },
      ...[live("c1", 7), live("c3", 9), { kind: "put" as const, key: keys.checkpoint("c2"), value: encodeJson(aside) }],
      { kind: "put", key: keys.done, value: encodeJson({ epoch: 3, early: null }) },
      { kind: "put", key: keys.member("w1.a"), value: encodeJson({ workerId: "w1.a", name: "w1" }) },
    ],
  );
  const back = (checkpoint: string) => openRun(client, { ...request, resume: { checkpoint } });
  assert.deepEqual((await back("latest")).notices, []);
  assert.deepEqual((await back("c3")).notices, []);
  const isRunning = (error: unknown) => error instanceof LockstepError && error.code === "job-running";
  await assert.rejects(back("best"), (error) => isRunning(error) && /trained by w1/.test(String(error)));
  await client.transact([], [{ kind: "delete", key: keys.member("w1.a") }]);
  await assert.rejects(back("c2"), /The checkpoint c2 of "one" was set aside: w1\.a says: cut off/);
  const many = Array.from({ length: 9 }, (_, i) => live(`far-away-${i}`, 20 + i));
  await client.transact([], many);
  await assert.rejects(
    back("c4"),
    /no checkpoint c4\. The nearest are c3, c2, c1; the newest others are far-away-8, far-away-7, far-away-6, and there are 6 more\.$/,
  );
  await client.transact(
    [],
    many.map(({ key }) => ({ kind: "delete", key })),
  );
  await assert.rejects(back("c4"), /has no checkpoint c4\. The nearest are c3, c2, c1\./);
  assert.equal(await client.get(keys.origin), null);
  const { notices } = await back("best");
  assert.deepEqual(notices, ["Lineage 2 begins: resumed from best (c1) at step 7, where latest was at step 9."]);
  const origin = decodeJson<Origin>((await client.get(keys.origin))!.value);
  assert.deepEqual([origin.from?.state.step, origin.best?.value], [7, 0.25]);
  assert.deepEqual((await client.get(keys.lineage(2)))?.value, encodeJson(origin));
  assert.equal(await client.get(keys.done), null, "there is something to train again");
  store.close();
});

test("rule 15: a best that is gone is not best any more, also of a run that is not finished; a new one is waited for", async () => {
  for (const isFinished of [true, false]) {
    const { store, client, archive, read } = await finishedRun([]);
    if (!isFinished) await client.transact([], [{ kind: "delete", key: keys.done }]);
    const left = ["c2", "c3", "c4"].map((id, i) => checkpointOf(id, 8 + 4 * i, 0));
    const without: RunArchive = {
      ...archive,
      checkpointsOf: () => Promise.resolve(left),
      check: (run, id) =>
        id === "c1" ? Promise.reject(new CheckpointError("missing", "gone")) : archive.check(run, id),
    };
    const now = { ...request, epochs: isFinished ? 4 : 9, archive: without };
    await openRun(client, { ...now, nowMs: 60_000 });
    assert.equal((await read()).best, "c1", "it may not be visible yet");
    await openRun(client, { ...now, archive: { ...without, checkpointsOf: async () => [] }, nowMs: 60_001 });
    assert.equal((await read()).best, "c1", "nothing is there: that may be the wrong place");
    const { notices } = await openRun(client, { ...now, nowMs: 60_001 });
    assert.deepEqual(await read(), { done: isFinished, best: "c2", aside: ["c1"] });
    assert.match(notices.join(" "), /c1 is set aside: it, or a part of it, is not there any more.*left c2 /);
    store.close();
  }
});

/** A finished run with checkpoints c1 (the best), c2, c3 and c4 (latest), of which these are corrupt now. */
async function finishedRun(corrupt: readonly string[], replicas = 0) {
  const { store, client } = await begun();
  const stored = [4, 8, 12, 16].map((step, i) => checkpointOf(`c${i + 1}`, step, 2));
  const known = archiveOf(stored, "");
  const value = { c1: 0.25, c2: 0.375, c3: 0.5, c4: 0.5 };
  const pointers = stored.map(({ id, manifest: { step, epoch } }): CheckpointPointer => {
    const place = { ...pointer(id, step), epoch, value: value[id as keyof typeof value] };
    return replicas > 0 ? { ...place, holders: ["w1", "w2"] } : place;
  });
  const put = (key: string, what: unknown) => ({ kind: "put", key, value: encodeJson(what) }) as const;
  const { record } = await openRun(client, request);
  await client.transact(
    [],
    [
      put(keys.record, { ...record, replicas }),
      put(keys.latest, pointers[3]),
      put(keys.best, pointers[0]),
      put(keys.done, { epoch: 4, early: null }),
      ...pointers.map((one) => put(keys.checkpoint(one.id), { state: "live", pointer: one, writtenAtMs: 0 })),
    ],
  );
  const wrong = new CheckpointError("corrupt", "it was cut off.");
  const archive: RunArchive = {
    ...known,
    newestRun: () => Promise.resolve(1),
    checkpointsOf: () => Promise.resolve([]),
    check: (run, id) => (corrupt.includes(id) ? Promise.reject(wrong) : known.check(run, id)),
  };
  const read = async () => {
    const { entries, checkpoints } = readRun((await client.list(keys.prefix)).entries, keys);
    const best = entries.get(keys.best);
    return {
      done: entries.has(keys.done),
      best: best ? decodeJson<CheckpointPointer>(best.value).id : null,
      aside: checkpoints.filter(({ state }) => state === "set-aside").map(({ pointer: { id } }) => id),
    };
  };
  return { store, client, archive, read };
}

test("a finished run whose best is damaged: the next best that is whole is best, and it stays finished", async () => {
  const { store, client, archive, read } = await finishedRun(["c1", "c2"]);
  const more = await finishedRun(["c1", "c4"]);
  const trainsOn = await openRun(more.client, { ...request, epochs: 9, archive: more.archive });
  assert.match(trainsOn.notices.join(), /c1 is set aside.*c2 \(epoch 2, loss 0\.375\) is, from here on/);
  assert.deepEqual((await more.read()).aside, ["c1"], "latest is its workers' to read");
  more.store.close();
  const same = await openRun(client, { ...request, archive, resume: "same" });
  assert.deepEqual([same.notices, await read()], [[], { done: true, best: "c1", aside: [] }], "that is no start");
  const { notices } = await openRun(client, { ...request, archive });
  assert.deepEqual(notices, [
    "The checkpoint c1 is set aside: it was cut off.",
    "The checkpoint c2 is set aside: it was cut off.",
    "c1 (epoch 1) was best; of those that are left c3 (epoch 3, loss 0.5) is, from here on.",
  ]);
  assert.deepEqual(await read(), { done: true, best: "c3", aside: ["c1", "c2"] });
  assert.deepEqual((await openRun(client, { ...request, archive })).notices, []);
  store.close();
});

test("rule 15: a finished run whose latest is damaged is not finished any more; only a start that nobody crosses says so", async () => {
  const { store, client, archive, read } = await finishedRun(["c4"]);
  await client.transact([], [{ kind: "put", key: keys.member("w1.a"), value: encodeJson({ name: "w1" }) }]);
  await assert.rejects(openRun(client, { ...request, archive }), /w1 of run 1 of "one" are still there/);
  await client.transact([], [{ kind: "delete", key: keys.member("w1.a") }]);
  // While it is read somebody pins it, which writes its record anew: everything is looked at again.
  const record = (await client.get(keys.checkpoint("c4")))!.value;
  let reads = 0;
  const crossed: RunArchive = {
    ...archive,
    check: async (run, id) => {
      if (id === "c4" && ++reads === 1) {
        await client.transact([], [{ kind: "put", key: keys.checkpoint("c4"), value: record }]);
      }
      return archive.check(run, id);
    },
  };
  const { notices } = await openRun(client, { ...request, archive: crossed });
  assert.equal(reads, 2);
  assert.match(
    notices.join(" "),
    /c4 is set aside: it was cut off\. It was latest, so the run is not finished any more/,
  );
  assert.deepEqual(await read(), { done: false, best: "c1", aside: ["c4"] });
  store.close();
});

test("what cannot be read, or may be whole on a disk that is not seen from here, is not set aside", async () => {
  const { store, client, archive, read } = await finishedRun(["c4"], 1);
  const wrong = new CheckpointError("corrupt", "it was cut off.");
  const unreadable = new CheckpointError("unreadable", "EIO");
  const copies =
    (...states: readonly (CheckpointError | null)[]): RunArchive["copiesOf"] =>
    async (_, id) =>
      (id === "c4" ? states : [null, null]).map((state) => ({ location: "", wrong: state }));
  const noticesWith = async (copiesOf: RunArchive["copiesOf"]) =>
    (await openRun(client, { ...request, archive: { ...archive, copiesOf } })).notices;
  assert.deepEqual(await noticesWith(copies()), []);
  for (const seen of [[wrong], [wrong, unreadable], [wrong, null]]) {
    const notices = await noticesWith(copies(...seen));
    assert.deepEqual(
      [notices.length, notices[0]],
      [1, "The copy of c4 in  is damaged; it is replaced once its worker needs it: it was cut off."],
    );
  }
  assert.equal((await read()).done, true);
  assert.match((await noticesWith(copies(wrong, wrong)))[0]!, /c4 is set aside: it was cut off/);
  assert.equal((await read()).done, false);
  store.close();
  const shared = await finishedRun(["c4"]);
  const away = { ...shared.archive, check: () => Promise.reject(unreadable) };
  assert.deepEqual((await openRun(shared.client, { ...request, archive: away })).notices, []);
  assert.equal((await shared.read()).done, true);
  shared.store.close();
});

test("what lies under latest's id with another manifest is another checkpoint: latest is set aside", async () => {
  const { store, client, archive, read } = await finishedRun([]);
  const other: RunArchive = {
    ...archive,
    check: async (run, id) => ({ ...(await archive.check(run, id)), ...(id === "c4" ? { manifestSha256: "0f" } : {}) }),
  };
  const { notices } = await openRun(client, { ...request, archive: other });
  assert.match(notices[0]!, /c4 is set aside: its manifest has the SHA-256 0f, and 0a was published/);
  assert.deepEqual((await read()).aside, ["c4"]);
  store.close();
});

test("rule 7: what etcd has lost is rebuilt from the checkpoints, above everything that anybody has seen", async () => {
  const store = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
  const client = store.connect();
  const [older, newer] = [checkpointOf("c1", 4, 2), checkpointOf("c2", 8, 3)];
  const broken = checkpointOf("c3", 12, 5);
  const archive = archiveOf([older, newer, broken], "c3");
  const { record, resumed, notices } = await openRun(client, { ...request, archive });
  assert.deepEqual([resumed, record.run, record.shards, record.threads, record.start], [true, 4, 2, 1, 1]);
  assert.match(notices.join("\n"), /era 3 begins, and c2, step 8, is the newest that is whole/);
  assert.match(notices.join("\n"), /The checkpoint c3 is set aside: it was cut off/);
  const now = keysOf("one", 4);
  const { entries } = await client.list(now.prefix);
  const reading = readRun(entries, now);
  const { era, after, from, best } = reading.origin;
  assert.deepEqual([era, after, from?.checkpoint, best?.value], [3, 5, "c2", 0.25]);
  assert.deepEqual(
    reading.checkpoints.map(({ state, pointer: { id } }) => `${id} ${state}`),
    ["c1 live", "c2 live", "c3 set-aside"],
  );
  assert.equal(decodeJson<CheckpointPointer>((await client.get(now.best))!.value).id, "c1");
  // Nothing more is lost: the next start changes nothing; a new run has a number that no checkpoint has.
  const again = await openRun(client, { ...request, archive });
  assert.deepEqual([again.notices, again.record.start], [[], 2]);
  assert.equal((await openRun(client, { ...request, archive, resume: "never" })).record.run, 5);
  store.close();
});

test("rule 7: what a rebuild finds damaged is not best, whatever its value was", async () => {
  const store = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
  const client = store.connect();
  const broken = checkpointOf("c3", 12, 5);
  // The best epoch's own checkpoint, at step 4, is not kept any more.
  const stored = [checkpointOf("c2", 8, 3), { ...broken, manifest: { ...broken.manifest, metrics: { loss: 0.1 } } }];
  await openRun(client, { ...request, archive: archiveOf(stored, "c3", "") });
  const best = await client.get(keysOf("one", 4).best);
  assert.equal(decodeJson<CheckpointPointer>(best!.value).id, "c2");
  const alone = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
  const save = checkpointOf("c2", 8, 3);
  const within = { ...save, manifest: { ...save.manifest, stepInEpoch: 2, metrics: null } };
  const { notices } = await openRun(alone.connect(), {
    ...request,
    archive: archiveOf([within, stored[1]!], "c3", ""),
  });
  assert.equal(await alone.connect().get(keysOf("one", 4).best), null);
  assert.match(notices.join("\n"), /best moves with the next epoch that is better/);
  store.close();
  alone.close();
});

test("rule 7: what lies on the way to the newest state is known again, and who holds it", async () => {
  const store = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
  const client = store.connect();
  const in2 = { lineage: 2, era: 1, step: 4, checkpoint: "c1", reason: "resumed from c1" };
  const later = { lineage: 2, era: 2, step: 8, checkpoint: "c3", reason: "etcd's data were lost" };
  // It began from a checkpoint that is deleted.
  const in3 = { lineage: 3, era: 2, step: 12, checkpoint: "gone", reason: "gone was set aside" };
  const place = (one: StoredCheckpoint, more: Partial<Manifest>): StoredCheckpoint => ({
    ...one,
    holders: ["w1", "w2"],
    manifest: { ...one.manifest, era: 1, ...more },
  });
  const stored = [
    place(checkpointOf("c1", 4, 2), {}),
    place(checkpointOf("left", 8, 2), {}),
    place(checkpointOf("c3", 8, 3), { lineage: 2, openings: [in2] }),
    place(checkpointOf("past", 16, 4), { lineage: 2, era: 2, openings: [in2, later] }),
    place(checkpointOf("c4", 16, 5), { lineage: 3, era: 2, openings: [in2, later, in3] }),
  ];
  await openRun(client, { ...request, archive: { ...archiveOf(stored, ""), isReplicated: async () => true } });
  const { origin, earlier, checkpoints } = readRun(
    (await client.list(keysOf("one", 4).prefix)).entries,
    keysOf("one", 4),
  );
  assert.deepEqual(
    earlier.map(({ lineage, era, reason, from }) => [lineage, era, reason, from?.checkpoint, from?.state.lineage]),
    [
      [2, 1, "resumed from c1", "c1", 1],
      [3, 2, "gone was set aside", "gone", 2],
    ],
  );
  const onTheWay = stored.filter(({ manifest }) => isOnTheWay(manifest, origin, earlier)).map(({ id }) => id);
  assert.deepEqual(onTheWay, ["c1", "c3", "c4"]);
  assert.deepEqual(
    checkpoints.map(({ pointer }) => pointer.holders),
    stored.map(() => ["w1", "w2"]),
  );
  store.close();
});

test("rule 7: every checkpoint is written down again, however many were kept, and so is an early best", async () => {
  const store = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
  const client = store.connect();
  const stored = Array.from({ length: 250 }, (_, i) => checkpointOf(`c${i + 1}`, 4 * (i + 1), 2));
  await openRun(client, { ...request, archive: archiveOf(stored, "c250") });
  const { checkpoints, origin } = readRun((await client.list(keysOf("one", 4).prefix)).entries, keysOf("one", 4));
  assert.deepEqual([checkpoints.length, origin.from?.checkpoint], [250, "c249"]);
  assert.deepEqual(
    checkpoints.filter(({ state }) => state !== "live").map(({ pointer: { id } }) => id),
    ["c250"],
  );
  const back = await openRun(client, { ...request, resume: { checkpoint: "best" } });
  assert.match(back.notices.join(), /resumed from best \(c1\) at step 4/);
  store.close();
});

test("rule 7: workers that had checkpoints on their own disks have them there again, though nobody says so", async () => {
  const opened = async (isReplicated: boolean, replicas: number | null) => {
    const store = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
    const archive = { ...archiveOf([checkpointOf("c1", 4, 2)], ""), isReplicated: async () => isReplicated };
    try {
      return await openRun(store.connect(), { ...request, archive, replicas });
    } finally {
      store.close();
    }
  };
  const { record, notices } = await opened(true, null);
  assert.equal(record.replicas, 1);
  assert.match(notices.join(), /on its workers' own disks; one copy of each is kept/);
  assert.equal((await opened(false, null)).record.replicas, 0);
  await assert.rejects(opened(true, 0), /--replicas is 0, and run 4 has its checkpoints on its workers' own disks/);
  await assert.rejects(opened(false, 1), /run 4 has its checkpoints in one directory that all workers share/);
});

test("rule 7: no whole checkpoint, or one that cannot be read: the run does not begin again unsaid", async () => {
  const store = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
  const client = store.connect();
  const stored = [checkpointOf("c1", 4, 2)];
  const isCorrupt = (error: unknown) => error instanceof LockstepError && error.code === "corrupt-checkpoint";
  await assert.rejects(openRun(client, { ...request, archive: archiveOf(stored, "c1") }), isCorrupt);
  const away = { ...archiveOf(stored, ""), load: () => Promise.reject(new CheckpointError("unreadable", "EIO")) };
  await assert.rejects(openRun(client, { ...request, archive: away }), /EIO/);
  assert.deepEqual((await client.list("")).entries, []);
  store.close();
});

const of = { monitor: "loss", mode: "min", data: "d" } as const;

function checkpointOf(id: string, step: number, generation: number): StoredCheckpoint {
  const place = { lineage: 1, era: 2, step, epoch: step / 4, stepInEpoch: 0, generation };
  const digests = { stateDigest: `sha256:${step}`, weightsDigest: "" };
  const metrics = { loss: step === 4 ? 0.25 : 0.5 };
  const manifest: Manifest = {
    ...{ id, job: "one", run: "4", ...place, ...digests, fencingToken: 9, fingerprint, metrics },
    ...{ equivalences: [], openings: [], members: [], writtenAt: "2026-01-01T00:00:00.000Z", files: [] },
    formatVersion: 1,
  };
  return { id, location: `/c/${id}`, manifestSha256: "0a", manifest };
}

function archiveOf(stored: readonly StoredCheckpoint[], corrupt: string, data = "d"): RunArchive {
  const best = { epoch: 1, step: 4, value: 0.25, of: { ...of, data } };
  return {
    newestRun: () => Promise.resolve(4),
    checkpointsOf: (run) => Promise.resolve(run === 4 ? stored : []),
    copiesOf: () => Promise.resolve([]),
    isReplicated: () => Promise.resolve(false),
    check: async (_, id) => stored.find((one) => one.id === id)!,
    load: async (_, id) => {
      if (id === corrupt) throw new CheckpointError("corrupt", "it was cut off");
      const { manifest } = stored.find((one) => one.id === id)!;
      const progress = encodeJson({ ...initialProgress(1, 2), step: manifest.step, best });
      return { manifest, weights: [], optimizer: [], state: { progress, preprocessing: null } };
    },
  };
}
