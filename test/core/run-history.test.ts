import assert from "node:assert/strict";
import { test } from "node:test";
import { historyCsv, historyTable, type RunHistory } from "../../src/core/run-history.ts";
import type { EpochHistory } from "../../src/core/status.ts";
import { noSettings } from "../../src/core/settings.ts";

const history: readonly EpochHistory[] = [
  { epoch: 1, step: 10, metrics: { val_loss: 0.1 + 0.2, loss: 1 / 3, accuracy: Number.NaN }, improved: true },
  { epoch: 2, step: 20, metrics: { loss: 1e-7, val_loss: Number.POSITIVE_INFINITY, accuracy: 1 }, improved: false },
  { epoch: 3, step: 30, metrics: { loss: 0.25, 'a "b", c': 2 }, improved: false },
];
const run: RunHistory = {
  job: "digits",
  run: 2,
  settings: noSettings,
  policy: { monitor: "val_loss", mode: "min" },
  history,
};

test("CSV has a header, every digit of a number, NaN and Infinity as such, and quotes where a name needs them", () => {
  assert.equal(
    historyCsv(history),
    [
      'epoch,step,loss,accuracy,"a ""b"", c",val_loss,best',
      "1,10,0.3333333333333333,NaN,,0.30000000000000004,1",
      "2,20,1e-7,1,,Infinity,0",
      "3,30,0.25,,2,,0",
      "",
    ].join("\n"),
  );
});

test("the table has a line an epoch, its metrics in Keras' order, and marks the best", () => {
  const [heading, , header, ...lines] = historyTable(run).split("\n");
  assert.equal(heading, 'Run 2 of "digits": 3 epochs; the best is epoch 1, by val_loss (min).');
  assert.match(header!, /epoch +step +loss +accuracy +a "b", c +val_loss/);
  assert.deepEqual(
    lines.map((line) => line.includes("★ best")),
    [true, false, false],
  );
  assert.equal(historyTable({ ...run, history: [] }), 'Run 2 of "digits": 0 epochs.');
});
