/** Waiting for a checkpoint that cannot be read: over the in-memory etcd, with a storage that has none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { failureBudget } from "../../src/core/failure-budget.ts";
import { encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import { CheckpointError } from "../../src/core/manifest.ts";
import type { Log } from "../../src/ports/log.ts";
import { type LoadOptions, loadState } from "../../src/runtime/load-state.ts";

test("whoever waits for a checkpoint that is not there stops waiting when a stop is asked for", async (context) => {
  const keys = keysOf("one", 1);
  const warnings: string[] = [];
  const log: Log = {
    ...{ debug() {}, info() {}, error() {}, with: () => log },
    warn: (message) => void warnings.push(message),
  };
  const store = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
  context.after(() => store.close());
  const coordination = store.connect();
  await coordination.transact([], [{ kind: "put", key: keys.checkpoint("c1"), value: encodeJson({ state: "live" }) }]);
  let loads = 0;
  const storage = {
    load: () => {
      loads += 1;
      return Promise.reject(new CheckpointError("missing", "There is no checkpoint c1."));
    },
  };
  const budget = { ...failureBudget(5000), pollMs: 1 };
  // Nothing else of the storage, and nothing of the model, is asked for.
  const options = {
    keys,
    budget,
    coordination,
    storage,
    clock: systemClock,
    log,
    workerId: "a",
  } as unknown as LoadOptions;
  const wanted = { id: "c1", digest: "sha256:1", generation: 1 };
  const taken = await loadState(options, wanted, new AbortController().signal, () => loads >= 3);
  assert.deepEqual([taken, loads], [null, 3]);
  assert.deepEqual(warnings, ["the state cannot be read yet; waiting for it"]);
});
