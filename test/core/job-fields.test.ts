import assert from "node:assert/strict";
import { test } from "node:test";
import type { Job, LearningRate } from "../../src/core/job.ts";
import { jobFields } from "../../src/core/job-fields.ts";
import { ruleOf } from "../fixtures/checkpoint-rule.ts";
import { noSettings } from "../../src/core/settings.ts";

const job: Job = {
  name: "example",
  seed: 1,
  data: { kind: "csv", path: "a.csv", label: "y" },
  preprocess: { features: [{ kind: "scale", factor: 2 }], label: [] },
  augment: [{ kind: "crop", padding: 1 }],
  validation: { fraction: 0.2, take: "random" },
  model: () => {
    throw new Error("is not called");
  },
  optimizer: { kind: "adam", learningRate: 0.1 },
  loss: "meanSquaredError",
  lossSettings: {},
  initialWeights: null,
  customLoss: null,
  step: null,
  outputs: null,
  metrics: ["accuracy"],
  clip: null,
  classWeight: null,
  checkpoint: ruleOf({ monitor: "val_loss", mode: "min" }),
  batchSize: 8,
  epochs: 3,
  wire: "float32",
  test: null,
  report: null,
  callbacks: null,
  settings: noSettings,
  params: { units: 2 },
};

/** A change of each field, and the field of the record that must show it; null: it may change from start to start. */
const changes: Readonly<Record<keyof Job, readonly [Partial<Job>, string | null]>> = {
  name: [{ name: "other" }, null],
  seed: [{ seed: 2 }, "job.seed"],
  // The data's digest is compared once it is read; its path may differ from node to node.
  data: [{ data: { kind: "csv", path: "b.csv", label: "y" } }, null],
  preprocess: [{ preprocess: { features: [{ kind: "scale", factor: 3 }], label: [] } }, "job.preprocess"],
  augment: [{ augment: [{ kind: "flip", direction: "vertical" }] }, "job.augment"],
  validation: [{ validation: { fraction: 0.2, take: "last" } }, "job.validation"],
  // Functions cannot be compared as text; the layers that they make are.
  model: [{ model: () => assert.fail() }, null],
  optimizer: [{ optimizer: { kind: "adam", learningRate: 0.2 } }, "job.optimizer"],
  loss: [{ loss: "meanAbsoluteError" }, "job.loss"],
  lossSettings: [{ lossSettings: { labelSmoothing: 0.1 } }, "job.loss"],
  // Its digest is compared once it is read, as the data's.
  initialWeights: [{ initialWeights: "base.safetensors" }, null],
  // The graph of a step tells of both.
  customLoss: [{ customLoss: () => assert.fail() }, null],
  step: [{ step: () => assert.fail() }, null],
  outputs: [
    { outputs: [{ name: "y", loss: "huber", lossSettings: {}, customLoss: null, lossWeight: 2, metrics: [] }] },
    "job.outputs",
  ],
  metrics: [{ metrics: [] }, "job.metrics"],
  classWeight: [{ classWeight: "balanced" }, "job.classWeight"],
  clip: [{ clip: { globalNorm: 1 } }, "job.clip"],
  checkpoint: [{ checkpoint: ruleOf({ monitor: "loss", mode: "min" }) }, null],
  batchSize: [{ batchSize: 9 }, "job.batchSize"],
  epochs: [{ epochs: 4 }, null],
  wire: [{ wire: "bfloat16" }, "job.wire"],
  test: [{ test: { kind: "csv", path: "c.csv", label: "y" } }, null],
  report: [{ report: () => "" }, null],
  callbacks: [{ callbacks: { onFinish: () => "" } }, null],
  // What they were said for is in the other fields, or in the parameters.
  settings: [{ settings: { set: { seed: "1" }, params: {} } }, null],
  params: [{ params: { units: 3 } }, "job.params"],
};

for (const [field, [change, shownBy]] of Object.entries(changes)) {
  test(`another ${field} ${shownBy === null ? "is no other training" : `is seen in ${shownBy}, and nowhere else`}`, () => {
    const before = jobFields(job);
    const after = jobFields({ ...job, ...change });
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    assert.deepEqual(
      names.filter((name) => after[name] !== before[name]),
      shownBy === null ? [] : [shownBy],
    );
  });
}

test("a job that augments nothing has the fields that it had before there was such a thing", () => {
  assert.ok(!("job.augment" in jobFields({ ...job, augment: [] })));
});

test("settings written in another order are the same settings", () => {
  const optimizer = { beta1: 0.8, learningRate: 0.1, kind: "adam" } as const;
  const same = { kind: "adam", learningRate: 0.1, beta1: 0.8 } as const;
  assert.deepEqual(jobFields({ ...job, optimizer }), jobFields({ ...job, optimizer: same }));
});

test("where the learning rate ends with the job, or follows what the job monitors, those decide the bits too", () => {
  const differs = (schedule: LearningRate, change: Partial<Job>) => {
    const one: Job = { ...job, optimizer: { kind: "adam", learningRate: schedule } };
    const [before, after] = [jobFields(one), jobFields({ ...one, ...change })];
    return Object.keys(after).filter((name) => after[name] !== before[name]);
  };
  const [longer, other] = [{ epochs: 9 }, { checkpoint: ruleOf({ monitor: "loss", mode: "min" }) }];
  assert.deepEqual(differs({ kind: "cosine", initial: 1 }, longer), ["job.epochs"]);
  assert.deepEqual(differs({ kind: "cosine", initial: 1, over: { epochs: 3 } }, longer), []);
  assert.deepEqual(differs({ kind: "exponential", initial: 1, factor: 0.5, every: { epochs: 1 } }, longer), []);
  assert.deepEqual(differs({ kind: "plateau", initial: 1 }, longer), []);
  assert.deepEqual(differs({ kind: "plateau", initial: 1 }, other), ["job.checkpoint"]);
  assert.deepEqual(differs({ kind: "plateau", initial: 1, monitor: "loss", mode: "min" }, other), []);
});
