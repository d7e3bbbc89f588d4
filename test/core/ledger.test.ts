import assert from "node:assert/strict";
import { test } from "node:test";
import { continueSampling, type LedgerRules, ledgerOf, ledgerParts, type Sampling } from "../../src/core/ledger.ts";
import { splitSamples } from "../../src/core/sampler.ts";

const held = { fraction: 0.2, take: "random" } as const;
const rulesOf = (samples: number, batchSize: number, shards: number): LedgerRules => ({
  ...{ seed: 9, samples, batchSize, shards },
  validation: held,
});

test("promise 5: within an epoch every training sample occurs once in the ledger, and no validation sample does", () => {
  for (const [samples, batchSize, shards] of [
    [100, 20, 4],
    [103, 20, 6],
    [97, 1, 1],
    [50, 64, 7],
  ] as const) {
    const rules = rulesOf(samples, batchSize, shards);
    const { training, validation } = splitSamples(rules.seed, samples, held);
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

const sampled = (changes: Partial<Sampling>): Sampling => ({
  ...rulesOf(100, 20, 3),
  ...{ step: 0, epoch: 0, used: 0, data: "a" },
  ...changes,
});
const textOf = (samplings: readonly Sampling[], epoch: number) =>
  ledgerParts(samplings, epoch).flatMap(({ lines }) =>
    [...lines].map(({ step, shard, samples }) => `${step} ${shard}: ${samples.join(" ")}`),
  );

test("after a change an epoch is told by the rules that it was trained with, with the steps' real numbers", () => {
  // 80 samples train: four steps an epoch; then, from the middle of epoch 2 on, batches of 10; another seed from epoch 4.
  const samplings = [
    sampled({}),
    sampled({ batchSize: 10, shards: 2, step: 5, epoch: 1, used: 20 }),
    sampled({ batchSize: 10, shards: 2, seed: 8, step: 19, epoch: 3 }),
  ];
  const [first, second, third] = samplings;
  const before = [...ledgerOf(rulesOf(100, 20, 3), 2)];
  assert.deepEqual(textOf(samplings, 1), textOf([first!], 1));
  const stepsOf = (epoch: number) => [
    ...new Set(ledgerParts(samplings, epoch).flatMap(({ lines }) => [...lines].map(({ step }) => step))),
  ];
  assert.deepEqual([1, 2, 3, 4, 5].map(stepsOf), [
    [1, 2, 3, 4],
    [5, 6, 7, 8, 9, 10, 11],
    [12, 13, 14, 15, 16, 17, 18, 19],
    [20, 21, 22, 23, 24, 25, 26, 27],
    [28, 29, 30, 31, 32, 33, 34, 35],
  ]);
  const parts = ledgerParts(samplings, 2);
  assert.deepEqual(
    parts.map(({ firstStep, sampling }) => [firstStep, sampling.batchSize, sampling.shards]),
    [
      [5, 20, 3],
      [6, 10, 2],
    ],
  );
  const used = parts.flatMap(({ lines }) => [...lines].flatMap(({ samples }) => samples));
  const { training } = splitSamples(9, 100, held);
  assert.deepEqual(
    [...used].sort((a, b) => a - b),
    [...training],
    "the epoch with the change uses each sample once too",
  );
  assert.deepEqual(
    used.slice(0, 20),
    before.slice(0, 3).flatMap(({ samples }) => samples),
  );
  assert.notDeepEqual(textOf(samplings, 4), textOf([first!, second!], 4));
  assert.deepEqual(textOf(samplings, 4), textOf([first!, second!, third!], 4));
});

test("an epoch from before what is recorded is refused, not made up", () => {
  const known = [sampled({ step: 9, epoch: 2, used: 20 })];
  for (const epoch of [1, 2, 3])
    assert.throws(() => ledgerParts(known, epoch), /epoch \d was trained with.*from step 10 on/);
  assert.equal(ledgerParts(known, 4)[0]!.firstStep, 13);
});

test("a sampling is added when something that decides the samples is another, with the place; and only then", () => {
  const place = { step: 7, epoch: 1, used: 40 };
  const first = continueSampling([], sampled({}), { step: 0, epoch: 0, used: 0 });
  assert.deepEqual(first, [sampled({})]);
  assert.equal(continueSampling(first, { ...sampled({}), ...place }, place), first);
  for (const change of [
    { seed: 1 },
    { samples: 99 },
    { validation: null },
    { batchSize: 5 },
    { shards: 4 },
    { data: "b" },
  ]) {
    assert.deepEqual(continueSampling(first, sampled(change), place), [...first, sampled({ ...change, ...place })]);
  }
});
