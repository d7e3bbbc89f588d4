import assert from "node:assert/strict";
import { test } from "node:test";
import type { OptimizerDefinition } from "../../src/core/job.ts";
import { betasOf, rateAt, slotsOf } from "../../src/core/optimizer.ts";

const kinds: readonly OptimizerDefinition[] = [
  { kind: "sgd", learningRate: 0.1 },
  { kind: "sgd", learningRate: 0.1, momentum: 0.9, nesterov: true },
  { kind: "rmsprop", learningRate: 0.01 },
  { kind: "adagrad", learningRate: 0.01 },
  { kind: "adam", learningRate: 0.001 },
];

test("each optimizer keeps the slots of its published form, and no two under one name", () => {
  assert.deepEqual(
    kinds.map((optimizer) => slotsOf(optimizer).map(({ name }) => name)),
    [[], ["momentum"], ["square"], ["square"], ["mean", "square"]],
  );
  assert.deepEqual(slotsOf({ kind: "sgd", learningRate: 0.1, momentum: 0 }), [], "no momentum, nothing to keep");
});

test("slots begin at zero, but for Adagrad's, which begins where the job says", () => {
  for (const optimizer of kinds.filter(({ kind }) => kind !== "adagrad")) {
    for (const { initialValue } of slotsOf(optimizer)) assert.equal(initialValue, 0);
  }
  assert.equal(slotsOf({ kind: "adagrad", learningRate: 0.1 })[0]?.initialValue, 0.1);
  assert.equal(slotsOf({ kind: "adagrad", learningRate: 0.1, initialAccumulator: 0 })[0]?.initialValue, 0);
});

test("the rate is the learning rate at every update, but for Adam's", () => {
  for (const optimizer of kinds.filter(({ kind }) => kind !== "adam")) {
    for (const update of [1, 2, 1000]) assert.equal(rateAt(optimizer, 0.3, update), 0.3);
  }
});

test("Adam's rate makes up for moments that begin at zero: under a constant gradient each update is the learning rate", () => {
  for (const optimizer of [
    { kind: "adam", learningRate: 0.01 },
    { kind: "adam", learningRate: 0.01, beta1: 0.5, beta2: 0.99 },
    { kind: "adam", learningRate: 0.01, beta1: 0, beta2: 0 },
  ] as const) {
    const { beta1, beta2 } = betasOf(optimizer);
    const gradient = 0.3;
    let mean = 0;
    let square = 0;
    for (let update = 1; update <= 50; update++) {
      mean = beta1 * mean + (1 - beta1) * gradient;
      square = beta2 * square + (1 - beta2) * gradient ** 2;
      const change = (rateAt(optimizer, optimizer.learningRate, update) * mean) / Math.sqrt(square);
      assert.ok(Math.abs(change / optimizer.learningRate - 1) < 1e-9, `update ${update}: ${change}`);
    }
  }
});

test("the rate is a function of the update's number alone, so that any step can be resumed at", () => {
  const adam: OptimizerDefinition = { kind: "adam", learningRate: 0.001 };
  const inOrder = [1, 2, 3, 4, 5].map((update) => rateAt(adam, 0.001, update));
  const alone = [5, 3, 1, 4, 2].map((update) => [update, rateAt(adam, 0.001, update)] as const);
  for (const [update, rate] of alone) assert.ok(Object.is(rate, inOrder[update - 1]));
});
