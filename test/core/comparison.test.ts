import assert from "node:assert/strict";
import { test } from "node:test";
import { type ComparedRun, comparisonText, compareRuns } from "../../src/core/comparison.ts";
import { comparisonCurve } from "../../src/core/comparison-curve.ts";
import { noSettings } from "../../src/core/settings.ts";

/** A run with these losses; its weights are called after `weights`, one an epoch from 0 on. */
function run(name: string, losses: readonly number[], weights: string, more: Partial<ComparedRun> = {}): ComparedRun {
  return {
    ...{
      name,
      job: "digits",
      run: 1,
      policy: { monitor: "loss", mode: "min" },
      equivalences: [],
      settings: noSettings,
    },
    history: losses.map((loss, i) => ({ epoch: i + 1, step: 10 * (i + 1), metrics: { loss }, improved: i === 0 })),
    digests: new Map([...weights].map((letter, epoch) => [epoch, `sha256:${letter}`])),
    fields: { "job.seed": "7", shards: "3" },
    ...more,
  };
}

test("runs are equal up to the first epoch whose metrics or weights differ, and it is said in what", () => {
  const base = run("a", [3, 2, 1], "pqrs");
  const cases: [ComparedRun, number, unknown][] = [
    [run("b", [3, 2, 1], "pqrs"), 3, null],
    [run("b", [3, 2, 1, 0.5], "pqrst"), 3, null],
    [run("b", [3, 2, 1], "pqxs"), 1, { epoch: 2, what: ["weights"] }],
    [run("b", [3, 2, 1.5], "pqrx"), 2, { epoch: 3, what: ["weights", "loss"] }],
    [run("b", [3, 2, 1], "xqrs"), 0, { epoch: 0, what: ["weights"] }],
  ];
  for (const [other, equalEpochs, difference] of cases) {
    const found = compareRuns([base, other]);
    assert.deepEqual([found.equalEpochs, found.difference], [equalEpochs, difference]);
  }
  assert.match(
    comparisonText(compareRuns([base, cases[3]![0]])),
    /Epochs 1–2 are equal bit for bit\. They differ first at epoch 3: weights, loss\./,
  );
});

test("NaN is equal to NaN; where weights are not known, that only metrics were compared is said", () => {
  const found = compareRuns([run("a", [3, Number.NaN], "pqr"), run("b", [3, Number.NaN], "pq")]);
  assert.deepEqual([found.equalEpochs, found.uncompared, found.difference], [2, [2], null]);
  assert.match(comparisonText(found), /Of 1 of them only the metrics were compared/);
});

test("fields in which not all are alike are listed with each run's value", () => {
  const other = run("b", [3], "pq", { fields: { "job.seed": "8", shards: "3", "job.wire": "bfloat16" } });
  const { fields } = compareRuns([run("a", [3], "pq"), other]);
  assert.deepEqual(fields, [
    { field: "job.seed", values: ["7", "8"] },
    { field: "job.wire", values: [null, "bfloat16"] },
  ]);
});

test("a picture of several runs has a colour and a legend for each, and one scale", () => {
  const svg = comparisonCurve([run("first", [3, 2, 1], ""), run("second & third", [4, 2], "")], "light");
  assert.match(svg, />first</);
  assert.match(svg, />second &amp; third</);
  assert.equal(svg.match(/<path class="stroke-/g)?.length, 2);
  assert.doesNotMatch(svg, /<style>|NaN|undefined/);
});

test("where runs are equal, a line lies on another one and is dashed there, so that both are seen", () => {
  const dashes = (...values: (readonly number[])[]) => {
    const svg = comparisonCurve(values.map((one, i) => run(`run ${i}`, one, "")));
    return [...svg.matchAll(/<path class="stroke-(\w+)"[^>]*/g)].map(([path, paint]) => {
      const [, pattern = "solid"] = /stroke-dasharray="([^"]*)"/.exec(path) ?? [];
      return `${paint} ${pattern}`;
    });
  };
  assert.deepEqual(dashes([3, 2, 1], [3, 2, 1]), ["training solid", "validation 6 6"]);
  assert.deepEqual(dashes([3, 2, 1], [3, 2, 4]), ["training solid", "validation 6 6", "validation solid"]);
  assert.deepEqual(dashes([3, 2, 1], [4, 2, 1]), ["training solid", "validation solid"]);
  assert.deepEqual(dashes([3, 2], [3, 2], [3, 2]), ["training solid", "validation 6 6", "best 6 12"]);
});

test("a picture of several runs says which lines are training and which are validation", () => {
  const validated = (name: string) => {
    const { history, ...rest } = run(name, [3, 2, 1], "");
    const both = history.map((one) => ({ ...one, metrics: { ...one.metrics, val_loss: one.metrics.loss! + 1 } }));
    return { ...rest, history: both };
  };
  const told = (...runs: Parameters<typeof comparisonCurve>[0]) => {
    const [, summary = ""] = /<desc[^>]*>([^<;]*);/.exec(comparisonCurve(runs)) ?? [];
    const named = [...comparisonCurve(runs).matchAll(/>(training|validation)</g)].map(([, word]) => word);
    return [summary, named.join(" ")];
  };
  assert.deepEqual(told(run("a", [1], ""), run("b", [2], "")), ["training", "training"]);
  assert.deepEqual(told(validated("a"), validated("b")), ["validation, and fainter training", "training validation"]);
  assert.deepEqual(told(validated("a"), run("b", [2], "")), [
    "validation, and fainter training, or training where a run has no validation",
    "training validation",
  ]);
});
