import assert from "node:assert/strict";
import { test } from "node:test";
import type { PublishedCheckpoint } from "../../src/core/beginning.ts";
import type { ClusterView } from "../../src/core/decision.ts";
import { decide } from "../../src/core/generation.ts";
import type { Forming } from "../../src/core/membership.ts";
import { firstOrigin, type Origin } from "../../src/core/origin.ts";
import type { Report, StateName } from "../../src/core/state-order.ts";
import { empty, fingerprint, forming, member, running, state } from "../fixtures/cluster-view.ts";

const report = (workerId: string, its: StateName | null, trainedIn = its ? 2 : 0): Report => ({
  workerId,
  state: its,
  trainedIn,
  isCopy: false,
});
const latest = (step: number, generation = 1): PublishedCheckpoint => ({
  ...{ id: "c", generation, state: state(step), setAside: null },
});
const ids = ({ members }: Forming) => members.map(({ workerId }) => workerId);
const formed = (view: ClusterView) => {
  const decision = decide(view);
  assert.equal(decision.kind, "form", JSON.stringify(decision));
  return decision.kind === "form" ? decision : assert.fail();
};

test("a start waits for its workers, then forms generation 1 of them, oldest first", () => {
  assert.equal(decide({ ...empty, members: [member("a")] }).kind, "wait");
  const { forming: first } = formed({ ...empty, members: [member("b"), member("a")] });
  assert.deepEqual([first.generation, ids(first)], [1, ["b", "a"]]);
});

const lost = { ...empty, origin: { ...firstOrigin, after: 3 }, bringers: ["b"] };

test("rule 7: who brings checkpoints that etcd has lost has the run rebuilt from them, once all workers are here", () => {
  const members = [member("a"), member("b")];
  assert.equal(decide({ ...lost, members: members.slice(1) }).kind, "wait");
  assert.deepEqual(decide({ ...lost, members }), {
    kind: "rebuild",
    reason: "etcd's data were lost, and b has checkpoints that etcd knows nothing of",
  });
});

test("rule 7: what is brought counts for nothing where nothing was lost, or somebody has the state in memory", () => {
  const members = [member("a"), member("b")];
  const survivor = { ...lost, members: [member("a")], generation: running(["a", "c"], 4) };
  assert.equal(decide({ ...survivor, members }).kind, "form");
  assert.equal(decide({ ...lost, members: [member("a", { trainedIn: 2 })] }).kind, "form");
});

test("rule 7: a new run is not begun under a number that another one has, of which there are checkpoints", () => {
  const decision = decide({ ...lost, isAskedFor: true, members: [member("a"), member("b")], bringers: ["a", "b"] });
  assert.equal(decision.kind, "fail");
  assert.match("reason" in decision ? decision.reason : "", /a new run was asked for, and a, b have checkpoints/);
});

