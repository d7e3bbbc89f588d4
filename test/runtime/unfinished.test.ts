/** Rule 8: parts of a checkpoint whose writer is gone go, and nothing that somebody may still be writing, or that is another's. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { createLog } from "../../src/adapters/system/log.ts";
import { checkpointId, placeInId } from "../../src/core/checkpoint-id.ts";
import { decodeJson, encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import { firstOrigin } from "../../src/core/origin.ts";
import type { JobRecord } from "../../src/core/records.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";
import type { CheckpointStorage } from "../../src/ports/checkpoint-storage.ts";
import { removeOwnUnpublished, removeUnpublished } from "../../src/runtime/prune.ts";
import type { Pointers } from "../../src/runtime/prune.ts";

const log = createLog({ stream: process.stderr, format: "text", level: "error" });
const keys = keysOf("a-1", 2);
const record = { job: "a-1", run: 2 } as JobRecord; // all that is read of it

test("an id tells its place, and only of its own run", () => {
  const place = { step: 123_456_789, generation: 4, fencingToken: 56 };
  const id = checkpointId(record, place, "x1y2");
  assert.equal(id, "a-1-2-step-123456789-g4-t56-x1y2");
  assert.deepEqual(placeInId(record, id), place);
  for (const other of [
    "a-1-22-step-00000001-g4-t56-x",
    "b-2-step-00000001-g4-t56-x",
    "a-1-2-step-00000001-g4-t56",
    "x",
  ]) {
    assert.equal(placeInId(record, other), null, other);
  }
});

test("what an earlier leader has begun goes; what this one is at, what etcd knows and what is another run's stays", async () => {
  const store = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
  const coordination = store.connect();
  const put = async (key: string, value: unknown) =>
    (await coordination.transact([], [{ kind: "put", key, value: encodeJson(value) }])).revision;
  const of = { monitor: "loss", mode: "min", data: "d" } as const;
  const digests = { stateDigest: "", weightsDigest: "", manifestSha256: "" };
  const place = { lineage: 1, era: 2, step: 8, epoch: 2, stepInEpoch: 0, generation: 7 };
  const value: CheckpointPointer = { id: "l", location: "", ...place, ...digests, monitor: "loss", value: null, of };
  const origin = { ...firstOrigin, era: 2, after: 5 };
  await put(keys.origin, origin);
  const latest = { value, createRevision: 0, modRevision: await put(keys.latest, value) };
  const token = await put(keys.leader, {});
  const id = (step: number, generation: number, fencingToken: number) =>
    checkpointId(record, { step, generation, fencingToken }, "aaaa");
  const known = id(4, 6, token - 1);
  await put(keys.checkpoint(known), { state: "set-aside", pointer: { ...value, id: known } });
  const [dead, ahead, own, earlier] = [id(4, 6, token - 1), id(99, 6, token - 1), id(12, 7, token), id(9, 5, 70)];
  const gone = [dead.replace("aaaa", "bbbb"), ahead, earlier];
  const deleted: string[] = [];
  const manifest = { job: "a-1", run: "2", era: 1, lineage: 1, step: 4, fencingToken: 3 };
  const lost = { id: id(4, 3, 3), manifest };
  const written = { id: id(6, 7, token), manifest: { ...manifest, era: 2, step: 6, fencingToken: token } };
  const anothers = { id: "a-1-3-step-00000004-g3-t3-aaaa", manifest: { ...manifest, run: "3" } };
  const storage = {
    list: async () => [lost, written, anothers],
    unfinished: async () => [known, ...gone, own, "a-1-3-step-00000004-g1-t1-cccc", "photos"],
    async delete(one: string) {
      const entry = await coordination.get(keys.checkpoint(one));
      assert.deepEqual(entry && decodeJson(entry.value), { state: "condemned" }, "of parts nobody knows more");
      deleted.push(one);
    },
  } as unknown as CheckpointStorage; // all that is used of it
  const state: Pointers = { latest, best: null, origin: encodeJson(origin) };
  const options = { record, keys, coordination, storage };
  await removeUnpublished(options, state, token - 1);
  assert.deepEqual(deleted, [], "who leads no more removes nothing");
  await removeUnpublished(options, state, token);
  assert.deepEqual(deleted.sort(), gone.sort());
  deleted.length = 0;
  await removeUnpublished(options, state, token, true);
  assert.deepEqual(
    deleted.sort(),
    [...gone, lost.id].sort(),
    "what etcd has lost the record of goes when it is asked for",
  );
  deleted.length = 0;
  const givenUp = new Map([
    [written.id, { lineage: 1, era: 2, step: 6, epoch: 1 }],
    ["ahead", { lineage: 1, era: 2, step: 9, epoch: 2 }],
    ["of-another-era", { lineage: 1, era: 1, step: 4, epoch: 1 }],
  ]);
  await removeOwnUnpublished(options, state, givenUp);
  assert.deepEqual(
    [deleted, [...givenUp.keys()]],
    [[written.id], ["ahead", "of-another-era"]],
    "what may be gone on from stays",
  );
  assert.equal((await coordination.list(keys.checkpoints)).entries.length, 1, "nothing stays condemned");
  store.close();
});
