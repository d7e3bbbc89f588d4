import assert from "node:assert/strict";
import { test } from "node:test";
import { LockstepError } from "../../src/core/errors.ts";
import {
  CheckpointError,
  isPlainName,
  type Manifest,
  manifestProblem,
  parseManifest,
  serializeManifest,
} from "../../src/core/manifest.ts";

const manifest: Manifest = {
  formatVersion: 1,
  id: "e4-s400-g2-t17-9f3a",
  job: "digits",
  run: "20250131T120000-ab12",
  lineage: 0,
  era: 0,
  step: 400,
  epoch: 4,
  stepInEpoch: 0,
  generation: 2,
  fencingToken: 17,
  stateDigest: `sha256:${"a".repeat(64)}`,
  weightsDigest: `sha256:${"b".repeat(64)}`,
  fingerprint: { shards: "4", engine: "TensorFlow 2.21.0" },
  equivalences: [],
  openings: [],
  members: ["worker-0.k3", "worker-1.k9"],
  metrics: { loss: 0.25, val_loss: 0.61, accuracy: 1 },
  writtenAt: "2025-01-31T12:00:00.000Z",
  files: [{ name: "weights.safetensors", sizeBytes: 4096, sha256: "c".repeat(64) }],
};

/** The text of a manifest with other fields, with a checksum that fits. */
function textWith(changes: Record<string, unknown>): string {
  // The changes are wrong on purpose, which no type should let pass.
  return serializeManifest({ ...manifest, ...changes } as unknown as Manifest);
}

function assertCorrupt(text: string, message: RegExp): void {
  assert.throws(
    () => parseManifest(text),
    (error) => {
      assert.ok(error instanceof CheckpointError, String(error));
      assert.equal(error.code, "corrupt-checkpoint");
      assert.match(error.message, message);
      return true;
    },
  );
}

test("a manifest reads back as it was written", () => {
  assert.deepEqual(parseManifest(serializeManifest(manifest)), manifest);
  assert.deepEqual(parseManifest(textWith({ metrics: null, members: [] })).metrics, null);
});

test("metrics that JSON cannot hold read back as they were written", () => {
  const metrics = { a: Number.NaN, b: Number.POSITIVE_INFINITY, c: Number.NEGATIVE_INFINITY, d: -0, e: 5e-324 };
  assert.deepEqual(parseManifest(serializeManifest({ ...manifest, metrics })).metrics, metrics);
});

test("equal manifests have one text, whatever the order of their keys", () => {
  const backwards = Object.fromEntries(Object.entries(manifest).reverse());
  const text = textWith({
    ...backwards,
    fingerprint: { engine: "TensorFlow 2.21.0", shards: "4" },
    metrics: { val_loss: 0.61, accuracy: 1, loss: 0.25 },
  });
  assert.equal(text, serializeManifest(manifest));
});

test("every flipped bit of a manifest is found", () => {
  const bytes = Buffer.from(serializeManifest(manifest));
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    assertCorrupt(flipped.toString("utf8"), /manifest/);
  }
});

test("every cut-off manifest is found", () => {
  const text = serializeManifest(manifest);
  for (let length = 0; length < text.length; length += 1) assertCorrupt(text.slice(0, length), /cut off/);
});

test("a manifest of a newer format is incompatible, not corrupt, and says what to do", () => {
  assert.throws(
    () => parseManifest(textWith({ formatVersion: 2, files: ["in", "another", "form"] })),
    (error) => {
      assert.ok(error instanceof LockstepError);
      assert.equal(error.code, "incompatible");
      assert.match(error.message, /format version 2.*reads version 1/);
      assert.match(error.hint ?? "", /newer/);
      return true;
    },
  );
});

