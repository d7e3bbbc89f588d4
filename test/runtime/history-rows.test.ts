/** The rows of a run's history, as they are made from what etcd holds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import type { EpochRecord } from "../../src/core/records.ts";
import type { Entry } from "../../src/ports/coordination.ts";
import { historyOf } from "../../src/runtime/cluster-status.ts";
import { Decoder } from "../../src/runtime/decoder.ts";
import { readRun } from "../../src/runtime/run-reading.ts";

const keys = keysOf("tiny", 1);

function recordOf(epoch: number): EpochRecord {
  const state = { lineage: 1, era: 1, epoch, stepInEpoch: 0, step: 5 * epoch, digest: `sha256:${epoch}` };
  const metrics = epoch === 0 ? null : { loss: 1 / epoch };
  return {
    ...{ epoch, generation: 1, members: ["w1"], state, weightsDigest: "sha256:0", metrics },
    ...{ improved: true, setAside: null, stopping: false },
  };
}

const entryOf = (key: string, value: unknown): Entry => ({
  ...{ key, value: encodeJson(value), createRevision: 1, modRevision: 1, leaseId: null },
});
const recorded = (epochs: readonly number[]) => epochs.map((epoch) => entryOf(keys.epoch(1, epoch), recordOf(epoch)));

test("whoever reads again finds the rows that it had, and new ones for new epochs alone", () => {
  const decoder = new Decoder();
  const before = historyOf(readRun(recorded([0, 1, 2]), keys, decoder));
  const after = historyOf(readRun(recorded([0, 1, 2, 3]), keys, decoder));
  assert.deepEqual(
    after.map(({ epoch }) => epoch),
    [1, 2, 3],
  );
  for (const [i, row] of before.entries()) assert.equal(after[i], row);
});

test("epochs whose records are lost are there as the state remembers them, in their order", () => {
  const row = (epoch: number) => ({ epoch, step: 5 * epoch, metrics: { loss: 9 }, improved: false });
  const entries = [...recorded([0, 2, 4]), entryOf(keys.remembered, [row(1), row(2), row(3)])];
  const history = historyOf(readRun(entries, keys));
  assert.deepEqual(
    history.map(({ epoch, metrics }) => [epoch, metrics.loss]),
    [
      [1, 9],
      [2, 1 / 2],
      [3, 9],
      [4, 1 / 4],
    ],
  );
});
