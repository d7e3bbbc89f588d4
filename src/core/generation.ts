/**
 * Who is in. One etcd key holds the current generation: first Forming (its members stop, keep their state and report
 * it), then Running (ranks, shards, and where the state comes from). Only the active coordinator writes it, by
 * comparing and swapping under its fencing token; everyone else acts on what they read there. A generation that was
 * Forming when its coordinator went is never continued: the next coordinator forms the next number.
 *
 * `decide` looks at everything the coordinator can read and says what to do now, and why. It keeps no memory of
 * events: a hint that is lost or doubled changes nothing.
 */
import { baseOf, beginningOf, usable } from "./beginning.ts";
import { unreachable } from "./broken-links.ts";
import { type ClusterView, type Decision, type Eviction, goneAtStop } from "./decision.ts";
import { describeDivergence, type Divergence, divergenceOf, outvoted } from "./divergence.ts";
import { assert } from "./errors.ts";
import { slowStepFactor } from "./failure-budget.ts";
import { continued, type Fingerprint, refusalOf, withChanges } from "./fingerprint.ts";
import { type Forming, type Member, memberIds, type Running } from "./membership.ts";
import { shardsOfRank } from "./reduce-tree.ts";
import { compareStates } from "./state-order.ts";
import { plural } from "./summary-table.ts";

export function decide(view: ClusterView): Decision {
  if (view.done) return wait("the job is finished");
  if (view.failed) return wait("the run cannot go on");
  const reference = referenceOf(view);
  const misfits = eligible(view).flatMap(({ workerId, fingerprint }) => {
    const reason = reference && refusalOf(reference, fingerprint);
    return reason ? [{ workerId, reason }] : [];
  });
  const [first] = misfits;
  if (first && (view.settled || !anySurvivor(view))) return { kind: "refuse", ...first };
  const isMisfit = ({ workerId }: Member) => misfits.some((misfit) => misfit.workerId === workerId);
  const decision = decideMembership({ ...view, members: view.members.filter((member) => !isMisfit(member)) });
  if (!first || decision.kind !== "wait") return decision;
  return wait(`${first.workerId} waits, as it does not fit those who may be alive: ${first.reason}`);
}

/** What to do when all members fit together. */
function decideMembership(view: ClusterView): Decision {
  const { generation, stopRequested } = view;
  const kept = withNeeded(view);
  if (isAfterLoss(view)) return beginAnew(kept);
  if (!generation || !anySurvivor(view)) {
    const isBack = kept.members.some(({ leaving }, i) => leaving !== view.members[i]!.leaving);
    return isBack ? form(kept, new Map(), "who is leaving has the state alone") : beginAnew(view);
  }
  const leaving = stopRequested ? [] : allWhoLeave(view);
  if (leaving.length > 0) {
    return { kind: "stop", reason: "everyone is leaving", start: Math.max(...leaving.map(({ start }) => start)) };
  }
  return generation.kind === "forming" ? whileForming(kept, generation) : whileRunning(kept, generation);
}

/**
 * The view with those staying who want to leave and are still needed: all members while a stop was asked for, since all
 * stop together, and while a generation forms; and everyone with the state while nobody who stays has it.
 */
function withNeeded(view: ClusterView): ClusterView {
  const { generation, stopRequested, refused } = view;
  const current = memberIds(generation);
  // After a loss those who have trained come back under new ids, and nobody has handed them a state yet.
  const has = ({ hasState, trainedIn }: Member) => hasState || (isAfterLoss(view) && trainedIn > 0);
  const isHandedOver = eligible(view).some(has);
  const isNeeded = (member: Member) =>
    member.leaving &&
    !refused.has(member.workerId) &&
    (current.includes(member.workerId)
      ? stopRequested || generation?.kind === "forming" || !isHandedOver
      : has(member) && !isHandedOver);
  return {
    ...view,
    members: view.members.map((member) => (isNeeded(member) ? { ...member, leaving: false } : member)),
  };
}

/** The members, where nobody would be left to go on, and it is their own wish; else none. */
function allWhoLeave(view: ClusterView): readonly Member[] {
  if (eligible(view).length > 0) return [];
  const current = memberIds(view.generation);
  return view.members.filter(
    ({ workerId, leaving }) => leaving && current.includes(workerId) && !view.refused.has(workerId),
  );
}

