/** `best` gets its name back when etcd has lost it: from the state that remembers it, and a worker that brings it. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import type { BestSoFar } from "../../src/core/checkpoint-policy.ts";
import { decodeJson, encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import { CheckpointError, type Manifest } from "../../src/core/manifest.ts";
import type { JobRecord, PublishedRecord } from "../../src/core/records.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";
import type { CheckpointContent, CheckpointStorage } from "../../src/ports/checkpoint-storage.ts";
import type { Log } from "../../src/ports/log.ts";
import { namingLostBest } from "../../src/runtime/lost-best.ts";
import { ruleOf } from "../fixtures/checkpoint-rule.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";

const keys = keysOf("digits", 1);
const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, with: () => quiet };
const of = { monitor: "val_loss", mode: "min", data: "digits" } as const;
const best: BestSoFar = { epoch: 2, step: 8, value: 0.5, of };
const idAt = (step: number) => `digits-1-step-${String(step).padStart(8, "0")}-g1-t5-x`;
const record = { job: "digits", run: 1, checkpoint: ruleOf({ monitor: "val_loss", mode: "min" }) } as JobRecord; // nothing else is asked

/** Two workers that bring these, and storage that has some of them whole. */
async function naming(
  context: TestContext,
  { brings = [[idAt(8)], [idAt(4), idAt(8)]], metrics = { val_loss: 0.5 }, isWhole = true },
  published: CheckpointPointer | null = null,
) {
  const store = new MemoryCoordination({ clock: new ManualClock(), log: quiet, leaseMarginMs: 1 });
  context.after(() => store.close());
  const coordination = store.connect();
  await coordination.transact(
    [],
    brings.map((ids, i) => ({
      ...{ kind: "put" as const, key: keys.member(`w${i}.1`) },
      value: encodeJson({ workerId: `w${i}.1`, name: `w${i}`, brings: ids }),
    })),
  );
  const manifest = { step: 8, epoch: 2, stepInEpoch: 0, metrics, writtenAt: "2026-01-01T00:00:00.000Z" } as unknown;
  const storage: Partial<CheckpointStorage> = {
    load: (id) =>
      isWhole ? Promise.resolve({} as CheckpointContent) : Promise.reject(new CheckpointError("corrupt", `${id} is`)),
    list: async () => [{ id: idAt(8), location: "here", manifestSha256: "m", manifest: manifest as Manifest }],
  };
  return namingLostBest({ coordination, keys, record, storage: storage as CheckpointStorage }, best, published);
}

test("rule 9: best is named again, with everyone who brings it", async (context) => {
  const found = await naming(context, {});
  const values = (found?.operations ?? []).map((one) => ("value" in one ? [one.key, one.value] : [])) as string[][];
  const [named, written] = [keys.best, keys.checkpoint(idAt(8))].map((key) => values.find(([k]) => k === key)![1]!);
  const { id, holders, value, step } = decodeJson<CheckpointPointer>(named!);
  assert.deepEqual([found?.id, id, holders, value, step], [idAt(8), idAt(8), ["w0", "w1"], 0.5, 8]);
  const { state, pointer } = decodeJson<PublishedRecord>(written!);
  assert.deepEqual([state, pointer.id], ["live", idAt(8)]);
});

test("rule 9: nothing is named that is another epoch's, is damaged, or that nobody brings", async (context) => {
  assert.equal(await naming(context, { metrics: { val_loss: 0.4 } }), null);
  assert.equal(await naming(context, { isWhole: false }), null);
  assert.equal(await naming(context, { brings: [[], [idAt(4)]] }), null);
});

test("rule 9: a best that etcd names, and that is as good, stays", async (context) => {
  const pointer = (value: number) => ({ id: "other", value, of }) as CheckpointPointer; // nothing else is compared
  assert.equal(await naming(context, {}, pointer(0.5)), null);
  assert.notEqual(await naming(context, {}, pointer(0.6)), null);
});
