import assert from "node:assert/strict";
import { test } from "node:test";
import { checkpointsTable, listCheckpoints, manifestText } from "../../src/core/checkpoint-list.ts";
import type { Manifest } from "../../src/core/manifest.ts";
import { nearestNames } from "../../src/core/nearest-name.ts";
import { formatBytes } from "../../src/core/number-format.ts";
import type { CheckpointRecord } from "../../src/core/records.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";

const digest = (digit: string) => `sha256:${digit.repeat(64)}`;

function manifest(id: string, changes: Partial<Manifest> = {}): Manifest {
  return {
    ...{ formatVersion: 1, id, job: "digits", run: "1", lineage: 1, era: 1, step: 24, epoch: 1, stepInEpoch: 0 },
    ...{ generation: 2, fencingToken: 57, stateDigest: digest("a"), weightsDigest: digest("b") },
    ...{ fingerprint: { "engine.kind": "native" }, equivalences: [], openings: [], members: ["w0.a", "w1.b"] },
    ...{ metrics: { val_loss: 0.25 }, writtenAt: "2026-01-01T00:00:00.000Z" },
    files: [{ name: "weights.safetensors", sizeBytes: 1234, sha256: "c".repeat(64) }],
    ...changes,
  };
}

const pointer = (id: string, step: number) =>
  ({ id, step, lineage: 1, epoch: 3, stepInEpoch: 0, value: 0.5 }) as CheckpointPointer;
const record = (id: string, state: CheckpointRecord["state"], step = 24): [string, CheckpointRecord] => [
  id,
  { state, pointer: pointer(id, step), writtenAtMs: 0 },
];

const etcd = {
  pointers: { best: pointer("a", 24), latest: pointer("e", 72) },
  records: new Map([record("a", "live"), record("b", "condemned"), record("d", "set-aside"), record("e", "live", 72)]),
  pins: new Map([["a", ["paper"]]]),
};

test("each checkpoint bears all that it is, in etcd and in storage", () => {
  const stored = ["a", "b", "c", "d"].map((id) => ({ id, manifest: manifest(id) }));
  const rows = listCheckpoints(stored, ["f"], etcd, "val_loss");
  assert.deepEqual(
    rows.map(({ id, marks }) => [id, marks]),
    [
      ["a", ["best", "pinned"]],
      ["b", ["condemned"]],
      ["c", ["unpublished"]],
      ["d", ["set aside"]],
      ["e", ["latest", "missing"]],
      ["f", ["unpublished", "corrupt"]],
    ],
  );
  assert.deepEqual(
    listCheckpoints(stored, [], null, "val_loss").map(({ marks }) => marks),
    [[], [], [], []],
    "without etcd nothing is said",
  );
});

test("the table has a column of runs only where there are several, and a question mark for what nobody knows", () => {
  const stored = [
    { id: "a", manifest: manifest("a", { equivalences: ["engine.kind was wasm and is native"] }) },
    { id: "b", manifest: manifest("b", { step: 30, stepInEpoch: 6, metrics: null }) },
  ];
  const age = () => "5.0 s";
  assert.equal(
    checkpointsTable(listCheckpoints(stored, [], null, "val_loss"), "val_loss", false, age),
    [
      "id        epoch  step  val_loss     size  is  exactness   age",
      "a             1    24    0.2500  1.23 kB  ?   equivalent  5.0 s",
      "b   1 + 6 steps    30         –  1.23 kB  ?   bit-exact   5.0 s",
    ].join("\n"),
  );
  const other = { id: "c", manifest: manifest("c", { run: "2" }) };
  const both = listCheckpoints([...stored, other], [], null, "val_loss");
  assert.match(
    checkpointsTable(both, "val_loss", false, age),
    /^id {2}run .*\n.*digits 1 .*\n.*digits 1 .*\nc {3}digits 2 /,
  );
});

test("where each worker has its own, the table says on whose disks a checkpoint is", () => {
  const held = { ...pointer("a", 24), holders: ["w0", "w1"] };
  const records = new Map<string, CheckpointRecord>([["a", { state: "live", pointer: held, writtenAtMs: 0 }]]);
  const stored = [
    { id: "a", manifest: manifest("a"), holders: ["w0"] },
    { id: "b", manifest: manifest("b") },
  ];
  const rows = listCheckpoints(stored, [], { ...etcd, records, pins: new Map() }, "val_loss");
  assert.deepEqual(
    rows.map(({ holders }) => holders),
    [{ here: ["w0"], elsewhere: ["w1"] }, null],
  );
  const [head, first, second] = checkpointsTable(rows, "val_loss", true, () => "5.0 s").split("\n");
  assert.match(head!, / age +held by$/);
  assert.match(first!, / 5\.0 s +w0, w1 \(not here\)$/);
  assert.match(second!, / 5\.0 s +–$/);
});

test("a manifest's text has why it is only equivalent, and nothing by which it could write elsewhere on a terminal", () => {
  const text = manifestText(
    {
      id: "a",
      manifest: manifest("a", {
        ...{ equivalences: ["engine.kind was \u001b[2Jwasm"], members: ["w0\u001b[H"] },
        openings: [{ lineage: 2, era: 1, step: 12, checkpoint: "z", reason: "asked to go on from z" }],
      }),
    },
    "/place/a",
    { marks: ["best"], pins: ["paper"], age: "5.0 s" },
  );
  assert.match(text, /^is +best \(paper\)$/m);
  assert.match(text, /^exactness +equivalent$/m);
  assert.match(text, /lineage began\n {2}lineage 2, era 1 {2}step 12 {2}asked to go on from z/);
  assert.match(text, /Only equivalent, because\n {2}engine\.kind was .\[2Jwasm/);
  assert.ok(!text.includes("\u001b"));
  const alone = manifestText({ id: "a", manifest: manifest("a") }, "/place/a", { marks: null, pins: [], age: "5.0 s" });
  assert.match(alone, /^is +unknown: etcd was not asked$/m);
});

test("the nearest names come first, however far they are", () => {
  const ids = ["digits-1-step-00000024-aaaa", "digits-1-step-00000048-bbbb", "digits-1-step-00000072-cccc"];
  assert.deepEqual(nearestNames("digits-1-step-00000048-bbbd", ids, 2)[0], ids[1]);
  assert.deepEqual(nearestNames("x", ids, 2).length, 2);
  assert.deepEqual(nearestNames("x", [], 2), []);
});

test("sizes have three digits", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.00 kB"],
    [999_499, "999 kB"],
    [999_500, "1.00 MB"],
    [301_000_000, "301 MB"],
    [5e15, "5.00 PB"],
    [5e18, "5.00e+3 PB"],
  ];
  for (const [bytes, text] of cases) assert.equal(formatBytes(bytes), text);
});
