/** What pruning by hand tells: in-memory etcd, and storage that only lists. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { checkpointId } from "../../src/core/checkpoint-id.ts";
import { encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import type { CheckpointRecord, JobRecord } from "../../src/core/records.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";
import type { CheckpointStorage } from "../../src/ports/checkpoint-storage.ts";
import type { Log } from "../../src/ports/log.ts";
import { planPrune } from "../../src/runtime/prune-by-hand.ts";

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, with: () => quiet };
const keys = keysOf("digits", 1);
// All that is read of it.
const record = { job: "digits", run: 1, checkpoint: { keep: { last: 1, best: 1, everyHours: null } } } as JobRecord;
const idOf = (step: number) => checkpointId(record, { step, generation: 1, fencingToken: 1 }, "aaaa");

test("what would be pruned is told from one look at etcd, each checkpoint once", async (context) => {
  const store = new MemoryCoordination({ clock: systemClock, log: quiet, leaseMarginMs: 1 });
  context.after(() => store.close());
  const coordination = store.connect();
  const listed: string[] = [];
  const list = coordination.list.bind(coordination);
  coordination.list = (prefix) => {
    listed.push(prefix);
    return list(prefix);
  };
  const pointer = (step: number) => {
    return { id: idOf(step), lineage: 1, era: 1, step, epoch: step, value: null } as unknown as CheckpointPointer;
  };
  const put = (key: string, value: unknown) =>
    coordination.transact([], [{ kind: "put", key, value: encodeJson(value) }]);
  const published = (step: number, state: "live" | "set-aside" = "live"): CheckpointRecord => {
    return { state, pointer: pointer(step), writtenAtMs: 0, ...(state === "live" ? {} : { reason: "cut off" }) };
  };
  await put(keys.checkpoint(idOf(1)), { state: "condemned" } satisfies CheckpointRecord);
  for (const step of [2, 5, 6]) await put(keys.checkpoint(idOf(step)), published(step));
  await put(keys.checkpoint(idOf(3)), published(3, "set-aside"));
  await put(keys.pin(idOf(5), "paper"), { note: "" });
  await put(keys.latest, pointer(6));
  const manifest = { job: "digits", run: "1", era: 1, lineage: 1, step: 4, fencingToken: 1 };
  const storage = {
    list: async () => [
      { id: idOf(4), manifest },
      { id: idOf(8), manifest: { ...manifest, era: 0, step: 8 } },
    ],
    // Of the one that nobody published there are parts, too.
    unfinished: async () => [idOf(4), idOf(7)],
  } as unknown as CheckpointStorage; // all that a plan asks for
  const plan = await planPrune({ record, keys, coordination, storage }, { setAside: true, earlierEras: false });
  assert.deepEqual(
    plan.map(({ id, step, fate, reason }) => [id, step, fate, reason]),
    [
      [idOf(1), 1, "deleted", "condemned before"],
      [idOf(2), 2, "deleted", "nothing keeps it"],
      [idOf(3), 3, "deleted", "set aside: cut off"],
      [idOf(4), 4, "deleted", "etcd has no record of it"],
      [idOf(5), 5, "kept", "pinned"],
      [idOf(6), 6, "kept", "latest"],
      [idOf(7), 7, "deleted", "it was never finished"],
      [idOf(8), 8, "kept", "of era 0: etcd's data were lost since, and its record with them"],
    ],
  );
  assert.deepEqual(listed, [keys.checkpoints, keys.pins]);
  const all = await planPrune({ record, keys, coordination, storage }, { setAside: false, earlierEras: true });
  const fates = Object.fromEntries(all.map(({ step, fate }) => [step, fate]));
  assert.deepEqual([fates[3], fates[8]], ["kept", "deleted"]);
});
