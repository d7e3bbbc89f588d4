import assert from "node:assert/strict";
import { test } from "node:test";
import { type LedgerRules, ledgerOf } from "../../src/core/ledger.ts";
import { splitSamples } from "../../src/core/sampler.ts";

const rulesOf = (samples: number, batchSize: number, shards: number): LedgerRules => ({
  ...{ seed: 9, samples, batchSize, shards },
  validation: { fraction: 0.2, take: "random" },
});

test("promise 5: within an epoch every training sample occurs once in the ledger, and no validation sample does", () => {
  for (const [samples, batchSize, shards] of [
    [100, 20, 4],
    [103, 20, 6],
    [97, 1, 1],
    [50, 64, 7],
  ] as const) {
    const rules = rulesOf(samples, batchSize, shards);
    const { training, validation } = splitSamples(rules.seed, samples, rules.validation);
    for (const epoch of [1, 2, 30]) {
      const used = [...ledgerOf(rules, epoch)].flatMap((line) => line.samples);
      assert.deepEqual(
        [...used].sort((a, b) => a - b),
        [...training],
      );
      assert.ok(used.every((sample) => !validation.includes(sample)));
    }
  }
});

test("every step has a line for each shard, and steps are counted through the job", () => {
  const lines = [...ledgerOf(rulesOf(100, 20, 3), 2)];
  assert.deepEqual(
    lines.map(({ step, shard }) => [step, shard]),
    [5, 6, 7, 8].flatMap((step) => [0, 1, 2].map((shard) => [step, shard])),
  );
});