/** Whether a member of the last generation is still there, or may be; not counting some. */
function anySurvivor({ generation, members, unsure }: ClusterView, without: ReadonlySet<string> = new Set()): boolean {
  const isThere = (id: string) => unsure.has(id) || members.some(({ workerId }) => workerId === id);
  return memberIds(generation).some((id) => !without.has(id) && isThere(id));
}

/**
 * What every member is compared with: while a member of the last generation is there, that generation's fingerprint;
 * when all are new, what the run was before, in the words of the oldest of them. Null when there is nothing to compare.
 */
function referenceOf(view: ClusterView): Fingerprint | null {
  if (anySurvivor(view)) return view.fingerprint;
  const oldest = eligible(view)[0]?.fingerprint ?? null;
  if (!oldest || !view.fingerprint || view.mayChange) return oldest;
  return continued(view.fingerprint, oldest);
}

/** Nobody of the last generation is left (or there was none): wait for as many workers as the run starts with. */
function beginAnew(view: ClusterView): Decision {
  const ready = admissible(view, new Set());
  if (view.stopRequested) return wait("a stop was asked for and nothing is running");
  if (view.mayReturn) return wait("etcd's data were lost; whoever trained may come back");
  const { start } = view.workers;
  // Who has trained on while etcd lost its data waits for nobody.
  const goesOn = isAfterLoss(view) && ready.some(({ trainedIn }) => trainedIn > 0);
  if (ready.length < start && !goesOn) return wait(`${ready.length} of ${start} workers are here`);
  if (goesOn) return form(view, new Map(), "etcd's data were lost");
  if (view.bringers.length > 0) return fromBrought(view);
  return form(view, new Map(), view.generation ? "all workers are new" : "the first membership");
}

/** Nobody who is here has trained since etcd lost its data, and there are checkpoints that it knows nothing of. */
function fromBrought({ bringers, isAskedFor }: ClusterView): Decision {
  const who = `${bringers.join(", ")} ${bringers.length === 1 ? "has" : "have"} checkpoints that etcd knows nothing of`;
  if (!isAskedFor) return { kind: "rebuild", reason: `etcd's data were lost, and ${who}` };
  const ways = "started again without --resume never it goes on with them, and with it a new run gets the next number";
  return { kind: "fail", code: "incompatible", reason: `a new run was asked for, and ${who}; ${ways}` };
}

function isAfterLoss({ generation, origin }: ClusterView): boolean {
  return generation === null && origin.after > 0;
}

function whileForming(view: ClusterView, forming: Forming): Decision {
  if (forming.coordinator !== view.coordinator) return form(view, new Map(), "another coordinator took over");
  const ids = memberIds(forming);
  const lost = losses(view, ids);
  const reported = new Set(view.reports.map(({ workerId }) => workerId));
  const missing = ids.filter((id) => !reported.has(id));
  for (const id of view.formingForMs > view.formingLimitMs ? missing : []) {
    const limitMs = reportLimitMs(view, id);
    if (view.formingForMs > limitMs) lost.set(id, `did not report within ${limitMs} ms`);
  }
  if (lost.size > 0) return form(view, lost, describe(lost));
  if (missing.length > 0) return wait(`waiting for the report of ${missing.join(", ")}`);
  return run(view, forming);
}

/** A member reports when its step is computed; steps may be long. */
function reportLimitMs(view: ClusterView, id: string): number {
  const stepMs = view.members.find(({ workerId }) => workerId === id)?.stepMs ?? 0;
  return Math.max(view.formingLimitMs, slowStepFactor * stepMs);
}

function whileRunning(view: ClusterView, running: Running): Decision {
  if (view.divergence) return goBack(view, view.divergence);
  const lost = losses(view, memberIds(running));
  if (lost.size > 0) {
    const remaining = admissible(view, new Set(lost.keys()));
    if (remaining.length === 0) return wait(`nobody is left to go on: ${describe(lost)}`);
    return form(view, lost, describe(lost));
  }
  const { source } = running;
  const used = view.checkpoints.find(({ id }) => source.kind === "checkpoint" && source.id === id);
  if (used && used.setAside !== null) return form(view, new Map(), `${used.id} is set aside: ${used.setAside}`);
  const ids = new Set(memberIds(running));
  const newcomers = admissible(view, new Set()).filter(({ workerId }) => !ids.has(workerId));
  if (newcomers.length > 0 && !view.stopRequested) {
    return form(view, new Map(), `${newcomers.map((member) => member.workerId).join(", ")} joined`);
  }
  const { length } = running.members;
  if (running.paused) return wait(`paused: ${length} of at least ${view.workers.min} workers are here`);
  return wait(`${plural(length, "worker")}; ${running.reason}`);
}