test("no more members than shards; the others stand by", () => {
  const members = ["a", "b", "c", "d", "e"].map((id) => member(id));
  assert.deepEqual(ids(formed({ ...empty, members }).forming), ["a", "b", "c", "d"]);
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
  assert.deepEqual(ids(decision.forming), ["a", "b"]);
  assert.deepEqual(decision.equivalences, ["before", "node.instructions was avx2 and is avx512f"]);
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

test("a misfit is put aside, not refused, while those whom it does not fit may be dead and only their leases left", () => {
  const stale = [member("a"), member("b")];
  const changed = ["c", "d"].map((id) => member(id, { fingerprint: { ...fingerprint, "job.seed": "8" } }));
  const view = { ...empty, settled: false, mayChange: true, generation: running(["a", "b"]) };
  assert.equal(decide({ ...view, members: [...stale, ...changed] }).kind, "wait");
  // Their leases have run out: the start is a whole new one, which may bring another meaning.
  assert.deepEqual(formed({ ...view, members: changed }).equivalences, ["job.seed was 7 and is 8"]);
  // They are alive: the misfit is refused, as soon as that is known.
  assert.equal(decide({ ...view, settled: true, members: [...stale, ...changed] }).kind, "refuse");
});

test("a worker that is leaving is nobody's measure", () => {
  const leaving = member("c", { leaving: true, fingerprint: { ...fingerprint, "source.job": "old" } });
  const others = ["d", "e"].map((id) => member(id, { fingerprint: { ...fingerprint, "source.job": "new" } }));
  const view = { ...empty, members: [leaving, ...others], generation: running(["a"]) };
  assert.equal(formed(view).fingerprint["source.job"], "new");
});

test("a new start on other machines is equivalent from then on", () => {
  const view = { ...empty, fingerprint: machine("avx2"), generation: running(["a"]) };
  const anew = formed({ ...view, members: ["c", "d"].map((id) => member(id, { fingerprint: machine("sve") })) });
  assert.deepEqual(anew.equivalences, ["node.instructions was avx2 and is sve"]);
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
  assert.equal(decide({ ...view, reports: [report("a", null)] }).kind, "wait");
  const decision = decide({ ...view, reports: ["a", "b"].map((id) => report(id, null)) });
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
  const sourceOf = (a: StateName | null, b: StateName | null, latest: PublishedCheckpoint | null) => {
    const decision = decide({
      ...view,
      latest,
      reports: [report("a", a), report("b", b)],
    });
    assert.equal(decision.kind, "run");
    return decision.kind === "run" ? decision.running.source : assert.fail();
  };
  assert.deepEqual(sourceOf(state(4), state(5), null), { kind: "member", workerId: "b", state: state(5) });
  assert.deepEqual(sourceOf(null, state(5), latest(9)), {
    kind: "checkpoint",
    id: "c",
    state: state(9),
  });
  assert.deepEqual(sourceOf(state(9), null, latest(9)), {
    kind: "member",
    workerId: "a",
    state: state(9),
  });
  assert.deepEqual(sourceOf(null, null, latest(0)), {
    kind: "checkpoint",
    id: "c",
    state: state(0),
  });
});

test("the source is a member's state only if nothing newer was published, and in an equivalent run only if it ran last", () => {
  const view = { ...empty, members: [member("a"), member("b")], generation: forming(["a", "b"]) };
  const source = (changes: Partial<ClusterView>) => {
    const decision = decide({ ...view, ...changes });
    return decision.kind === "run" ? decision.running.source.kind : decision.kind;
  };
  // The sleeper of generation 2 is ahead of the one that trained in generation 5.
  const reports = [report("a", state(9), 2), report("b", state(7), 5)];
  assert.equal(source({ reports }), "member");
  const decision = decide({ ...view, reports, equivalences: ["node.gpu was x and is y"] });
  assert.deepEqual(decision.kind === "run" && decision.running.source, {
    ...{ kind: "member", workerId: "b", state: state(7) },
  });
  const alone = { reports: [report("a", state(9), 2), report("b", null)], latest: latest(8, 5) };
  assert.equal(source({ ...alone, equivalences: ["node.gpu was x and is y"] }), "checkpoint");
  assert.equal(source(alone), "member");
});

const three = ["a", "b", "c"].map((id) => member(id));
const differ = (...digests: string[]) =>
  digests.map((digest, i) => report(three[i]!.workerId, state(5, `sha256:${digest}`)));

test("rule 1: unequal states send everyone back to latest; the outvoted is evicted and named", () => {
  const view = { ...empty, members: three, generation: forming(["a", "b", "c"]), latest: latest(3) };
  const decision = formed({ ...view, reports: differ("x", "y", "x") });
  assert.deepEqual(ids(decision.forming), ["a", "c"]);
  assert.deepEqual(
    decision.evicted.map(({ workerId, kind }) => [workerId, kind]),
    [["b", "diverged"]],
  );
  assert.match(decision.forming.reason, /differ at step-5: a sha256:x, b sha256:y, c sha256:x/);
  assert.deepEqual(
    [decision.replay?.generation, decision.replay?.from.step, decision.replay?.undecided],
    [4, 3, false],
  );
  // Found at a boundary it is the same.
  const divergence = {
    place: "epoch-2",
    agreed: null,
    states: ["x", "x", "y"].map((digest, i) => ({ workerId: three[i]!.workerId, digest })),
  };
  const atBoundary = formed({ ...view, generation: running(["a", "b", "c"]), divergence });
  assert.deepEqual(ids(atBoundary.forming), ["a", "b"]);
  // What latest says of a step is agreed on.
  const outdone = formed({
    ...view,
    latest: { ...latest(5), state: state(5, "sha256:y") },
    reports: differ("x", "y", "x"),
  });
  assert.deepEqual(ids(outdone.forming), ["b"]);
});

test("rule 1: after a replay has begun, older states above its beginning are void, whoever reports them", () => {
  const replay = { generation: 3, from: state(3), reason: "", undecided: false };
  const view = { ...empty, members: three, generation: forming(["a", "b", "c"]), latest: latest(3), replay };
  const source = (...reports: Report[]) => {
    const decision = decide({ ...view, reports });
    return decision.kind === "run" ? decision.running.source : assert.fail(JSON.stringify(decision));
  };
  const none = report("c", null);
  assert.equal(source(report("a", state(9), 2), report("b", state(8), 2), none).kind, "checkpoint");
  assert.deepEqual(source(report("a", state(9), 2), report("b", state(4), 3), none), {
    ...{ kind: "member", workerId: "b", state: state(4) },
  });
  // Void states are not compared either.
  assert.equal(source(report("a", state(9), 2), report("b", state(9, "sha256:other"), 2), none).kind, "checkpoint");
});

test("rule 1: of two, both replay; a second divergence after the same step stops the run and says why", () => {
  const view = { ...empty, members: three.slice(0, 2), generation: forming(["a", "b"]), latest: latest(3) };
  const first = formed({ ...view, reports: differ("x", "y") });
  assert.deepEqual([ids(first.forming), first.evicted, first.replay?.undecided], [["a", "b"], [], true]);
  const later = { ...view, reports: differ("x", "y").map((one) => ({ ...one, trainedIn: 4 })), replay: first.replay };
  const second = decide(later);
  assert.equal(second.kind, "fail");
  assert.equal(decide({ ...later, failed: true }).kind, "wait", "said once");
  assert.match(second.kind === "fail" ? second.reason : "", /second time after step 3, and nobody can tell/);
  // Once more was published, it is a first time again.
  assert.equal(decide({ ...later, latest: latest(4) }).kind, "form");
  // Without anything to go back to there is no replay.
  assert.equal(decide({ ...view, latest: null, reports: differ("x", "y") }).kind, "fail");
});

test("below MIN a paused generation runs, with the state; more than MAX stand by", () => {
  const workers = { start: 2, min: 2, max: 3 };
  const view = {
    ...empty,
    workers,
    members: [member("a")],
    generation: forming(["a"]),
    reports: [report("a", state(5))],
  };
  const decision = decide(view);
  assert.equal(decision.kind === "run" && decision.running.paused, true);
  const paused = { ...running(["a"]), paused: true };
  assert.deepEqual(decide({ ...view, generation: paused }), {
    kind: "wait",
    reason: "paused: 1 of at least 2 workers are here",
  });
  const many = ["a", "b", "c", "d"].map((id) => member(id));
  assert.deepEqual(ids(formed({ ...view, generation: paused, members: many }).forming), ["a", "b", "c"]);
});

test("who was stopped before it closed an epoch takes the state of who has closed it", () => {
  const decision = decide({
    ...empty,
    members: [member("a"), member("b")],
    generation: forming(["a", "b"]),
    reports: [report("a", state(5, "sha256:open", 0)), report("b", state(5, "sha256:closed", 1))],
  });
  assert.equal(
    decision.kind === "run" && decision.running.source.kind === "member" && decision.running.source.workerId,
    "b",
  );
});

test("when everyone leaves while a generation forms, all stop together", () => {
  const leaving = [member("a"), member("b")].map((one) => ({ ...one, leaving: true }));
  const view = { ...empty, members: leaving, generation: forming(["a", "b"]) };
  assert.equal(decide(view).kind, "stop");
  const reports = leaving.map(({ workerId }) => report(workerId, state(5)));
  assert.equal(decide({ ...view, stopRequested: true, reports }).kind, "run");
});

test("a coordinator never continues another's forming generation", () => {
  const members = [member("a"), member("b")];
  const { forming: next } = formed({ ...empty, members, generation: forming(["a", "b"], 4) });
  assert.deepEqual([next.generation, next.coordinator], [4, 5]);
});

test("a member that dies, is unreachable or leaves makes a new generation of the rest; only who leaves may come back", () => {
  const members = [member("a"), member("b"), member("c")];
  const view = { ...empty, members, generation: running(["a", "b", "c"]) };
  assert.equal(decide(view).kind, "wait");
  const died = formed({ ...view, members: members.slice(1) });
  assert.deepEqual([died.forming.generation, ids(died.forming)], [4, ["b", "c"]]);
  // Should it be alive after all, its id does not come back by itself.
  assert.deepEqual(died.evicted, [{ workerId: "a", reason: "is gone", kind: "evicted" }]);
  const atStop = formed({ ...view, members: members.slice(1), stopRequested: true });
  assert.equal(atStop.forming.reason, "a is gone as the run stops", "it may have stopped, and gone before the others");
  const cut = formed({ ...view, suspicions: ["a", "c"].map((by) => ({ by, suspect: "b" })) });
  assert.deepEqual([ids(cut.forming), cut.evicted.map(({ workerId }) => workerId)], [["a", "c"], ["b"]]);
  const left = formed({ ...view, members: [member("a", { leaving: true }), member("b"), member("c")] });
  assert.deepEqual([ids(left.forming), left.evicted], [["b", "c"], []]);
});

test("a generation that runs says how many workers it has, and why it was formed", () => {
  const members = [member("a"), member("b")];
  const formedFor = { ...forming(["a", "b"]), reason: "c is gone" };
  const decision = decide({
    ...empty,
    members,
    generation: formedFor,
    reports: ["a", "b"].map((id) => report(id, state(5))),
  });
  const generation = decision.kind === "run" ? decision.running : assert.fail(JSON.stringify(decision));
  assert.deepEqual(decide({ ...empty, members, generation }), { kind: "wait", reason: "2 workers; c is gone" });
});

test("rule 19: nobody leaves with steps that nobody else has", () => {
  const leaving = member("a", { leaving: true });
  const joining = member("b", { hasState: false });
  const alone = { ...empty, members: [leaving, joining], generation: running(["a"]) };
  assert.equal(decide(alone).kind, "wait", "until the newcomer has followed");
  assert.deepEqual(ids(formed({ ...alone, members: [leaving, member("b")] }).forming), ["b"]);
  const both = { ...alone, generation: running(["a", "b"]) };
  assert.equal(decide(both).kind, "wait");
  const copied = { ...both, members: [leaving, member("b")] };
  assert.deepEqual(ids(formed(copied).forming), ["b"]);
  // Also while all places are taken: whoever stands by with the state steps in.
  const full = { ...alone, shards: 1 };
  assert.equal(decide(full).kind, "wait");
  assert.deepEqual(ids(formed({ ...full, members: [leaving, member("b")] }).forming), ["b"]);
  // A generation that forms is gone through first.
  const reports = [report("a", state(5)), report("b", null)];
  assert.equal(decide({ ...both, generation: forming(["a", "b"]), reports }).kind, "run");
});

test("rule 19: when those who stayed die before they run, who was leaving comes back, and all stop together", () => {
  const leaving = ["a", "b"].map((id) => member(id, { leaving: true }));
  const dead = { ...empty, members: [...leaving, member("d", { hasState: false })], generation: forming(["c"]) };
  assert.deepEqual(ids(formed(dead).forming), ["a", "b", "d"], "and there is nobody whom a newcomer could follow");
  assert.deepEqual(ids(formed({ ...dead, members: leaving }).forming), ["a", "b"]);
  assert.equal(decide({ ...dead, members: leaving, generation: forming(["a", "b"]) }).kind, "stop");
  // Nor does it help that who stayed is alive, if it never comes to report.
  const stuck = { ...dead, members: [...leaving, member("c")], formingForMs: 1001 };
  assert.deepEqual(ids(formed(stuck).forming), ["a", "b"]);
});

test("rule 13: a member whose key has gone is kept for a while, unless somebody cannot reach it", () => {
  const view = { ...empty, members: [member("a")], generation: running(["a", "b"]), unsure: new Set(["b"]) };
  assert.equal(decide(view).kind, "wait");
  assert.equal(decide({ ...view, members: [member("a"), member("c")] }).kind, "wait", "newcomers wait for it too");
  assert.deepEqual(ids(formed({ ...view, unsure: new Set() }).forming), ["a"]);
  assert.deepEqual(ids(formed({ ...view, suspicions: [{ by: "a", suspect: "b" }] }).forming), ["a"]);
  // Nor is it left out because another one is lost, or another coordinator takes over.
  const two = { ...view, generation: running(["a", "b", "d"]), suspicions: [{ by: "a", suspect: "d" }] };
  assert.equal(decide(two).kind, "wait", "whoever is lost waits as well");
  assert.deepEqual(ids(formed({ ...two, unsure: new Set() }).forming), ["a"]);
  assert.equal(
    decide({ ...view, generation: { ...forming(["a", "b"]), coordinator: 4 } }).kind,
    "wait",
    "the next coordinator waits too",
  );
  // When all keys are gone, as after an etcd that was away, nobody begins anew while they may come back.
  const away = { ...view, members: [member("c"), member("d")], unsure: new Set(["a", "b"]) };
  assert.equal(decide(away).kind, "wait");
  assert.deepEqual(ids(formed({ ...away, unsure: new Set() }).forming), ["c", "d"]);
});

test("a refused id is never admitted again", () => {
  const members = [member("a"), member("b"), member("c")];
  const { forming: next } = formed({ ...empty, members, refused: new Set(["b"]) });
  assert.deepEqual(ids(next), ["a", "c"]);
});

test("a newcomer joins a running generation; the old members keep their order", () => {
  const view = { ...empty, members: [member("z"), member("a"), member("b")], generation: running(["b", "a"]) };
  assert.deepEqual(ids(formed(view).forming), ["b", "a", "z"]);
});

test("rule 13: nobody stops for a newcomer that has not followed yet, unless there is nobody to follow", () => {
  const cut = member("c", { hasState: false });
  const view = { ...empty, members: [member("a"), member("b"), cut], generation: running(["a", "b"]) };
  assert.equal(decide(view).kind, "wait");
  // Nor is it taken along when the others stop for something else.
  assert.deepEqual(ids(formed({ ...view, members: [member("a"), cut] }).forming), ["a"]);
  // Of those who are left nobody comes to report: the newcomer goes on from what is published.
  const stuck = { ...view, members: [member("a"), cut], generation: forming(["a"]), formingForMs: 1001 };
  assert.deepEqual(ids(formed(stuck).forming), ["c"]);
});

test("rule 1: a newcomer's copy of a wrong state is no second vote for it", () => {
  const reports = [report("a", state(5, "flipped")), report("b", state(5)), report("c", state(5, "flipped"))];
  const copied = reports.map((one) => ({ ...one, isCopy: one.workerId === "c" }));
  const view = {
    ...{ ...empty, latest: { ...latest(3, 2), id: "l" }, generation: forming(["a", "b", "c"]) },
    members: ["a", "b", "c"].map((id) => member(id)),
  };
  assert.deepEqual(
    formed({ ...view, reports }).evicted.map(({ workerId }) => workerId),
    ["b"],
  );
  const undecided = formed({ ...view, reports: copied });
  assert.deepEqual([undecided.evicted, undecided.replay?.undecided], [[], true]);
});

test("who does not report in time is left out", () => {
  const view = {
    ...empty,
    members: [member("a"), member("b")],
    generation: forming(["a", "b"]),
    reports: [report("a", state(1))],
    formingForMs: 1001,
  };
  assert.deepEqual(ids(formed(view).forming), ["a"]);
  // Whose steps are long has longer.
  const slow = { ...view, members: [member("a"), member("b", { stepMs: 500 })] };
  assert.equal(decide(slow).kind, "wait");
  assert.deepEqual(ids(formed({ ...slow, formingForMs: 5001 }).forming), ["a"]);
});

test("when everyone leaves, all stop together; when the job is done, nothing is formed", () => {
  const view = { ...empty, members: [member("a", { leaving: true })], generation: running(["a"]) };
  assert.equal(decide(view).kind, "stop");
  assert.equal(decide({ ...view, stopRequested: true }).kind, "wait");
  assert.equal(decide({ ...empty, done: true, members: [member("a"), member("b")] }).kind, "wait");
});

test("when everyone leaves who is there from an earlier start, the stop is for that one alone", () => {
  const members = [member("a", { leaving: true }), member("b", { leaving: true })];
  assert.deepEqual(decide({ ...empty, start: 2, members, generation: running(["a", "b"]) }), {
    kind: "stop",
    reason: "everyone is leaving",
    start: 1,
  });
});

test("the fewest are left out that clear the broken links: the dead one, or one end of a cut", () => {
  const view = { ...empty, members: [member("a"), member("b"), member("c")], generation: running(["a", "b", "c"]) };
  const staying = (...links: [by: string, suspect: string][]) =>
    ids(formed({ ...view, suspicions: links.map(([by, suspect]) => ({ by, suspect })) }).forming);
  assert.deepEqual(staying(["c", "a"]), ["b", "c"], "of two ends the one that is not reached");
  assert.deepEqual(staying(["a", "b"], ["b", "a"]), ["a", "c"], "of two equal ends the higher rank");
  assert.deepEqual(staying(["a", "b"], ["c", "b"], ["b", "c"]), ["a", "c"], "the one with the most broken links");
  const all = ["a", "b", "c"].flatMap((by) => ["a", "b", "c"].map((suspect): [string, string] => [by, suspect]));
  assert.deepEqual(staying(...all), ["a"], "never everybody");
});

const checkpoint = (id: string, step: number, setAside: string | null = null, lineage = 1): PublishedCheckpoint => ({
  ...{ id, generation: 1, state: { ...state(step), lineage }, setAside },
});

test("rule 15: what is set aside is no source; who has the state in memory is", () => {
  const broken = checkpoint("c9", 9, "its SHA-256 is another");
  const view = {
    ...{ ...empty, generation: forming(["a", "b"]), members: [member("a"), member("b")] },
    ...{ latest: broken, checkpoints: [checkpoint("c5", 5), broken] },
  };
  const held = decide({ ...view, reports: [report("a", state(9)), report("b", null)] });
  assert.ok(held.kind === "run");
  assert.deepEqual(held.running.source, { kind: "member", workerId: "a", state: state(9) });
  assert.equal(held.running.origin, firstOrigin);
});

test("rules 11 and 15: when nobody has what was set aside, the newest that is whole begins a new lineage", () => {
  const broken = checkpoint("c9", 9, "its SHA-256 is another");
  const best = { epoch: 1, step: 5, value: 0.5, of: { monitor: "loss", mode: "min", data: "d" } } as const;
  const view = {
    ...{ ...empty, generation: forming(["a", "b"]), members: [member("a"), member("b")], best },
    ...{
      latest: broken,
      checkpoints: [checkpoint("c3", 3), checkpoint("c5", 5), checkpoint("c7", 7, "cut off"), broken],
    },
    reports: [report("a", null), report("b", null)],
  };
  const back = decide(view);
  assert.ok(back.kind === "run");
  assert.deepEqual(back.running.source, { kind: "checkpoint", id: "c5", state: state(5) });
  const reason = "c9 is set aside: its SHA-256 is another";
  const from = { checkpoint: "c5", state: state(5) };
  assert.deepEqual(back.running.origin, { lineage: 2, era: 1, from, reason, best, after: 0 });
  // Somebody who is behind what was published, and before what is whole, is still nearer.
  const sleeper = decide({ ...view, reports: [report("a", state(8)), report("b", null)] });
  assert.ok(sleeper.kind === "run");
  assert.deepEqual(sleeper.running.source, { kind: "member", workerId: "a", state: state(8) });
  assert.deepEqual(sleeper.running.origin.from, { checkpoint: null, state: state(8) });
  // None is left: the run does not silently begin anew.
  const none = decide({ ...view, checkpoints: [broken] });
  assert.ok(none.kind === "fail");
  assert.match(none.reason, /c9 is set aside: its SHA-256 is another; and no other checkpoint is whole/);
});

test("rule 15: a generation that goes on from what is set aside is formed anew", () => {
  const source = { kind: "checkpoint", id: "c9", state: state(9) } as const;
  const view = {
    ...{ ...empty, generation: { ...running(["a", "b"]), source }, members: [member("a"), member("b")] },
    latest: checkpoint("c9", 9, "cut off"),
  };
  assert.equal(decide({ ...view, checkpoints: [checkpoint("c9", 9)] }).kind, "wait");
  assert.match(formed({ ...view, checkpoints: [view.latest] }).forming.reason, /c9 is set aside: cut off/);
});

test("rule 11: in a new lineage nothing of the old one is gone on from but what it begins with", () => {
  const origin: Origin = {
    ...{
      lineage: 2,
      era: 1,
      from: { checkpoint: "c5", state: state(5) },
      reason: "resumed from c5",
      best: null,
      after: 0,
    },
  };
  const view = {
    ...{ ...empty, generation: forming(["a", "b"]), members: [member("a"), member("b")], origin },
    ...{ latest: checkpoint("c9", 9), checkpoints: [checkpoint("c5", 5), checkpoint("c9", 9)] },
  };
  // A sleeper of the old lineage is further on, and does not count.
  const begins = decide({ ...view, reports: [report("a", state(20)), report("b", null)] });
  assert.ok(begins.kind === "run");
  assert.deepEqual(begins.running.source, { kind: "checkpoint", id: "c5", state: state(5) });
  assert.equal(begins.running.origin, origin);
  const own = { ...state(6), lineage: 2 };
  const goesOn = decide({ ...view, reports: [report("a", state(20)), report("b", own)] });
  assert.ok(goesOn.kind === "run");
  assert.deepEqual(goesOn.running.source, { kind: "member", workerId: "b", state: own });
  // A divergence before anything is published in it goes back to its beginning, and voids all of it.
  const other = { ...own, digest: "sha256:other" };
  const { replay } = formed({ ...view, reports: [report("a", own), report("b", other)] });
  assert.deepEqual(replay?.from, state(5));
  // What it begins with is gone: behind it there may be something.
  const nobody = [report("a", null), report("b", null)];
  const lost = decide({ ...view, reports: nobody, checkpoints: [checkpoint("c3", 3), view.latest] });
  assert.ok(lost.kind === "run");
  assert.deepEqual(lost.running.source, { kind: "checkpoint", id: "c3", state: state(3) });
  assert.equal(lost.running.origin.lineage, 3);
});

test("rule 10: an equivalent run of which nobody is left goes on from a checkpoint only when somebody starts it again", () => {
  const view = {
    ...{ ...empty, generation: forming(["a", "b"]), members: [member("a"), member("b")], latest: latest(7) },
    ...{ reports: [report("a", null), report("b", null)], equivalences: ["the data were changed"] },
  };
  const waiting = decide(view);
  assert.ok(waiting.kind === "wait");
  assert.match(waiting.reason, /only equivalent: to compute again what came after step 7, start it again/);
  // By then it is the next start; a run that is bit-exact computes the same again; who trained knows what is lost.
  assert.equal(decide({ ...view, start: 2 }).kind, "run");
  assert.equal(decide({ ...view, equivalences: [] }).kind, "run");
  assert.equal(decide({ ...view, reports: [report("a", state(5), 2), report("b", null)] }).kind, "run");
  // The start in which a generation ran last is handed on from one forming generation to the next.
  const again = formed({ ...view, coordinator: 6 });
  assert.equal(again.forming.ranIn, 1);
  assert.equal(
    formed({ ...view, generation: { ...running(["a"]), start: 3 }, members: [member("b"), member("c")] }).forming.ranIn,
    3,
  );
});
