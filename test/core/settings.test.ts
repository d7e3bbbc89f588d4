import assert from "node:assert/strict";
import { test } from "node:test";
import { defineJob, type JobDefinition } from "../../src/index.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { continued, refusalOf } from "../../src/core/fingerprint.ts";
import { jobFields } from "../../src/core/job-fields.ts";
import { validateJob } from "../../src/core/job-validation.ts";
import {
  noSettings,
  parseSettings,
  settingsHint,
  settingsIn,
  settingsText,
  settingsWords,
  toldSettings,
} from "../../src/core/settings.ts";

const definition: JobDefinition = {
  name: "one",
  data: { kind: "csv", path: "a.csv", label: "y" },
  preprocess: { features: [{ kind: "scale", factor: 2 }] },
  model: () => assert.fail("is not built"),
  compile: { optimizer: { kind: "adam", learningRate: 0.1 }, loss: "meanSquaredError" },
  batchSize: 8,
  epochs: 3,
};

/** The whole sentence with the hint. */
function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof LockstepError, String(error));
    return `${error.code}: ${error.message} ${error.hint ?? ""}`;
  }
  assert.fail("it was not refused");
}

const set = (...words: string[]) => parseSettings(words, []);
const param = (...words: string[]) => parseSettings([], words);

test("a field that is set is as if the file said so: typed by what it takes, made where it is not there, the file's left alone", () => {
  const job = validateJob(
    definition,
    set(
      ...["batchSize=64", "compile.optimizer.learningRate=0.01", "checkpoint.mode=max", "checkpoint.monitor=loss"],
      ...['validation={"fraction":0.25}', "preprocess.features.0.factor=3", "data.path=1", "batchSize=32"],
    ),
  );
  assert.equal(job.batchSize, 32, "what is said twice counts the second time");
  assert.deepEqual(job.optimizer, { kind: "adam", learningRate: 0.01 });
  assert.deepEqual([job.checkpoint.mode, job.checkpoint.monitor], ["max", "loss"]);
  assert.deepEqual(job.validation, { fraction: 0.25, take: "random" });
  assert.deepEqual(job.preprocess.features, [{ kind: "scale", factor: 3 }]);
  assert.deepEqual(job.data, { kind: "csv", path: "1", label: "y" }, "where the file has text, text it is");
  const plain = validateJob(definition);
  assert.equal(plain.batchSize, 8);
  assert.notDeepEqual(jobFields(job), jobFields(plain), "it is part of what is compared");
});

test("what a field does not take is refused as it is in the file, and a field that there is not with the nearest one", () => {
  const cases: readonly [string, RegExp][] = [
    ["batchSize=many", /^invalid-job: batchSize is "many"; expected a whole number/],
    ["batchsize=64", /batchsize is not a field that a job has\. Did you mean "batchSize"\?/],
    ["compile.optimizer.rate=1", /compile\.optimizer\.rate is not a field that compile\.optimizer has/],
    ["batchSize.of=3", /^invalid-job: --set batchSize\.of: batchSize is 8, which has no fields\. Set batchSize itself/],
    ["preprocess.features.1.factor=3", /preprocess\.features is .*expected an index from 0 to 0/],
    ["model=dense", /model is "dense"; expected a function/],
    ["name=other", /^usage: .*Write --job other\./],
    ["__proto__.batchSize=3", /__proto__ is not a field/],
  ];
  for (const [word, expected] of cases)
    assert.match(
      refusal(() => validateJob(definition, set(word))),
      expected,
    );
  assert.match(
    refusal(() => parseSettings(["batchSize"], [])),
    /^usage: --set is "batchSize"; FIELD=VALUE was expected/,
  );
  assert.match(
    refusal(() => parseSettings([], ["=3"])),
    /^usage: --param is "=3"; NAME=VALUE was expected/,
  );
});

const withParams = defineJob({ units: 16, kind: "relu", wide: false }, ({ units, kind, wide }) => ({
  ...definition,
  // Each has the type of its default, which this would not compile without.
  batchSize: units * 2,
  epochs: wide === true ? 5 : 2,
  checkpoint: { monitor: kind === "tanh" ? "loss" : "val_loss" },
  validation: { fraction: 0.5 },
}));

test("a parameter is its default or what was given, read as what its default is, and part of what is compared", () => {
  const plain = validateJob(withParams);
  assert.deepEqual([plain.batchSize, plain.epochs], [32, 2]);
  assert.deepEqual(plain.params, { units: 16, kind: "relu", wide: false });
  const given = validateJob(withParams, param("units=3", "wide=true", "kind=tanh"));
  assert.deepEqual([given.batchSize, given.epochs, given.checkpoint.monitor], [6, 5, "loss"]);
  assert.match(jobFields(given)["job.params"]!, /"units":3/);
  assert.equal(jobFields(validateJob(definition))["job.params"], undefined, "jobs of before are what they were");
  // Said with its default it is the same job.
  assert.deepEqual(jobFields(validateJob(withParams, param("units=16"))), jobFields(plain));
  assert.equal(
    validateJob(withParams, parseSettings(["batchSize=5"], ["units=3"])).batchSize,
    5,
    "fields are set last",
  );
});

test("a parameter that there is not is refused with the nearest one, and so is a value of another type", () => {
  const cases: readonly [unknown, string, RegExp][] = [
    [withParams, "unit=3", /^usage: --param unit: the job has no parameter of this name\. Did you mean units\?/],
    [withParams, "x=3", /It has units, kind, wide\./],
    [definition, "units=3", /It has none: write defineJob\(\{ units: 256 \}/],
    [withParams, "units=many", /^usage: --param units is "many"; a number was expected, as its default 16 is/],
    [withParams, "wide=yes", /^usage: --param wide is "yes"; true or false was expected/],
  ];
  for (const [job, word, expected] of cases)
    assert.match(
      refusal(() => validateJob(job, param(word))),
      expected,
    );
  const wrong = { defaults: { units: [1] }, make: () => definition };
  assert.match(
    refusal(() => validateJob(wrong)),
    /^invalid-job: The parameter units is \[1\]/,
  );
  assert.match(
    refusal(() => validateJob({ defaults: {}, make: () => 3 })),
    /^invalid-job: What the function .* is 3/,
  );
});

test("settings are told by a fingerprint, come back from it, and are compared nowhere", () => {
  const settings = parseSettings(["batchSize=64"], ["units=3", "kind=a b"]);
  const told = toldSettings(settings);
  assert.deepEqual(settingsIn(told), settings);
  assert.deepEqual([toldSettings(noSettings), settingsIn({})], [{}, noSettings]);
  assert.equal(refusalOf({ "job.seed": "1" }, { "job.seed": "1", ...told }), null);
  assert.deepEqual(continued({ "job.seed": "1" }, { "job.seed": "2", ...told }), { "job.seed": "1", ...told });
  assert.deepEqual(settingsWords(settings), [
    ...["--set", "batchSize=64", "--param", "kind=a b", "--param", "units=3"],
  ]);
  assert.equal(settingsText(settings), "batchSize=64 kind=a b units=3");
  assert.equal(settingsText(noSettings), null);
  assert.equal(settingsHint(undefined, noSettings), null);
  assert.match(settingsHint(settings, noSettings)!, /was started with --set batchSize=64 .*: give that again/);
  assert.match(settingsHint(undefined, settings)!, /leave them out/);
});
