import assert from "node:assert/strict";
import { test } from "node:test";
import { epochRecords, finishedEvent, type ResultCheckpoint, type RunResult } from "../../src/core/run-result.ts";
import { printable, summaryText, table } from "../../src/core/summary-table.ts";

function checkpoint(epoch: number, value: number | null): ResultCheckpoint {
  const path = `runs/digits/checkpoints/step-${epoch * 103}`;
  return { epoch, step: epoch * 103, monitor: "val_loss", value, path };
}

const result: RunResult = {
  job: "digits",
  epochs: 12,
  steps: 1236,
  weightsDigest: `sha256:${"4f".repeat(32)}`,
  monitor: "val_loss",
  minDelta: 0,
  best: checkpoint(7, 1.23412),
  latest: checkpoint(12, 1.45617),
  history: [{ epoch: 1, loss: 2, val_loss: 2.1 }],
  test: { accuracy: 0.9712, loss: 1.25 },
  testLatest: { accuracy: 0.9651, loss: 1.47 },
  early: null,
  equivalences: [],
  generations: 2,
  directory: "runs/digits",
  report: "\ninterface Digit {\n  value: number;\n}\n",
  curve: "runs/digits/curve.svg",
  seconds: 92.31,
  goOn: { words: ["examples/digits.ts", "--job", "digits", "--data", "my data"], epochs: "12" },
};

test("nothing better means by more than minDelta, where there is one", () => {
  assert.match(
    summaryText({ ...result, minDelta: 0.5 }),
    /; 5 more epochs brought nothing better by more than 0\.5 \(minDelta\)\.$/m,
  );
});

test("the summary sets best and latest side by side, then the report, the files and what to do next", () => {
  assert.equal(
    summaryText(result),
    `digits: 12 epochs, 1,236 steps, 2 generations, 1 min 32 s
weights sha256:4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f
bit-exact

                 best  latest
epoch               7      12
step              721   1,236
val_loss        1.234   1.456
test loss       1.250   1.470
test accuracy  0.9712  0.9651

best    runs/digits/checkpoints/step-721
latest  runs/digits/checkpoints/step-1236

Epoch 7 is the best by val_loss; 5 more epochs brought nothing better.

Report of the best model, epoch 7:

  interface Digit {
    value: number;
  }

Files
  run         runs/digits
  loss curve  runs/digits/curve.svg

Next
  see this again  npx lockstep launch examples/digits.ts --job digits --data 'my data' --epochs 12
  train on        npx lockstep launch examples/digits.ts --job digits --data 'my data' --epochs 24`,
  );
});

test("a run of one epoch, without test data, report, curve or a best, has a summary without holes", () => {
  const bare = { ...result, epochs: 1, steps: 103, generations: 1, best: null, latest: checkpoint(1, Number.NaN) };
  const text = summaryText({ ...bare, test: null, testLatest: null, report: " \n", curve: null });
  assert.match(text, /^digits: 1 epoch, 103 steps, 1 generation, /);
  assert.match(text, /^epoch {8}– {7}1\nstep {9}– {5}103\nval_loss {5}– {5}NaN$/m);
  assert.match(text, /^No checkpoint is best: val_loss was never a finite number\.$/m);
  assert.doesNotMatch(text, /undefined|null|curve|Report|\n\n\n/);
});

test("where best is latest, or latest lies in the middle of an epoch, the summary says so", () => {
  assert.match(summaryText({ ...result, best: result.latest }), /The latest epoch is also the best one by val_loss\./);
  assert.match(summaryText({ ...result, latest: checkpoint(12, null) }), /^val_loss +1\.234 +–$/m);
});

test("the summary keeps to 100 columns, and to printable characters", () => {
  const metrics = { meanSquaredError: 1e-7, meanAbsoluteError: 123456.7, accuracy: Number.NaN };
  const text = summaryText({
    ...result,
    job: "a".repeat(40),
    test: metrics,
    report: "red \u001b[31m\tand\u0007\r\nmore",
  });
  for (const line of text.split("\n")) {
    assert.ok(line.length <= 100 || line.includes("npx lockstep"), `${line.length} columns: ${line}`);
  }
  assert.match(text, /^ {2}red �\[31m {4}and�\n {2}more$/m);
  assert.equal(printable(text), text);
});

test("a path with blanks or quotes can be copied from the suggested command", () => {
  const text = summaryText({ ...result, goOn: { words: ["my jobs/it's.ts", "--job", "digits"], epochs: null } });
  assert.ok(text.includes(`npx lockstep launch 'my jobs/it'\\''s.ts' --job digits`));
});

test("the finished event has the documented fields, in their order, and nothing that depends on time", () => {
  const event = finishedEvent({ ...result, test: { accuracy: Number.NaN } });
  assert.deepEqual(JSON.parse(JSON.stringify(event)), {
    event: "finished",
    job: "digits",
    epochs: 12,
    steps: 1236,
    weightsDigest: result.weightsDigest,
    best: result.best,
    latest: result.latest,
    history: result.history,
    test: { accuracy: null },
    testLatest: result.testLatest,
    generations: 2,
    early: null,
    exactness: "bit-exact",
    equivalences: [],
  });
  assert.equal(
    Object.keys(event).join(" "),
    "event job epochs steps weightsDigest best latest history test testLatest generations early exactness equivalences",
  );
});

test("history in a result is flat, and its metrics stand in Keras' order", () => {
  const metrics = { accuracy: 0.9, loss: 0.5, val_accuracy: 0.8, val_loss: 0.6 };
  const records = epochRecords([{ epoch: 3, step: 6, metrics, improved: true }]);
  assert.equal(JSON.stringify(records), '[{"epoch":3,"loss":0.5,"accuracy":0.9,"val_loss":0.6,"val_accuracy":0.8}]');
});

test("a table's columns are as wide as their widest cell", () => {
  assert.equal(
    table(
      [
        ["a", "number", "x"],
        ["long", "1", ""],
      ],
      [1],
    ),
    "a     number  x\nlong       1",
  );
});

test("a run that stopped early says so, and how to train on", () => {
  const early = "stopped early after epoch 12: val_loss has not improved since epoch 7";
  const text = summaryText({ ...result, early });
  assert.match(text, /32 s\nstopped early after epoch 12: val_loss has not improved since epoch 7\nweights/);
  assert.match(text, /train on +change checkpoint\.earlyStopping in the job file, and launch it again/);
  assert.doesNotMatch(text, /--epochs 24/);
});
