import assert from "node:assert/strict";
import { test } from "node:test";
import { stoppedEarly } from "../../src/core/early-stopping.ts";
import type { CheckpointDefinition } from "../../src/core/job.ts";
import type { Sampling } from "../../src/core/ledger.ts";
import { ruleOf } from "../fixtures/checkpoint-rule.ts";

const sampling: Sampling = {
  ...{ seed: 1, samples: 8, validation: { fraction: 0.25, take: "last" }, batchSize: 4, shards: 2 },
  ...{ data: "d", step: 0, epoch: 0, used: 0 },
};

/** After each epoch of a run with these validation losses: why it would end there. */
function endings(
  earlyStopping: NonNullable<CheckpointDefinition["earlyStopping"]>,
  losses: readonly number[],
  more: { rule?: CheckpointDefinition; samplings?: readonly Sampling[] } = {},
): (string | null)[] {
  const rule = ruleOf({ monitor: "val_loss", ...more.rule, earlyStopping });
  const history = losses.map((val_loss, i) => ({ epoch: i + 1, step: i, metrics: { val_loss }, improved: false }));
  return history.map((_, i) =>
    stoppedEarly(rule, { history: history.slice(0, i + 1), samplings: more.samplings ?? [sampling] }),
  );
}

const since = (epoch: number, last: number, much = "") =>
  `stopped early after epoch ${last}: val_loss has not improved ${much}since epoch ${epoch}`;

test("a run ends after so many epochs in a row without improvement, and says since when", () => {
  assert.deepEqual(endings({ patience: 2 }, [3, 2, 2.5, 1, 1, 1.5]), [null, null, null, null, null, since(4, 6)]);
  assert.deepEqual(endings({ patience: 1 }, [3, 3]), [null, since(1, 2)]);
  const upwards = endings({ patience: 1 }, [3, 2], { rule: { mode: "max" } });
  assert.deepEqual(upwards, [null, since(1, 2)]);
});

test("without a rule, and before the first epoch, a run goes on", () => {
  const history = [{ epoch: 1, step: 1, metrics: {}, improved: false }];
  assert.equal(stoppedEarly(ruleOf({}), { history, samplings: [] }), null);
  assert.equal(stoppedEarly(ruleOf({ earlyStopping: { patience: 1 } }), { history: [], samplings: [] }), null);
});

test("NaN, the infinities and a missing value are never an improvement", () => {
  const nothing = [Number.NaN, Number.NEGATIVE_INFINITY];
  assert.deepEqual(endings({ patience: 2 }, nothing), [
    null,
    "stopped early after epoch 2: val_loss was never a finite number",
  ]);
  assert.deepEqual(endings({ patience: 2 }, [1, ...nothing]), [null, null, since(1, 3)]);
});

test("less than minDelta is no improvement, and is measured from the best, not from the epoch before", () => {
  assert.deepEqual(endings({ patience: 2, minDelta: 0.5 }, [4, 3.75, 3.25, 3]), [null, null, null, null]);
  assert.deepEqual(endings({ patience: 2, minDelta: 0.5 }, [4, 3.75, 3.5])[2], since(1, 3, "by more than 0.5 "));
});

test("the first epochs are not looked at, their values neither", () => {
  assert.deepEqual(endings({ patience: 1, startFromEpoch: 3 }, [1, 1, 1, 5, 5]), [null, null, null, null, since(4, 5)]);
});

test("epochs on other data do not count", () => {
  const samplings = [sampling, { ...sampling, data: "e", step: 4, epoch: 2 }];
  assert.deepEqual(endings({ patience: 2 }, [1, 2, 5, 5, 5], { samplings }).slice(2), [null, null, since(3, 5)]);
  const longer = [sampling, { ...sampling, batchSize: 2, step: 4, epoch: 2 }];
  assert.equal(endings({ patience: 2 }, [1, 2, 5], { samplings: longer })[2], since(1, 3), "the same data");
});

test("another rule looks at all epochs anew: with more patience the run goes on, and counts on", () => {
  const losses = [1, 2, 2, 2];
  assert.equal(endings({ patience: 2 }, losses)[2], since(1, 3));
  assert.deepEqual(endings({ patience: 3 }, losses), [null, null, null, since(1, 4)]);
});
