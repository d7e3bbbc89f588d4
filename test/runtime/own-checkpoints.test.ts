/** What a worker deletes in its own directory: real files, and the in-memory etcd. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openDirectoryStorage } from "../../src/adapters/fs/checkpoint-storage.ts";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import type { JobRecord } from "../../src/core/records.ts";
import type { Operation } from "../../src/ports/coordination.ts";
import type { Log } from "../../src/ports/log.ts";
import { deleteUnneeded, keepTidy } from "../../src/runtime/own-checkpoints.ts";
import { content } from "../contract/checkpoint-storage.contract.ts";

const keys = keysOf("digits", 1);
// Nothing else of the record is looked at.
const record = { job: "digits", run: 1 } as JobRecord;
const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, with: () => quiet };

async function open(context: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), "lockstep-own-"));
  context.after(() => rm(directory, { recursive: true, force: true }));
  const storage = await openDirectoryStorage(directory, quiet);
  const store = new MemoryCoordination({ clock: systemClock, log: quiet, leaseMarginMs: 1 });
  context.after(() => store.close());
  const coordination = store.connect();
  const options = { coordination, keys, record, storage, pollMs: 60_000, log: quiet };
  return {
    storage,
    coordination,
    options,
    write: (id: string, step: number, changes = {}) =>
      storage.write(content(id, { run: "1", lineage: 1, era: 1, step, ...changes })),
    put: async (...puts: readonly (readonly [string, unknown])[]) => {
      const operations = puts.map(([key, value]): Operation => ({ kind: "put", key, value: encodeJson(value) }));
      await coordination.transact([], operations);
    },
    ids: async () => (await storage.list()).map(({ id }) => id),
  };
}

const pointer = (id: string, step: number, epoch = 4) => ({ id, lineage: 1, era: 1, step, epoch });
const live = (id: string, step: number) =>
  [keys.checkpoint(id), { state: "live", pointer: pointer(id, step) }] as const;

test("a worker that comes back deletes what was condemned, or left unpublished, while it was away; nothing else", async (context) => {
  const { options, write, put, ids } = await open(context);
  for (const [id, step] of [
    ["condemned", 1],
    ["kept", 2],
    ["orphan", 3],
    ["aside", 4],
    ["latest", 5],
    ["ahead", 6],
  ] as const) {
    await write(id, step);
  }
  await write("of-another-run", 1, { run: "2" });
  await write("of-another-job", 1, { job: "letters" });
  await write("of-a-later-lineage", 1, { lineage: 2 });
  await put(
    [keys.latest, pointer("latest", 5)],
    [keys.checkpoint("condemned"), { state: "condemned", pointer: pointer("condemned", 1) }],
    [keys.checkpoint("aside"), { state: "set-aside", pointer: pointer("aside", 4) }],
    live("kept", 2),
    live("latest", 5),
  );
  await deleteUnneeded(options);
  const left = ["ahead", "aside", "kept", "latest", "of-a-later-lineage", "of-another-job", "of-another-run"];
  assert.deepEqual([...(await ids())].sort(), left);
});

test("rule 7: with etcd's data gone, or older than what lies here, nothing is deleted that is further", async (context) => {
  const { options, write, put, ids } = await open(context);
  for (const [id, step] of [
    ["one", 1],
    ["two", 2],
  ] as const)
    await write(id, step);
  await deleteUnneeded(options);
  assert.deepEqual(await ids(), ["one", "two"]);
  await put([keys.latest, pointer("one", 1)], live("one", 1));
  await deleteUnneeded(options);
  assert.deepEqual(await ids(), ["one", "two"]);
});

test("rule 7: what etcd has lost the record of stays when an era follows; it may be the best one", async (context) => {
  const { options, write, put, ids } = await open(context);
  await write("best-of-era-1", 2);
  await write("begun", 3, { era: 2 });
  await write("unpublished", 4, { era: 2 });
  await write("latest-of-era-2", 5, { era: 2 });
  await put([keys.latest, { ...pointer("latest-of-era-2", 5), era: 2 }], live("begun", 3), live("latest-of-era-2", 5));
  await deleteUnneeded(options);
  assert.deepEqual([...(await ids())].sort(), ["begun", "best-of-era-1", "latest-of-era-2"]);
});

test("the closed epoch, not published yet, stays where latest is its last step: saved by a stop before it was closed", async (context) => {
  const { options, write, put, ids } = await open(context);
  await write("open", 96, { epoch: 3, stepInEpoch: 24 });
  await write("closed", 96, { epoch: 4, stepInEpoch: 0 });
  await put([keys.latest, pointer("open", 96, 3)], [keys.checkpoint("open"), { state: "live" }]);
  await deleteUnneeded(options);
  assert.deepEqual(await ids(), ["open", "closed"]);
});

test("nothing is deleted while etcd is out of reach", async (context) => {
  const { options, coordination, write, put, ids } = await open(context);
  await write("one", 1);
  await put([keys.latest, pointer("two", 2)]);
  await coordination.close();
  await assert.rejects(deleteUnneeded(options));
  assert.deepEqual(await ids(), ["one"]);
});

test("a copy goes soon after it was condemned", async (context) => {
  const { options, storage, write, put, ids } = await open(context);
  await write("one", 1);
  await put([keys.latest, pointer("two", 2)], live("one", 1), live("two", 2));
  let deleted = (_id: string) => {};
  const gone = new Promise<string>((resolve) => {
    deleted = resolve;
  });
  const watched = {
    ...options,
    storage: { ...storageOf(storage), delete: (id: string) => storage.delete(id).then(() => deleted(id)) },
  };
  const tidying = keepTidy(watched);
  await put([keys.checkpoint("one"), { state: "condemned", pointer: pointer("one", 1) }]);
  assert.equal(await gone, "one");
  tidying.close();
  assert.deepEqual(await ids(), []);
});

function storageOf(storage: Awaited<ReturnType<typeof openDirectoryStorage>>) {
  return {
    write: storage.write.bind(storage),
    load: storage.load.bind(storage),
    check: storage.check.bind(storage),
    list: storage.list.bind(storage),
  };
}