test("a field outside its bounds is named with its value and what was expected", () => {
  const digits = "c".repeat(64);
  const file = { name: "weights.safetensors", sizeBytes: 4096, sha256: digits };
  const wrong: Record<string, readonly unknown[]> = {
    formatVersion: [0, "1", 1.5, undefined],
    id: ["", "..", "../other", "a/b", "a\\b", ".hidden", "a..b", "a\0b", 7],
    job: ["", 7],
    run: ["", null],
    lineage: [-1, "0"],
    era: [-1, 0.5],
    step: [-1, 1.5, 2 ** 53, "400", null, undefined],
    epoch: [-1],
    stepInEpoch: [-1],
    generation: [-1],
    fencingToken: [-1, 1e300],
    stateDigest: ["", `md5:${digits}`, digits, `sha256:${digits}0`],
    weightsDigest: [`sha256:${"g".repeat(64)}`, `sha256:${"C".repeat(64)}`],
    equivalences: [null, "none", [1]],
    openings: [["back"], [{ lineage: 2, era: 1, step: 5, checkpoint: "../c", reason: "back" }]],
    fingerprint: [null, { shards: 4 }, []],
    members: ["worker-0", [1], [""]],
    metrics: [{ loss: "0.5" }, { loss: null }, [1]],
    writtenAt: ["yesterday", 1738324800000],
    files: [
      ...["", "..", "../weights", "/etc/passwd", "a/b", "a\\b", ".staging", "..."].map((name) => [{ ...file, name }]),
      ...[-1, 1.5, 2 ** 53, "4096", null].map((sizeBytes) => [{ ...file, sizeBytes }]),
      ...["", digits.slice(1), `${digits}0`, digits.replace("c", "g"), 7].map((sha256) => [{ ...file, sha256 }]),
      [file, file],
      [null],
    ],
  };
  assert.deepEqual(Object.keys(wrong).sort(), Object.keys(manifest).sort(), "every field is tried");
  for (const [name, values] of Object.entries(wrong)) {
    for (const value of values) {
      const problem = manifestProblem({ ...manifest, [name]: value });
      assert.match(problem ?? "", new RegExp(`^"${name}" is .*; expected .`), `${name}: ${String(value)}`);
      // Serializing takes these lists and records apart, so it cannot write what is none.
      const isWritable = value !== null && typeof value === "object" && !Array.isArray(value);
      if (!["files", "fingerprint", "metrics"].includes(name)) assertCorrupt(textWith({ [name]: value }), /expected/);
      else if (name === "files" && Array.isArray(value) && value[0] !== null)
        assertCorrupt(textWith({ files: value }), /files/);
      else if (name === "fingerprint" && isWritable) assertCorrupt(textWith({ fingerprint: value }), /fingerprint/);
    }
  }
});

test("unknown and doubled fields are refused, with a checksum that fits", () => {
  const text = serializeManifest(manifest);
  // A writer of another form would take the checksum over that form; find it by asking for it.
  for (const [from, to] of [
    ['"job": "digits",', '"job": "digits",\n  "extra": 1,'],
    ['"job": "digits",', '"job": "digits",\n  "job": "digits",'],
    ['"step": 400,', '"step": 4e2,'],
  ] as const) {
    const changed = text.replace(from, to);
    assert.notEqual(changed, text);
    const sum = /has the checksum ([0-9a-f]{8})/.exec(errorOf(changed).message)?.[1];
    assert.ok(sum !== undefined);
    assertCorrupt(changed.replace(/"crc32": "[0-9a-f]{8}"/, `"crc32": "${sum}"`), /form in which format version 1/);
  }
});

function errorOf(text: string): Error {
  try {
    parseManifest(text);
  } catch (error) {
    assert.ok(error instanceof Error);
    return error;
  }
  return assert.fail("the text was accepted");
}

test("a plain name is no path, not hidden, and not without bounds", () => {
  assert.ok(isPlainName("e4-s400_g2.T17"));
  assert.ok(isPlainName("a".repeat(128)));
  for (const name of ["", ".", "..", ".a", "a/b", "a\\b", "a..b", "é", "a b", "a\n", "a".repeat(129), 7]) {
    assert.equal(isPlainName(name), false, String(name));
  }
});
