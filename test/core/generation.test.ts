import assert from "node:assert/strict";
import { test } from "node:test";
import { type ClusterView, decide, type Member, type Running, type StateName } from "../../src/core/generation.ts";

const fingerprint = { "job.seed": "7", shards: "4" };
const member = (workerId: string, changes: Partial<Member> = {}): Member => ({
  workerId,
  name: workerId,
  address: `127.0.0.1:${workerId.length}`,
  pid: 1,
  fingerprint,
  leaving: false,
  stepsPerEpoch: 10,
  ...changes,
});
const state = (step: number, digest = `sha256:${step}`): StateName => ({ lineage: 1, era: 1, step, digest });
const empty: ClusterView = {
  coordinator: 5,
  shards: 4,
  workers: 2,
  fingerprint,
  mayChange: false,
  equivalences: [],
  members: [],
  refused: new Set(),
  generation: null,
  reports: [],
  suspicions: [],
  latest: null,
  done: false,
  stopRequested: false,
  formingForMs: 0,
  formingLimitMs: 1000,
};
const running = (ids: string[], generation = 3): Running => ({
  kind: "running",
  generation,
  members: ids.map((workerId, rank) => ({ workerId, rank, address: "a:1", shards: { begin: rank, end: rank + 1 } })),
  source: { kind: "seed" },
});
const forming = (members: string[], coordinator = 5) =>
  ({ kind: "forming", generation: 3, members, coordinator, reason: "" }) as const;
const formed = (view: ClusterView) => {
  const decision = decide(view);
  assert.equal(decision.kind, "form", JSON.stringify(decision));
  return decision.kind === "form" ? decision : assert.fail();
};

test("a start waits for its workers, then forms generation 1 of them, oldest first", () => {
  assert.equal(decide({ ...empty, members: [member("a")] }).kind, "wait");
  const { forming: first } = formed({ ...empty, members: [member("b"), member("a")] });
  assert.deepEqual([first.generation, first.members], [1, ["b", "a"]]);
});

test("no more members than shards; the others stand by", () => {
  const members = ["a", "b", "c", "d", "e"].map((id) => member(id));
  assert.deepEqual(formed({ ...empty, members }).forming.members, ["a", "b", "c", "d"]);
});

test("the first member's fingerprint is the cluster's; whoever differs is refused with the field named", () => {
  const first = formed({ ...empty, fingerprint: null, members: [member("a"), member("b")] });
  assert.deepEqual(first.fingerprint, fingerprint);
  const other = member("b", { fingerprint: { ...fingerprint, "job.seed": "8" } });
  assert.deepEqual(decide({ ...empty, members: [member("a"), other] }), {
    kind: "refuse",
    workerId: "b",
    reason: "job.seed is 8 here and 7 in the cluster",
  });
});

const machine = (instructions: string) => ({ ...fingerprint, "source.job": "x", "node.instructions": instructions });

test("promise 7: another machine is let in, and makes the run equivalent with the reason named", () => {
  const view = { ...empty, fingerprint: machine("avx2"), generation: running(["a"]) };
  const members = [member("a", { fingerprint: machine("avx2") }), member("b", { fingerprint: machine("avx512f") })];
  assert.deepEqual(
    formed({ ...view, members: [members[0]!, member("c", { fingerprint: machine("avx2") })] }).equivalences,
    [],
  );
  const decision = formed({ ...view, members, equivalences: ["before"] });
  assert.deepEqual(decision.forming.members, ["a", "b"]);
  assert.deepEqual(decision.equivalences, ["before", "node.instructions is avx512f on b and was avx2 before"]);
  assert.deepEqual(decision.fingerprint, machine("avx2"));
});

