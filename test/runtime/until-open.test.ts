/** What a worker that was opened for one start does when another one was made meanwhile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import type { JobRecord } from "../../src/core/records.ts";
import { isStartedAnew } from "../../src/runtime/until-open.ts";
import { quietLog } from "../fixtures/etcd.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";

test("a start that is made while a worker is opened is noticed before it asks to be let in; a coordinator that begins again is none", async (context) => {
  const store = new MemoryCoordination({ clock: new ManualClock(), log: quietLog, leaseMarginMs: 100 });
  context.after(() => store.close());
  const keys = keysOf("digits", 1);
  const place = { coordination: store.connect(), keys, log: quietLog };
  const known = { epochs: 6, start: 2 } as JobRecord; // what is asked about, and an example of what may differ
  const put = (record: JobRecord) =>
    place.coordination.transact([], [{ kind: "put", key: keys.record, value: encodeJson(record) }]);
  assert.equal(await isStartedAnew(place, known), false, "etcd that was put back knows of no run, and of no start");
  await put(known);
  assert.equal(await isStartedAnew(place, known), false);
  await put({ ...known, epochs: 8, start: 3 });
  assert.equal(await isStartedAnew(place, known), true);
});