/** States differ: everyone returns to what was published last and computes again, without those who are outvoted. */
function goBack(view: ClusterView, divergence: Divergence): Decision {
  const { replay } = view;
  const base = baseOf(view);
  const reason = describeDivergence(divergence);
  if (!base) return { kind: "fail", code: "diverged", reason: `${reason}; no checkpoint is there to go back to` };
  const lost = losses(view, memberIds(view.generation));
  const others = admissible(view, new Set([...lost.keys(), ...outvoted(divergence)]));
  // Somebody has to be there who replays.
  const wrong = others.length > 0 ? outvoted(divergence) : [];
  const undecided = wrong.length === 0;
  if (undecided && replay?.undecided && compareStates(replay.from, base.state) === 0) {
    return {
      kind: "fail",
      code: "diverged",
      reason: `${reason}, for the second time after step ${base.state.step}, and nobody can tell who is right`,
    };
  }
  for (const id of wrong) lost.set(id, `has another state than the others at ${divergence.place}`);
  const generation = nextGeneration(view);
  const decision = form({ ...view, replay: { generation, from: base.state, reason, undecided } }, lost, reason);
  if (decision.kind !== "form") return decision;
  const diverged = ({ workerId }: Eviction) => wrong.includes(workerId);
  return { ...decision, evicted: decision.evicted.map((one) => (diverged(one) ? { ...one, kind: "diverged" } : one)) };
}

function nextGeneration({ generation, origin }: ClusterView): number {
  return Math.max(generation?.generation ?? 0, origin.after) + 1;
}

/** Members of the current generation that cannot stay, and why. */
function losses(view: ClusterView, ids: readonly string[]): Map<string, string> {
  const lost = new Map<string, string>();
  const members = new Map(view.members.map((member) => [member.workerId, member]));
  for (const id of ids) {
    const member = members.get(id);
    if (!member) {
      if (!view.unsure.has(id) || view.suspicions.some(({ suspect }) => suspect === id)) {
        lost.set(id, view.stopRequested ? goneAtStop : "is gone");
      }
    } else if (member.leaving) lost.set(id, "is leaving");
    else if (view.refused.has(id)) lost.set(id, "was refused");
  }
  for (const [id, by] of unreachable(
    view.suspicions,
    ids.filter((id) => !lost.has(id)),
  )) {
    lost.set(id, `cannot be reached by ${by.join(", ")}`);
  }
  return lost;
}

/** Those who want to stay and may; oldest key first. */
function eligible({ members, refused }: ClusterView): Member[] {
  return members.filter(({ leaving, workerId }) => !leaving && !refused.has(workerId));
}

/**
 * Whom the next generation may have: the current members first, in rank order, then the others by age; at most S and MAX.
 * While there is somebody to follow, a newcomer has to have done that: nobody stops for one that cannot be reached.
 */
function admissible(view: ClusterView, without: ReadonlySet<string>): Member[] {
  const ranks = new Map(memberIds(view.generation).map((id, rank) => [id, rank]));
  const isFollowed = anySurvivor(view, without);
  // Those first who have trained; after a loss they are as new as all others.
  const order = ({ workerId, trainedIn }: Member) =>
    isAfterLoss(view) ? -trainedIn : (ranks.get(workerId) ?? ranks.size);
  return eligible(view)
    .filter(({ workerId, hasState }) => !without.has(workerId) && (hasState || !isFollowed || ranks.has(workerId)))
    .sort((a, b) => order(a) - order(b))
    .slice(0, Math.min(view.shards, view.workers.max));
}

