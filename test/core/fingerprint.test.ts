/** Promise 7: whoever would compute other bits is refused, or makes the run equivalent, with the field named. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { changedField, continued, type Fingerprint, refusalOf, withChanges } from "../../src/core/fingerprint.ts";

const fingerprint: Fingerprint = {
  "job.seed": "7",
  "job.graph": `sha256:${"a".repeat(64)}`,
  "data.digest": `sha256:${"b".repeat(64)}`,
  "engine.kind": "native",
  "engine.library": "TensorFlow 2.21.0",
  "engine.device": "cpu",
  "engine.architecture": "x64",
  "engine.step": "op-by-op",
  "engine.threads": "1",
  shards: "4",
  arithmetic: "3",
  "source.job": `sha256:${"c".repeat(64)}`,
  "node.instructions": "avx2",
  "node.onednn": "ops on, all instructions",
  "node.gpu": "none",
  "node.numerics": "0123456789abcdef",
};

const changes = (before: Fingerprint, now: Fingerprint) => withChanges([], before, [now]);
const other = (field: string, value: string): Fingerprint => ({ ...fingerprint, [field]: value });

for (const [field, value] of [
  ["engine.library", "TensorFlow 2.9.1"],
  ["engine.step", "recorded"],
  ["engine.threads", "2"],
  ["engine.architecture", "arm64"],
  ["shards", "3"],
  ["arithmetic", "1"],
] as const) {
  test(`another ${field} is refused while the cluster runs and when it starts again, and is equivalent where allowed`, () => {
    const own = other(field, value);
    const reason = `${field} is ${value} here and ${fingerprint[field]} in the cluster`;
    assert.equal(refusalOf(fingerprint, own), reason);
    assert.equal(refusalOf(continued(fingerprint, own), own), reason);
    assert.deepEqual(changes(fingerprint, own), [`${field} was ${fingerprint[field]} and is ${value}`]);
  });
}

for (const [field, value] of [
  ["node.onednn", "ops off"],
  ["node.gpu", "NVIDIA H100"],
  ["node.instructions", "avx512f"],
  ["node.numerics", "fedcba9876543210"],
] as const) {
  test(`another ${field} is let in, and makes the run equivalent`, () => {
    const own = other(field, value);
    assert.equal(refusalOf(fingerprint, own), null);
    const [change, ...more] = changes(fingerprint, own);
    assert.equal(change, `${field} was ${fingerprint[field]} and is ${value}`);
    assert.equal(changedField(change!), field);
    assert.deepEqual(more, []);
  });
}

test("another graph is refused when a cluster starts again, and so is one that is not there any more", () => {
  const graph = `sha256:${"d".repeat(64)}`;
  const own = other("job.graph", graph);
  assert.match(refusalOf(continued(fingerprint, own), own)!, /^job\.graph is sha256:d{12}… here and sha256:a{12}… in/);
  const { "job.graph": _, ...without } = fingerprint;
  assert.match(refusalOf(continued(fingerprint, without), without)!, /^job\.graph is \(nothing\) here/);
});

test("another text of the job is refused while the cluster runs, and is no change when it starts again", () => {
  const own = other("source.job", `sha256:${"e".repeat(64)}`);
  assert.match(refusalOf(fingerprint, own)!, /^source\.job is/);
  assert.equal(refusalOf(continued(fingerprint, own), own), null);
  assert.deepEqual(changes(fingerprint, own), []);
});
