import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterView } from "../../src/core/decision.ts";
import { decide } from "../../src/core/generation.ts";
import { causeOf, faultCauses, type GenerationCause, plannedCauses } from "../../src/core/generation-cause.ts";
import { firstOrigin } from "../../src/core/origin.ts";
import { empty, forming, member, running, state } from "../fixtures/cluster-view.ts";

const [a, b, c] = [member("a"), member("b"), member("c")];
const both = { ...empty, members: [a, b], generation: running(["a", "b"]) };
const suspicions = [
  { suspect: "b", by: "a" },
  { suspect: "b", by: "c" },
];
const checkpoint = { id: "k", generation: 1, state: state(4), setAside: "it is corrupt" };
const divergence = {
  place: "epoch-1",
  agreed: null,
  states: ["a", "b", "c"].map((workerId) => ({ workerId, digest: workerId === "b" ? "sha256:2" : "sha256:1" })),
};

const cases: readonly [GenerationCause, string, ClusterView][] = [
  ["start", "the first membership", { ...empty, members: [a, b] }],
  ["start", "all are of a later start", { ...empty, start: 2, members: [c, b], generation: running(["x", "y"]) }],
  ["joined", "somebody has come", { ...both, members: [a, b, c] }],
  ["left", "somebody leaves in order", { ...both, members: [a, member("b", { leaving: true })] }],
  ["gone", "a key is gone", { ...both, members: [a] }],
  ["left", "a key is gone while the run stops", { ...both, members: [a], stopRequested: true }],
  ["gone", "all are gone, and came back under new ids", { ...empty, members: [c, b], generation: running(["x", "y"]) }],
  [
    "unreachable",
    "a member that peers do not reach",
    { ...both, members: [a, b, c], generation: running(["a", "b", "c"]), suspicions },
  ],
  [
    "silent",
    "a member that does not report",
    {
      ...{ ...both, generation: forming(["a", "b"]), formingForMs: 1001 },
      reports: [{ workerId: "a", state: state(3), trainedIn: 2, isCopy: false }],
    },
  ],
  [
    "diverged",
    "states differ",
    {
      ...both,
      members: [a, b, c],
      generation: running(["a", "b", "c"]),
      divergence,
      latest: { ...checkpoint, setAside: null },
      checkpoints: [{ ...checkpoint, setAside: null }],
    },
  ],
  ["coordinator", "another one formed it", { ...both, generation: forming(["a", "b"], 4) }],
  [
    "checkpoint",
    "what they started from is corrupt",
    {
      ...both,
      generation: { ...running(["a", "b"]), source: { kind: "checkpoint", id: "k", state: state(4) } },
      checkpoints: [checkpoint],
    },
  ],
  ["data-lost", "etcd has lost its data", { ...both, generation: null, origin: { ...firstOrigin, after: 3 } }],
];

test("a generation's cause is one of a few words, whatever its reason says", () => {
  for (const [cause, what, view] of cases) {
    const decision = decide(view);
    assert.ok(decision.kind === "form", `${what}: ${JSON.stringify(decision)}`);
    assert.equal(causeOf(view, decision), cause, what);
  }
  const shown = new Set(cases.map(([cause]) => cause));
  assert.deepEqual(
    [...plannedCauses, ...faultCauses].filter((cause) => !shown.has(cause)),
    [],
  );
});
