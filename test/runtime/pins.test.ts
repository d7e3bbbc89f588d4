/** Rule 8: a checkpoint that somebody reads, or wants to keep, is not condemned; and one that is condemned is not pinned. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { createLog } from "../../src/adapters/system/log.ts";
import { failureBudget } from "../../src/core/failure-budget.ts";
import { decodeJson, encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import { CheckpointError } from "../../src/core/manifest.ts";
import type { CheckpointRecord, JobRecord, PublishedRecord } from "../../src/core/records.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";
import type { CheckpointStorage } from "../../src/ports/checkpoint-storage.ts";
import type { Coordination } from "../../src/ports/coordination.ts";
import { pin, readPins, unpin, withReaderPin } from "../../src/runtime/pins.ts";
import { pruneCheckpoints, removeSetAside } from "../../src/runtime/prune.ts";
import type { RunState, Versioned } from "../../src/runtime/run-view.ts";
import { ruleOf } from "../fixtures/checkpoint-rule.ts";

const log = createLog({ stream: process.stderr, format: "text", level: "error" });
const keys = keysOf("one", 1);
const budget = failureBudget(5000);
const record = { job: "one", run: 1, checkpoint: ruleOf({ keep: { last: 1 } }) } as unknown as JobRecord; // all that prune reads

function pointer(id: string, step: number): CheckpointPointer {
  const digests = { stateDigest: "", weightsDigest: "", manifestSha256: "" };
  const of = { monitor: "val_loss", mode: "min", data: "d" } as const;
  const place = { lineage: 1, era: 1, step, epoch: step, stepInEpoch: 0, generation: 1 };
  return { id, location: "", ...place, ...digests, monitor: "val_loss", value: null, of };
}

/** Three published checkpoints, the last of which is `latest`, and a leader. */
async function published() {
  const store = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
  const coordination = store.connect();
  const deleted: string[] = [];
  const storage = {
    delete: async (id: string) => void deleted.push(id),
  } as unknown as CheckpointStorage; // all that prune uses
  const put = async (key: string, value: unknown) =>
    (await coordination.transact([], [{ kind: "put", key, value: encodeJson(value) }])).revision;
  for (const [i, id] of ["a", "b", "c"].entries()) {
    const live: CheckpointRecord = { state: "live", pointer: pointer(id, i), writtenAtMs: 0 };
    await put(keys.checkpoint(id), live);
  }
  const revision = await put(keys.latest, pointer("c", 2));
  const latest: Versioned<CheckpointPointer> = {
    value: pointer("c", 2),
    createRevision: revision,
    modRevision: revision,
  };
  const token = await put(keys.leader, {});
  const state = { latest, best: null } as unknown as RunState; // all that prune reads
  const prune = (over: Coordination = coordination) =>
    pruneCheckpoints({ record, keys, coordination: over, storage }, state, token);
  const setAside = async (id: string) => {
    const known = decodeJson<PublishedRecord>((await coordination.get(keys.checkpoint(id)))!.value);
    await put(keys.checkpoint(id), { ...known, state: "set-aside", reason: "cut off" } satisfies PublishedRecord);
  };
  const tidy = () => removeSetAside({ record, keys, coordination, storage }, state, token);
  return { store, coordination, deleted, prune, setAside, tidy, parts: { coordination, keys } };
}

test("a pin keeps a checkpoint until it is taken away", async () => {
  const { store, deleted, prune, parts } = await published();
  await pin(parts, "a", "mine", { note: "for the paper" });
  await pin(parts, "a", "mine", { note: "for the paper" });
  await pin(parts, "a", "yours", { note: "for the talk" });
  assert.deepEqual([...(await readPins(parts))], [["a", ["mine", "yours"]]]);
  await prune();
  assert.deepEqual(deleted, ["b"]);
  assert.equal(await unpin(parts, "a", "mine"), true);
  assert.equal(await unpin(parts, "a", "mine"), false, "it is gone");
  await prune();
  assert.deepEqual(deleted, ["b"], "there is another one");
  await unpin(parts, "a", "yours");
  await prune();
  assert.deepEqual(deleted, ["b", "a"]);
  store.close();
});

test("a pin that comes in after the pins were read, and before the condemnation, wins", async () => {
  const { store, coordination, deleted, prune, parts } = await published();
  const pinnedLate = {
    transact: (...call) => coordination.transact(...call),
    list: async (prefix: string) => {
      const listing = await coordination.list(prefix);
      if (prefix === keys.pins) await pin(parts, "a", "late", { note: "" });
      return listing;
    },
  } satisfies Partial<Coordination> as unknown as Coordination; // all that prune uses
  await prune(pinnedLate);
  assert.deepEqual(deleted, []);
  store.close();
});

test("what is condemned, or was never published, cannot be pinned", async () => {
  const { store, coordination, parts } = await published();
  const known = decodeJson<CheckpointRecord>((await coordination.get(keys.checkpoint("a")))!.value);
  const condemned = encodeJson({ ...known, state: "condemned" });
  await coordination.transact([], [{ kind: "put", key: keys.checkpoint("a"), value: condemned }]);
  const refuses = (id: string, says: RegExp) =>
    assert.rejects(
      pin(parts, id, "mine", { note: "" }),
      (error) => error instanceof CheckpointError && error.problem === "not-published" && says.test(error.message),
    );
  await refuses("a", /a cannot be pinned: it is condemned/);
  await refuses("z", /z cannot be pinned: it is not among those that are published/);
  assert.equal((await readPins(parts)).size, 0);
  store.close();
});

test("a checkpoint is not deleted while somebody reads it, and is afterwards", async () => {
  const { store, deleted, prune, parts } = await published();
  const reader = { ...parts, budget, clock: systemClock, log };
  const read = await withReaderPin(reader, "a", async () => {
    await prune();
    return [...deleted];
  });
  assert.deepEqual(read, ["b"]);
  await assert.rejects(
    withReaderPin(reader, "a", () => Promise.reject(new Error("unreadable"))),
    /unreadable/,
  );
  assert.equal((await readPins(parts)).size, 0, "a reader that fails leaves no pin");
  await prune();
  assert.deepEqual(deleted, ["b", "a"]);
  store.close();
});

test("what is set aside goes only when somebody asks for it, and not while a pin or a pointer names it", async () => {
  const { store, coordination, deleted, prune, setAside, tidy, parts } = await published();
  await pin(parts, "b", "mine", { note: "to look at" });
  for (const id of ["a", "b", "c"]) await setAside(id);
  await prune();
  assert.deepEqual(deleted, []);
  await tidy();
  assert.deepEqual(deleted, ["a"]);
  assert.equal(await coordination.get(keys.checkpoint("a")), null);
  await unpin(parts, "b", "mine");
  await coordination.transact([], [{ kind: "delete", key: keys.leader }]);
  await tidy();
  assert.deepEqual(deleted, ["a"], "who leads no more condemns nothing");
  store.close();
});
