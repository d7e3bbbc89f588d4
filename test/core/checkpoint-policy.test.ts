import assert from "node:assert/strict";
import { test } from "node:test";
import {
  bestOf,
  type BestSoFar,
  type CheckpointPolicy,
  formatMetric,
  judge,
  measuredOn,
  movesBest,
} from "../../src/core/checkpoint-policy.ts";

const least: CheckpointPolicy = { monitor: "val_loss", mode: "min" };
const most: CheckpointPolicy = { monitor: "val_accuracy", mode: "max" };
const data = "sha256:d";
const best: BestSoFar = { epoch: 4, step: 400, value: 0.61, of: bestOf(least, data) };
const bestOfMost: BestSoFar = { ...best, of: bestOf(most, data) };

function epoch(number: number, metrics: Record<string, number>) {
  return { epoch: number, step: number * 100, metrics, data };
}

test("the first finite value is the best one", () => {
  assert.deepEqual(judge(least, null, epoch(1, { val_loss: 0.7 })), {
    improved: true,
    best: { epoch: 1, step: 100, value: 0.7, of: best.of },
    setAside: null,
    reason: "val_loss 0.700, best saved (first)",
  });
});

test("a better value becomes the best one, a worse one does not, in either mode", () => {
  assert.deepEqual(judge(least, { ...best, value: 0.62 }, epoch(5, { val_loss: 0.61 })), {
    improved: true,
    best: { epoch: 5, step: 500, value: 0.61, of: best.of },
    setAside: null,
    reason: "val_loss 0.620 → 0.610, best saved",
  });
  assert.deepEqual(judge(least, best, epoch(5, { val_loss: 0.615 })), {
    improved: false,
    best,
    setAside: null,
    reason: "val_loss 0.615, best stays 0.610 (epoch 4)",
  });
  assert.equal(
    judge(most, bestOfMost, epoch(5, { val_accuracy: 0.62 })).reason,
    "val_accuracy 0.610 → 0.620, best saved",
  );
  assert.equal(judge(most, bestOfMost, epoch(5, { val_accuracy: 0.6 })).improved, false);
});

test("of equal values the earlier epoch stays the best one; -0 equals 0", () => {
  assert.deepEqual(judge(least, best, epoch(9, { val_loss: 0.61 })), {
    improved: false,
    best,
    setAside: null,
    reason: "val_loss 0.610, best stays 0.610 (epoch 4)",
  });
  assert.equal(judge(least, { ...best, value: 0 }, epoch(9, { val_loss: -0 })).improved, false);
  assert.equal(judge(most, { ...bestOfMost, value: -0 }, epoch(9, { val_accuracy: 0 })).improved, false);
});

for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
  test(`${value} never becomes the best one, neither first nor later, in either mode`, () => {
    for (const policy of [least, most]) {
      const metrics = { [policy.monitor]: value };
      const first = judge(policy, null, epoch(1, metrics));
      assert.deepEqual(first, {
        improved: false,
        best: null,
        setAside: null,
        reason: `${policy.monitor} ${value}, no best yet`,
      });
      assert.equal(judge(policy, first.best, epoch(2, { [policy.monitor]: 5 })).improved, true, "a number after it");
      const before = policy === least ? best : bestOfMost;
      assert.deepEqual(judge(policy, before, epoch(5, metrics)), {
        improved: false,
        best: before,
        setAside: null,
        reason: `${policy.monitor} ${value}, best stays 0.610 (epoch 4)`,
      });
    }
  });
}

test("a missing metric is never the best one, and the reason says what there is", () => {
  assert.deepEqual(judge(least, best, epoch(5, { loss: 0.1, accuracy: 0.9 })), {
    improved: false,
    best,
    setAside: null,
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
      const policy = { monitor: "m", mode: other < value ? "min" : "max" } as const;
      const { reason } = judge(policy, { epoch: 1, step: 1, value, of: bestOf(policy, data) }, epoch(2, { m: other }));
      const [, before, after] = /^m (\S+) → (\S+), best saved$/.exec(reason) ?? assert.fail(reason);
      assert.notEqual(Number(before), Number(after), reason);
      assert.equal(Math.sign(Number(after) - Number(before)), Math.sign(other - value), reason);
    }
  }
  const close = judge(least, { ...best, value: 0.6100001 }, epoch(5, { val_loss: 0.61 }));
  assert.equal(close.reason, "val_loss 0.6100001 → 0.6100000, best saved");
});