function form(view: ClusterView, lost: ReadonlyMap<string, string>, reason: string): Decision {
  // Without their keys they would be left out, and their state with them.
  const isSuspected = (id: string) => view.suspicions.some(({ suspect }) => suspect === id);
  const returning = [...view.unsure].filter((id) => !lost.has(id) && !isSuspected(id));
  if (returning.length > 0) return wait(`${returning.join(", ")} may come back; until then: ${reason}`);
  const members = admissible(view, new Set(lost.keys()));
  if (members.length === 0) {
    // Those who were to hand over come back, if they are all that is left.
    const isLeft = ({ workerId, leaving, hasState }: Member) => leaving && hasState && !lost.has(workerId);
    const back = view.members.map((member) => (isLeft(member) ? { ...member, leaving: false } : member));
    if (back.some(({ leaving }, i) => leaving !== view.members[i]!.leaving))
      return form({ ...view, members: back }, lost, reason);
    return wait(`no worker is left: ${reason}`);
  }
  // Also those whose keys are gone: they may be alive, and about to write them again.
  const evicted = [...lost]
    .filter(([id]) => !view.members.some(({ workerId, leaving }) => workerId === id && leaving))
    .map(([workerId, why]) => ({ workerId, reason: why, kind: "evicted" as const }));
  const fingerprint = referenceOf(view);
  assert(fingerprint !== null, "a worker that is not refused has a fingerprint");
  return {
    kind: "form",
    fingerprint,
    equivalences: withChanges(view.equivalences, view.fingerprint ?? fingerprint, [
      fingerprint,
      ...members.map((member) => member.fingerprint),
    ]),
    forming: {
      kind: "forming",
      generation: nextGeneration(view),
      members: members.map(({ workerId, address }) => ({ workerId, address })),
      coordinator: view.coordinator,
      ranIn: view.generation?.kind === "running" ? view.generation.start : (view.generation?.ranIn ?? 0),
      reason,
    },
    evicted,
    replay: view.replay,
  };
}

/** Everyone has stopped, reported and reaches everyone: name ranks, shards and the source of the state. */
function run(view: ClusterView, forming: Forming): Decision {
  const reports = usable(view);
  const divergence = divergenceOf(reports, view.latest?.state ?? null);
  if (divergence) return goBack(view, divergence);
  const beginning = beginningOf(view, reports);
  if ("fail" in beginning) return withoutBeginning(view, beginning.fail);
  if (beginning.source.kind === "checkpoint" && !mayTakeCheckpoint(view, forming)) {
    const { step } = beginning.source.state;
    return wait(
      `nobody who trained is left, and this run is only equivalent: to compute again what came after step ${step}, start it again`,
    );
  }
  const world = forming.members.length;
  return {
    kind: "run",
    reason: forming.reason,
    running: {
      kind: "running",
      generation: forming.generation,
      members: forming.members.map((member, rank) => ({
        ...member,
        rank,
        shards: shardsOfRank(view.shards, world, rank),
      })),
      ...beginning,
      start: view.start,
      paused: world < view.workers.min,
      reason: forming.reason,
    },
  };
}

/** Where nobody has the state in memory any more, a worker that is not here yet may bring a checkpoint. */
function withoutBeginning(view: ClusterView, reason: string): Decision {
  const wasInMemory = view.origin.from?.checkpoint === null;
  if (wasInMemory && view.bringers.length > 0) return fromBrought(view);
  const mayBeBrought = wasInMemory && view.members.some(({ store }) => store !== null);
  if (!mayBeBrought) return { kind: "fail", code: "corrupt-checkpoint", reason };
  const who = view.members.map(({ name }) => name).join(", ");
  return { kind: "wait", reason: `${reason}; ${who} brought none: start the workers that kept one`, needsHelp: true };
}

/**
 * Once a run is only equivalent, what is computed again is something else than what was lost, and those who have that may be
 * alive where nobody sees them: so a checkpoint is gone on from only by those who trained, or after somebody has started the
 * run again.
 */
function mayTakeCheckpoint(view: ClusterView, { ranIn }: Forming): boolean {
  return view.equivalences.length === 0 || view.reports.some(({ trainedIn }) => trainedIn > 0) || ranIn < view.start;
}

function describe(lost: ReadonlyMap<string, string>): string {
  return [...lost].map(([id, why]) => `${id} ${why}`).join(", ");
}

function wait(reason: string): Decision {
  return { kind: "wait", reason };
}
