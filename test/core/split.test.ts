import assert from "node:assert/strict";
import { test } from "node:test";
import { LockstepError } from "../../src/core/errors.ts";
import { RandomStream } from "../../src/core/random.ts";
import { type SplitFacts, splitBy } from "../../src/core/split.ts";
import type { SplitRule } from "../../src/core/validation-split.ts";

const factsOf = (facts: Partial<SplitFacts> & { total: number }): SplitFacts => ({
  own: facts.total,
  groups: null,
  labels: () => null,
  nameOf: String,
  ...facts,
});

const refused = (code: string, message: RegExp) => (error: unknown) => {
  assert(error instanceof LockstepError);
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};

/** So many random data sets of 2 to 300 samples, with five classes and as many groups as may be. */
function* someData(
  count: number,
): Generator<{ seed: number; facts: SplitFacts; labels: number[]; groups: Uint32Array }> {
  for (let seed = 0; seed < count; seed++) {
    const random = new RandomStream(seed, "report");
    const total = 2 + random.nextBelow(299);
    const labels = Array.from({ length: total }, () => Math.min(random.nextBelow(5), random.nextBelow(5)));
    const groupCount = 2 + random.nextBelow(total);
    const groups = Uint32Array.from({ length: total }, (_, i) => (i < 2 ? i : random.nextBelow(groupCount)));
    const facts = factsOf({
      total,
      own: 1 + random.nextBelow(total - 1),
      labels: () => Float32Array.from(labels),
      groups,
    });
    yield { seed, facts, labels, groups };
  }
}

test("whatever the rule, training and validation are disjoint, together all samples, and a function of the seed", () => {
  for (const { seed, facts } of someData(300)) {
    const fraction = 0.05 + (seed % 18) / 20;
    const rules: readonly SplitRule[] = [
      { fraction, by: "class" },
      { fraction, by: "group", column: "patient" },
      { by: "rows", rows: [0, facts.own] },
      { by: "files" },
      { fraction, take: "random" },
      { fraction, take: "last" },
    ];
    for (const rule of rules) {
      let split: ReturnType<typeof splitBy>;
      try {
        split = splitBy(seed, rule, facts);
      } catch (error) {
        assert(error instanceof LockstepError && error.code.startsWith("invalid-"), String(error));
        continue;
      }
      const { training, validation } = split;
      assert.ok(training.length > 0 && validation.length > 0);
      const all = [...training, ...validation].sort((a, b) => a - b);
      assert.deepEqual(
        all,
        Array.from({ length: facts.total }, (_, i) => i),
      );
      for (const part of [training, validation])
        assert.deepEqual(
          [...part],
          [...part].sort((a, b) => a - b),
        );
      assert.deepEqual(splitBy(seed, rule, facts), split);
    }
  }
});

test("stratified, each class has its fraction in validation to within one sample, and all together theirs", () => {
  let checked = 0;
  for (const { seed, facts, labels } of someData(300)) {
    const fraction = 0.1 + (seed % 8) / 10;
    try {
      const { validation } = splitBy(seed, { fraction, by: "class" }, facts);
      assert.equal(validation.length, Math.round(facts.total * fraction));
      for (const label of new Set(labels)) {
        const all = labels.filter((other) => other === label).length;
        const held = validation.reduce((sum, index) => sum + (labels[index] === label ? 1 : 0), 0);
        assert.ok(Math.abs(held - all * fraction) < 1 && held > 0 && held < all, `${held} of ${all}`);
      }
      checked++;
    } catch (error) {
      if (!(error instanceof LockstepError)) throw error;
      assert.match(error.message, /^The class \d has \d+ samples?: a validation\.fraction of/);
    }
  }
  assert.ok(checked > 100, `${checked} splits were looked at`);
});

test("a group is never in both parts, and the parts are near to the fraction where the groups are small", () => {
  for (const { seed, facts, groups } of someData(300)) {
    const { training, validation } = splitBy(seed, { fraction: 0.3, by: "group", column: "patient" }, facts);
    const held = new Set(Array.from(validation, (index) => groups[index]));
    assert.ok(training.every((index) => !held.has(groups[index])));
    const largest = Math.max(...[...new Set(groups)].map((group) => groups.filter((other) => other === group).length));
    assert.ok(Math.abs(validation.length - facts.total * 0.3) <= largest, `${validation.length} of ${facts.total}`);
  }
});

test("another seed holds back other samples and other groups", () => {
  const groups = Uint32Array.from({ length: 60 }, (_, i) => i % 20);
  const facts = factsOf({ total: 60, groups, labels: () => Float32Array.from({ length: 60 }, (_, i) => i % 3) });
  for (const rule of [
    { fraction: 0.3, by: "class" },
    { fraction: 0.3, by: "group", column: "patient" },
  ] as const) {
    assert.notDeepEqual(splitBy(1, rule, facts).validation, splitBy(2, rule, facts).validation);
  }
});

test("rows are counted from 0, without the last; validation files are all that comes after the data's own", () => {
  const facts = factsOf({ total: 6, own: 4 });
  assert.deepEqual([...splitBy(0, { by: "rows", rows: [1, 3] }, facts).validation], [1, 2]);
  assert.deepEqual([...splitBy(0, { by: "files" }, facts).validation], [4, 5]);
  assert.throws(
    () => splitBy(0, { by: "rows", rows: [1, 7] }, facts),
    refused("invalid-job", /ends at 7, and the data has 6 samples/),
  );
  assert.throws(
    () => splitBy(0, { by: "rows", rows: [0, 6] }, facts),
    refused("invalid-job", /leaves 0 for training and 6/),
  );
});

test("a class that one part would lack, a single group, and a label of several numbers are refused", () => {
  const labels = () => Float32Array.of(0, 0, 0, 0, 1);
  const facts = factsOf({ total: 5, labels, nameOf: (label) => ["cat", "dog"][label]! });
  const stratify = { fraction: 0.4, by: "class" } as const;
  assert.throws(
    () => splitBy(0, stratify, facts),
    refused("invalid-data", /^The class dog has 1 sample: .* leaves 1 for training and 0 for validation/),
  );
  assert.throws(
    () => splitBy(0, stratify, factsOf({ total: 5 })),
    refused("invalid-job", /label of this data is several/),
  );
  const one = factsOf({ total: 3, groups: Uint32Array.of(7, 7, 7) });
  assert.throws(
    () => splitBy(0, { fraction: 0.4, by: "group", column: "patient" }, one),
    refused("invalid-job", /column "patient" has one value/),
  );
});