test("with minDelta a value is better only by more than that", () => {
  const policy = { ...least, minDelta: 0.25 };
  const before = { ...best, value: 1 };
  assert.equal(judge(policy, before, epoch(5, { val_loss: 0.75 })).improved, false, "by just as much");
  assert.equal(judge(policy, before, epoch(5, { val_loss: 0.5 })).improved, true);
  const upwards = { ...most, minDelta: 0.25 };
  assert.equal(judge(upwards, { ...bestOfMost, value: 1 }, epoch(5, { val_accuracy: 1.25 })).improved, false);
  assert.equal(judge(upwards, { ...bestOfMost, value: 1 }, epoch(5, { val_accuracy: 1.5 })).improved, true);
});

test("the first best has to be better than the threshold", () => {
  const policy = { ...least, initialValueThreshold: 0.5 };
  assert.deepEqual(judge(policy, null, epoch(1, { val_loss: 0.5 })), {
    improved: false,
    best: null,
    setAside: null,
    reason: "val_loss 0.500 is no better than the threshold 0.500, no best yet",
  });
  assert.equal(judge(policy, null, epoch(2, { val_loss: 0.49 })).improved, true);
  assert.equal(judge(policy, best, epoch(5, { val_loss: 0.6 })).improved, true, "later it means nothing");
});

test("a best of another metric, mode or validation data is none, and the reason says so", () => {
  const other: BestSoFar = { ...bestOfMost, value: 0.99 };
  assert.deepEqual(judge(least, other, epoch(5, { val_loss: 0.9 })), {
    improved: true,
    best: { epoch: 5, step: 500, value: 0.9, of: best.of },
    setAside: other.of,
    reason: "val_loss 0.900, best saved (first); a new line of bests, since the one before was of val_accuracy (max)",
  });
  const elsewhere: BestSoFar = { ...best, of: bestOf(least, "sha256:e") };
  const judgement = judge(least, elsewhere, epoch(5, { val_loss: 0.9 }));
  assert.equal(judgement.improved, true);
  assert.match(judgement.reason, /a new line of bests, since the one before was of val_loss on other data$/);
  const reversed: BestSoFar = { ...best, of: bestOf({ ...least, mode: "max" }, data) };
  assert.match(judge(least, reversed, epoch(5, { val_loss: 0.9 })).reason, /was of val_loss \(max\)$/);
  assert.deepEqual(judge(least, elsewhere, epoch(5, { val_loss: Number.NaN })).best, null, "also without a new one");
});

test("validation values are of the same data only if it was split off in the same way", () => {
  const set = { data: "sha256:d", seed: 7, validation: { fraction: 0.2, take: "random" } } as const;
  const last = { ...set, validation: { fraction: 0.2, take: "last" } } as const;
  const names = [set, { ...set, seed: 8 }, { ...set, validation: { ...set.validation, fraction: 0.3 } }, last].map(
    (one) => measuredOn("val_loss", one),
  );
  assert.equal(new Set(names).size, names.length);
  assert.equal(measuredOn("val_loss", { ...last, seed: 9 }), measuredOn("val_loss", last), "no seed decides that");
  assert.equal(measuredOn("loss", { ...set, validation: null }), measuredOn("loss", set));
});

test("rule 9: the published best moves to what is better than it, whatever is thought to be best elsewhere", () => {
  const published = { of: best.of, value: 0.61 };
  assert.equal(movesBest(least, published, { of: best.of, value: 0.6 }), true);
  assert.equal(movesBest(least, published, { of: best.of, value: 0.61 }), false, "a tie");
  assert.equal(movesBest(least, published, { of: best.of, value: 0.7 }), false, "a resumed run that began anew");
  assert.equal(movesBest(least, published, { of: bestOf(least, "other"), value: 0.7 }), true, "of something else");
  for (const value of [null, Number.NaN, Number.NEGATIVE_INFINITY]) {
    assert.equal(movesBest(least, published, { of: bestOf(least, "other"), value }), false, String(value));
    assert.equal(movesBest(least, null, { of: best.of, value }), false, String(value));
  }
  assert.equal(movesBest(least, null, { of: best.of, value: 9 }), true);
  assert.equal(movesBest({ ...least, initialValueThreshold: 5 }, null, { of: best.of, value: 9 }), false);
});
