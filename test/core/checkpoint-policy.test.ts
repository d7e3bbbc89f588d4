import assert from "node:assert/strict";
import { test } from "node:test";
import { type BestSoFar, type CheckpointPolicy, formatMetric, judge } from "../../src/core/checkpoint-policy.ts";

const least: CheckpointPolicy = { monitor: "val_loss", mode: "min" };
const most: CheckpointPolicy = { monitor: "val_accuracy", mode: "max" };
const best: BestSoFar = { epoch: 4, step: 400, value: 0.61 };

function epoch(number: number, metrics: Record<string, number>) {
  return { epoch: number, step: number * 100, metrics };
}

test("the first finite value is the best one", () => {
  assert.deepEqual(judge(least, null, epoch(1, { val_loss: 0.7 })), {
    improved: true,
    best: { epoch: 1, step: 100, value: 0.7 },
    reason: "val_loss 0.700, best saved (first)",
  });
});

test("a better value becomes the best one, a worse one does not, in either mode", () => {
  assert.deepEqual(judge(least, { ...best, value: 0.62 }, epoch(5, { val_loss: 0.61 })), {
    improved: true,
    best: { epoch: 5, step: 500, value: 0.61 },
    reason: "val_loss 0.620 → 0.610, best saved",
  });
  assert.deepEqual(judge(least, best, epoch(5, { val_loss: 0.615 })), {
    improved: false,
    best,
    reason: "val_loss 0.615, best stays 0.610 (epoch 4)",
  });
  assert.equal(judge(most, best, epoch(5, { val_accuracy: 0.62 })).reason, "val_accuracy 0.610 → 0.620, best saved");
  assert.equal(judge(most, best, epoch(5, { val_accuracy: 0.6 })).improved, false);
});

test("of equal values the earlier epoch stays the best one; -0 equals 0", () => {
  assert.deepEqual(judge(least, best, epoch(9, { val_loss: 0.61 })), {
    improved: false,
    best,
    reason: "val_loss 0.610, best stays 0.610 (epoch 4)",
  });
  assert.equal(judge(least, { ...best, value: 0 }, epoch(9, { val_loss: -0 })).improved, false);
  assert.equal(judge(most, { ...best, value: -0 }, epoch(9, { val_accuracy: 0 })).improved, false);
});

for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
  test(`${value} never becomes the best one, neither first nor later, in either mode`, () => {
    for (const policy of [least, most]) {
      const metrics = { [policy.monitor]: value };
      const first = judge(policy, null, epoch(1, metrics));
      assert.deepEqual(first, { improved: false, best: null, reason: `${policy.monitor} ${value}, no best yet` });
      assert.equal(judge(policy, first.best, epoch(2, { [policy.monitor]: 5 })).improved, true, "a number after it");
      assert.deepEqual(judge(policy, best, epoch(5, metrics)), {
        improved: false,
        best,
        reason: `${policy.monitor} ${value}, best stays 0.610 (epoch 4)`,
      });
    }
  });
}

test("a missing metric is never the best one, and the reason says what there is", () => {
  assert.deepEqual(judge(least, best, epoch(5, { loss: 0.1, accuracy: 0.9 })), {
    improved: false,
    best,
    reason: "val_loss missing (the metrics are: loss, accuracy), best stays 0.610 (epoch 4)",
  });
  assert.equal(judge(least, null, epoch(1, {})).reason, "val_loss missing (the metrics are: none), no best yet");
  assert.match(judge({ monitor: "constructor", mode: "max" }, null, epoch(1, {})).reason, /^constructor missing/);
});

test("numbers read well at every size", () => {
  const shown = [0, 1, 0.61, 0.9523, 0.05, 0.00123, 1.23e-4, 1e-7, 12.3, 123.456, 12345.6, 2.5e9, -0.5, Number.NaN];
  assert.deepEqual(shown.map(formatMetric), [
    "0.000",
    "1.000",
    "0.610",
    "0.952",
    "0.0500",
    "0.00123",
    "0.000123",
    "1.00e-7",
    "12.300",
    "123.456",
    "12345.6",
    "2.50e+9",
    "-0.500",
    "NaN",
  ]);
});

test("two different values are never shown as the same number", () => {
  const neighbours = [0.61, 1e-7, 12345.6, 1e-4, 0.1, 1000, 1e7, 5e-324, 1.5e300, -0.61, 0.09999999999999999];
  for (const value of neighbours) {
    for (const distance of [1e-3, 1e-9, 1e-15, 2.3e-16, -1e-15, -1e-9]) {
      const other = value === 5e-324 ? 1e-323 : value * (1 + distance);
      if (other === value) continue;
      const mode = other < value ? "min" : "max";
      const { reason } = judge({ monitor: "m", mode }, { epoch: 1, step: 1, value }, epoch(2, { m: other }));
      const [, before, after] = /^m (\S+) → (\S+), best saved$/.exec(reason) ?? assert.fail(reason);
      assert.notEqual(Number(before), Number(after), reason);
      assert.equal(Math.sign(Number(after) - Number(before)), Math.sign(other - value), reason);
    }
  }
  const close = judge(least, { ...best, value: 0.6100001 }, epoch(5, { val_loss: 0.61 }));
  assert.equal(close.reason, "val_loss 0.6100001 → 0.6100000, best saved");
});