test("a worker with another text of the job is refused while the cluster runs; a whole new start may bring another text", () => {
  const other = { ...machine("avx2"), "source.job": "y" };
  const view = { ...empty, fingerprint: machine("avx2"), generation: running(["a"]) };
  const joining = [member("a", { fingerprint: machine("avx2") }), member("b", { fingerprint: other })];
  assert.deepEqual(decide({ ...view, members: joining }), {
    kind: "refuse",
    workerId: "b",
    reason: "source.job is y here and x in the cluster",
  });
  const anew = formed({ ...view, members: ["c", "d"].map((id) => member(id, { fingerprint: other })) });
  assert.deepEqual(anew.fingerprint, other);
  assert.deepEqual(anew.equivalences, []);
  // Of those that start together none may differ either.
  const mixed = [member("c", { fingerprint: other }), member("d", { fingerprint: machine("avx2") })];
  assert.equal(decide({ ...view, members: mixed }).kind, "refuse");
});

test("a new start on other machines is equivalent from then on", () => {
  const view = { ...empty, fingerprint: machine("avx2"), generation: running(["a"]) };
  const anew = formed({ ...view, members: ["c", "d"].map((id) => member(id, { fingerprint: machine("sve") })) });
  assert.deepEqual(anew.equivalences, [
    "node.instructions is sve on c and was avx2 before",
    "node.instructions is sve on d and was avx2 before",
  ]);
  assert.deepEqual(anew.fingerprint, machine("sve"));
});

test("promise 7: a new start with another meaning is refused, unless that is allowed; then the run is equivalent", () => {
  const changed = { ...fingerprint, "job.seed": "8" };
  const members = ["c", "d"].map((id) => member(id, { fingerprint: changed }));
  const view = { ...empty, members, generation: running(["a"]) };
  assert.deepEqual(decide(view), {
    kind: "refuse",
    workerId: "c",
    reason: "job.seed is 8 here and 7 in the cluster",
  });
  const allowed = formed({ ...view, mayChange: true });
  assert.deepEqual(allowed.fingerprint, changed);
  assert.deepEqual(allowed.equivalences, ["job.seed was 7 and is 8"]);
  // Not while a member of the old meaning is there.
  const survivor = { ...view, mayChange: true, members: [member("a"), ...members] };
  assert.equal(decide(survivor).kind, "refuse");
});

test("a generation runs only when every member has reported, and covers every shard once", () => {
  const view = { ...empty, members: [member("a"), member("b")], generation: forming(["a", "b"]) };
  assert.equal(decide({ ...view, reports: [{ workerId: "a", state: null }] }).kind, "wait");
  const decision = decide({ ...view, reports: ["a", "b"].map((workerId) => ({ workerId, state: null })) });
  assert.equal(decision.kind, "run");
  if (decision.kind !== "run") return;
  assert.deepEqual(decision.running.source, { kind: "seed" });
  assert.deepEqual(
    decision.running.members.map(({ shards }) => shards),
    [
      { begin: 0, end: 2 },
      { begin: 2, end: 4 },
    ],
  );
});

test("the source is the highest state among the reports and latest, and never the seed once there is one", () => {
  const view = { ...empty, members: [member("a"), member("b")], generation: forming(["a", "b"]) };
  const sourceOf = (a: StateName | null, b: StateName | null, latest: ClusterView["latest"]) => {
    const decision = decide({
      ...view,
      latest,
      reports: [
        { workerId: "a", state: a },
        { workerId: "b", state: b },
      ],
    });
    assert.equal(decision.kind, "run");
    return decision.kind === "run" ? decision.running.source : assert.fail();
  };
  assert.deepEqual(sourceOf(state(4), state(5), null), { kind: "member", workerId: "b", state: state(5) });
  assert.deepEqual(sourceOf(null, state(5), { id: "c", state: state(9) }), {
    kind: "checkpoint",
    id: "c",
    state: state(9),
  });
  assert.deepEqual(sourceOf(state(9), null, { id: "c", state: state(9) }), {
    kind: "member",
    workerId: "a",
    state: state(9),
  });
  assert.deepEqual(sourceOf(null, null, { id: "c", state: state(0) }), {
    kind: "checkpoint",
    id: "c",
    state: state(0),
  });
});

