import assert from "node:assert/strict";
import { test } from "node:test";
import {
  attribute,
  chooseFaults,
  compareRuns,
  type EpochState,
  faultNames,
  type Finding,
  gamedayText,
  judgePromises,
  noTimes,
  summarizeGameday,
} from "../../src/core/gameday.ts";

const finding = (fault: Finding["fault"], more: Partial<Finding> = {}): Finding => ({
  ...{ fault, target: "worker-1", proof: "it was done", times: noTimes, stepsLost: 0 },
  ...{ problems: [], skipped: null, details: {}, epochs: null },
  ...more,
});

const epoch = (number: number, weightsDigest = `w${number}`, loss = 1): EpochState => ({
  ...{ epoch: number, step: number * 10, weightsDigest, metrics: { loss } },
});

test("faults are done in gameday's order, and an unknown name is one sentence that lists the names", () => {
  assert.deepEqual(chooseFaults("hang,kill-worker"), ["kill-worker", "hang"]);
  assert.deepEqual(chooseFaults(undefined), faultNames);
  assert.throws(() => chooseFaults("kill-worker,flood"), {
    code: "usage",
    message: `--faults names "flood"; there are ${faultNames.join(", ")}.`,
    hint: undefined,
  });
  assert.throws(() => chooseFaults("kil-worker"), { code: "usage", hint: "Did you mean kill-worker?" });
});

test("runs are equal when weights and metrics of every epoch are", () => {
  const equal = [epoch(0), epoch(1), epoch(2)];
  assert.deepEqual(compareRuns(equal, [...equal, epoch(3)]), { epochs: 2, difference: null, weightsDigest: "w2" });
  const cases: [disturbed: EpochState[], epoch: number, what: RegExp][] = [
    [[epoch(0), epoch(1, "other"), epoch(2)], 1, /weights other, undisturbed w1/],
    [[epoch(0), epoch(1), epoch(2, "w2", 1.5)], 2, /metrics .*1\.5.*, undisturbed/],
    [[epoch(0), epoch(2)], 1, /the disturbed run has no record/],
  ];
  for (const [disturbed, at, what] of cases) {
    const { difference } = compareRuns(disturbed, equal);
    assert.equal(difference?.epoch, at);
    assert.match(difference!.what, what);
  }
  assert.match(compareRuns(equal, [epoch(0), epoch(1)]).difference!.what, /the undisturbed run has no record/);
});

test("the first epoch that differs is put down to the fault under way, or to the last before it", () => {
  const findings = [
    finding("kill-worker", { epochs: { before: 1, after: 4 } }),
    finding("hang", { epochs: { before: 5, after: 8 } }),
    finding("flip-bit-two"),
  ];
  const blamed = (at: number) =>
    attribute(findings, { epochs: 9, weightsDigest: "", difference: { epoch: at, what: "weights" } })
      .filter(({ problems }) => problems.length > 0)
      .map(({ fault }) => fault);
  assert.deepEqual(blamed(2), ["kill-worker"]);
  assert.deepEqual(blamed(5), ["kill-worker"]);
  assert.deepEqual(blamed(6), ["hang"]);
  assert.deepEqual(blamed(9), ["hang"]);
});

test("a promise is kept when all faults that test it went well, and untested when none was done", () => {
  const run = { comparison: compareRuns([epoch(0), epoch(1)], [epoch(0), epoch(1)]), problems: {} };
  const verdicts = (findings: Finding[], of = run) => judgePromises(findings, of).map(({ verdict }) => verdict);
  assert.deepEqual(verdicts([finding("kill-worker")]), [
    ...["pass", "pass", "pass", "not tested", "pass", "not tested", "not tested"],
  ]);
  assert.deepEqual(verdicts([finding("stop-worker", { problems: ["it committed"] })]), [
    ...["pass", "fail", "pass", "fail", "pass", "not tested", "not tested"],
  ]);
  assert.equal(verdicts([finding("hang", { skipped: "not here" })])[5], "not tested");
  // Without an undisturbed run there is no word on the bits.
  assert.deepEqual(verdicts([finding("kill-worker")], { comparison: null, problems: {} } as never).slice(0, 5), [
    ...["not tested", "pass", "not tested", "not tested", "not tested"],
  ]);
  const broken = { ...run, problems: { Whole: ["latest: corrupt"] } };
  assert.equal(verdicts([finding("kill-worker")], broken as typeof run)[2], "fail");
  assert.ok(judgePromises([finding("hang")], run).every(({ promise }, i) => promise === i + 1));
});

test("the last line counts what was done, what failed, and what proves nothing; a broken promise is a failure", () => {
  const run = { comparison: null, problems: {} };
  const findings = [
    finding("kill-worker"),
    finding("hang", { problems: ["late"] }),
    finding("kill-two", { skipped: "two workers", proof: "" }),
  ];
  assert.deepEqual(summarizeGameday(findings, judgePromises(findings, run)), {
    ...{ run: 2, failed: 1, skipped: 1 },
    faults: { "kill-worker": 1, hang: 1, "kill-two": 0 },
  });
  const well = [finding("kill-worker")];
  const promises = judgePromises(well, { comparison: null, problems: { Whole: ["latest: corrupt"] } });
  assert.equal(summarizeGameday(well, promises).failed, 1);
});

test("the table says for every fault what shows that it happened, and what failed", () => {
  const times = { detect: 12.4, form: 40, catchUp: null, firstStep: 55 };
  const findings = [finding("kill-worker", { times }), finding("hang", { problems: ["too late"] })];
  const text = gamedayText(findings, judgePromises(findings, { comparison: null, problems: {} }));
  assert.match(text, /^fault +target +detect +re-form +catch up +first step +lost +verdict$/m);
  assert.match(text, /^kill-worker +worker-1 +12 +40 +55 +0 +pass$/m);
  assert.match(text, /^kill-worker: it was done$/m);
  assert.match(text, /^ {2}FAILED: too late$/m);
  assert.match(text, /^6\. Live: fail\. failed: hang$/m);
});