test("unequal digests at one step stop the run and name the workers", () => {
  const decision = decide({
    ...empty,
    members: [member("a"), member("b")],
    generation: forming(["a", "b"]),
    reports: [
      { workerId: "a", state: state(5, "sha256:one") },
      { workerId: "b", state: state(5, "sha256:two") },
    ],
  });
  assert.equal(decision.kind, "fail");
  assert.match(decision.kind === "fail" ? decision.reason : "", /step 5: a sha256:one, b sha256:two/);
});

test("a coordinator never continues another's forming generation", () => {
  const members = [member("a"), member("b")];
  const { forming: next } = formed({ ...empty, members, generation: forming(["a", "b"], 4) });
  assert.deepEqual([next.generation, next.coordinator], [4, 5]);
});

test("a member that dies, is unreachable or leaves makes a new generation of the rest; only a live one is evicted", () => {
  const members = [member("a"), member("b"), member("c")];
  const view = { ...empty, members, generation: running(["a", "b", "c"]) };
  assert.equal(decide(view).kind, "wait");
  const died = formed({ ...view, members: members.slice(1) });
  assert.deepEqual([died.forming.generation, died.forming.members, died.evicted], [4, ["b", "c"], []]);
  const cut = formed({ ...view, suspicions: ["a", "c"].map((by) => ({ by, suspect: "b" })) });
  assert.deepEqual([cut.forming.members, cut.evicted.map(({ workerId }) => workerId)], [["a", "c"], ["b"]]);
  const left = formed({ ...view, members: [member("a", { leaving: true }), member("b"), member("c")] });
  assert.deepEqual([left.forming.members, left.evicted], [["b", "c"], []]);
});

test("a refused id is never admitted again", () => {
  const members = [member("a"), member("b"), member("c")];
  const { forming: next } = formed({ ...empty, members, refused: new Set(["b"]) });
  assert.deepEqual(next.members, ["a", "c"]);
});

test("a newcomer joins a running generation; the old members keep their order", () => {
  const view = { ...empty, members: [member("z"), member("a"), member("b")], generation: running(["b", "a"]) };
  assert.deepEqual(formed(view).forming.members, ["b", "a", "z"]);
});

test("who does not report in time is left out", () => {
  const view = {
    ...empty,
    members: [member("a"), member("b")],
    generation: forming(["a", "b"]),
    reports: [{ workerId: "a", state: state(1) }],
    formingForMs: 1001,
  };
  assert.deepEqual(formed(view).forming.members, ["a"]);
});

test("when everyone leaves, all stop together; when the job is done, nothing is formed", () => {
  const view = { ...empty, members: [member("a", { leaving: true })], generation: running(["a"]) };
  assert.equal(decide(view).kind, "stop");
  assert.equal(decide({ ...view, stopRequested: true }).kind, "wait");
  assert.equal(decide({ ...empty, done: true, members: [member("a"), member("b")] }).kind, "wait");
});

test("the fewest are left out that clear the broken links: the dead one, or one end of a cut", () => {
  const view = { ...empty, members: [member("a"), member("b"), member("c")], generation: running(["a", "b", "c"]) };
  const staying = (...links: [by: string, suspect: string][]) =>
    formed({ ...view, suspicions: links.map(([by, suspect]) => ({ by, suspect })) }).forming.members;
  assert.deepEqual(staying(["c", "a"]), ["b", "c"], "of two ends the one that is not reached");
  assert.deepEqual(staying(["a", "b"], ["b", "a"]), ["a", "c"], "of two equal ends the higher rank");
  assert.deepEqual(staying(["a", "b"], ["c", "b"], ["b", "c"]), ["a", "c"], "the one with the most broken links");
  const all = ["a", "b", "c"].flatMap((by) => ["a", "b", "c"].map((suspect): [string, string] => [by, suspect]));
  assert.deepEqual(staying(...all), ["a"], "never everybody");
});
