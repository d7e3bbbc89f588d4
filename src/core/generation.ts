/**
 * Who is in. One etcd key holds the current generation: first Forming (its members stop, keep their state and report
 * it), then Running (ranks, shards, and where the state comes from). Only the active coordinator writes it, by
 * comparing and swapping under its fencing token; everyone else acts on what they read there. A generation that was
 * Forming when its coordinator went is never continued: the next coordinator forms the next number.
 *
 * `decide` looks at everything the coordinator can read and says what to do now, and why. It keeps no memory of
 * events: a hint that is lost or doubled changes nothing.
 */
import { assert } from "./errors.ts";
import { changesOfMeaning, continued, type Fingerprint, machineDifferences, refusalOf } from "./fingerprint.ts";
import { shardsOfRank } from "./reduce-tree.ts";
import type { Range } from "./sampler.ts";

/** A worker that is alive and wants to be in: the value of its member key. */
export interface Member {
  readonly workerId: string;
  readonly name: string;
  /** Where peers subscribe to its outbox. */
  readonly address: string;
  readonly pid: number;
  readonly fingerprint: Fingerprint;
  /** It is going away in order, as soon as a generation runs without it. */
  readonly leaving: boolean;
  /** For people, who want to know how long an epoch is. */
  readonly stepsPerEpoch: number;
}

/** A state's place in the order of states, and what it is. */
export interface StateName {
  readonly lineage: number;
  readonly era: number;
  readonly step: number;
  readonly digest: string;
}

export interface Forming {
  readonly kind: "forming";
  readonly generation: number;
  readonly members: readonly string[];
  /** The coordinator that forms it, by its fencing token: another one starts over. */
  readonly coordinator: number;
  readonly reason: string;
}

export interface Running {
  readonly kind: "running";
  readonly generation: number;
  readonly members: readonly RunningMember[];
  readonly source: Source;
}

export interface RunningMember {
  readonly workerId: string;
  readonly rank: number;
  readonly address: string;
  readonly shards: Range;
}

export type Source =
  | { readonly kind: "seed" }
  | { readonly kind: "member"; readonly workerId: string; readonly state: StateName }
  | { readonly kind: "checkpoint"; readonly id: string; readonly state: StateName };

export type Generation = Forming | Running;

/** A member of a forming generation has stopped; this is its state, or null if it has none yet. */
export interface Report {
  readonly workerId: string;
  readonly state: StateName | null;
}

/** A member cannot reach another one. Whose fault it is, nobody can know. */
export interface Suspicion {
  readonly by: string;
  readonly suspect: string;
}

export interface ClusterView {
  /** This coordinator's fencing token. */
  readonly coordinator: number;
  readonly shards: number;
  /** How many workers a run starts with, when no member of its last generation is left. */
  readonly workers: number;
  /** Of the last generation; null before the first. */
  readonly fingerprint: Fingerprint | null;
  /** This start may change what the bits depend on (--allow-change). */
  readonly mayChange: boolean;
  /** Why the run is only equivalent, so far; empty while it is bit-exact. */
  readonly equivalences: readonly string[];
  /** Live members, oldest key first. */
  readonly members: readonly Member[];
  /** Ids that were refused or evicted; never admitted again. */
  readonly refused: ReadonlySet<string>;
  readonly generation: Generation | null;
  /** Reports to the current generation. */
  readonly reports: readonly Report[];
  /** Links of the current generation that do not work, as one end says. */
  readonly suspicions: readonly Suspicion[];
  readonly latest: { readonly id: string; readonly state: StateName } | null;
  readonly done: boolean;
  readonly stopRequested: boolean;
  /** How long the current generation has been forming, as this coordinator saw it. */
  readonly formingForMs: number;
  readonly formingLimitMs: number;
}

export type Decision =
  | { readonly kind: "wait"; readonly reason: string }
  | { readonly kind: "refuse"; readonly workerId: string; readonly reason: string }
  | {
      readonly kind: "form";
      readonly forming: Forming;
      readonly evicted: readonly Eviction[];
      readonly fingerprint: Fingerprint;
      /** As in the view, with what this membership adds. */
      readonly equivalences: readonly string[];
    }
  | { readonly kind: "run"; readonly running: Running; readonly reason: string }
  /** Nobody would be left to go on: the members stop together and publish their state. */
  | { readonly kind: "stop"; readonly reason: string }
  | { readonly kind: "fail"; readonly reason: string };

/** A worker that is left out though its key is still alive. Its id is never admitted again. */
export interface Eviction {
  readonly workerId: string;
  readonly reason: string;
}

export function decide(view: ClusterView): Decision {
  if (view.done) return wait("the job is finished");
  const { generation } = view;
  const reference = referenceOf(view);
  for (const { workerId, fingerprint } of view.members) {
    const reason = reference && !view.refused.has(workerId) ? refusalOf(reference, fingerprint) : null;
    if (reason) return { kind: "refuse", workerId, reason };
  }
  if (!generation || !anySurvivor(view)) return beginAnew(view);
  return generation.kind === "forming" ? whileForming(view, generation) : whileRunning(view, generation);
}

/** Whether a member of the last generation is still there. */
function anySurvivor({ generation, members }: ClusterView): boolean {
  return memberIds(generation).some((id) => members.some((member) => member.workerId === id));
}

/**
 * What every member is compared with: while a member of the last generation is there, that generation's fingerprint;
 * when all are new, what the run was before, in the words of the oldest of them. Null when there is nothing to compare.
 */
function referenceOf(view: ClusterView): Fingerprint | null {
  if (anySurvivor(view)) return view.fingerprint;
  const oldest = view.members.find((member) => !view.refused.has(member.workerId))?.fingerprint ?? null;
  if (!oldest || !view.fingerprint || view.mayChange) return oldest;
  return continued(view.fingerprint, oldest);
}

/** Nobody of the last generation is left (or there was none): wait for as many workers as the run starts with. */
function beginAnew(view: ClusterView): Decision {
  const ready = admissible(view, new Set());
  if (view.stopRequested) return wait("a stop was asked for and nothing is running");
  if (ready.length < view.workers) return wait(`${ready.length} of ${view.workers} workers are here`);
  return form(view, new Map(), view.generation ? "all workers are new" : "the first membership");
}

function whileForming(view: ClusterView, forming: Forming): Decision {
  if (forming.coordinator !== view.coordinator) return form(view, new Map(), "another coordinator took over");
  const lost = losses(view, forming.members);
  const missing = forming.members.filter((id) => !view.reports.some((report) => report.workerId === id));
  if (view.formingForMs > view.formingLimitMs) {
    for (const id of missing) lost.set(id, `did not report within ${view.formingLimitMs} ms`);
  }
  if (lost.size > 0) return form(view, lost, describe(lost));
  if (missing.length > 0) return wait(`waiting for the report of ${missing.join(", ")}`);
  return run(view, forming);
}

function whileRunning(view: ClusterView, running: Running): Decision {
  const lost = losses(view, memberIds(running));
  if (lost.size > 0) {
    const remaining = admissible(view, new Set(lost.keys()));
    if (remaining.length === 0) {
      const reason = `nobody is left to go on: ${describe(lost)}`;
      const allLeave = view.members.every((member) => member.leaving || !lost.has(member.workerId));
      return view.stopRequested || !allLeave ? wait(reason) : { kind: "stop", reason };
    }
    return form(view, lost, describe(lost));
  }
  const newcomers = admissible(view, new Set()).filter((member) => !memberIds(running).includes(member.workerId));
  if (newcomers.length > 0 && !view.stopRequested) {
    return form(view, new Map(), `${newcomers.map((member) => member.workerId).join(", ")} joined`);
  }
  return wait("running");
}

/** Members of the current generation that cannot stay, and why. */
function losses(view: ClusterView, ids: readonly string[]): Map<string, string> {
  const lost = new Map<string, string>();
  for (const id of ids) {
    const member = view.members.find((candidate) => candidate.workerId === id);
    if (!member) lost.set(id, "is gone");
    else if (member.leaving) lost.set(id, "is leaving");
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

/**
 * Whom to leave out so that no broken link remains: again and again the one with the most broken links; of equals the
 * one that more others cannot reach, then the one with the highest rank. `ids` are in rank order.
 */
function unreachable(suspicions: readonly Suspicion[], ids: readonly string[]): Map<string, string[]> {
  const out = new Map<string, string[]>();
  for (;;) {
    const staying = ids.filter((id) => !out.has(id));
    const links = suspicions.filter(
      ({ by, suspect }) => by !== suspect && staying.includes(by) && staying.includes(suspect),
    );
    if (links.length === 0) return out;
    const accusers = (id: string) => links.filter(({ suspect }) => suspect === id).map(({ by }) => by);
    const score = (id: string) => {
      const peers = new Set(links.flatMap(({ by, suspect }) => (by === id ? [suspect] : suspect === id ? [by] : [])));
      return peers.size + accusers(id).length / (ids.length + 1);
    };
    const worst = staying.reduce((top, id) => (score(id) >= score(top) ? id : top));
    out.set(worst, accusers(worst));
  }
}

/** Whom the next generation may have: the current members first, in rank order, then the others by age; at most S. */
function admissible(view: ClusterView, without: ReadonlySet<string>): Member[] {
  const current = memberIds(view.generation);
  const order = (member: Member) => {
    const index = current.indexOf(member.workerId);
    return index < 0 ? current.length : index;
  };
  return view.members
    .filter((member) => !member.leaving && !view.refused.has(member.workerId) && !without.has(member.workerId))
    .sort((a, b) => order(a) - order(b))
    .slice(0, view.shards);
}

function form(view: ClusterView, lost: ReadonlyMap<string, string>, reason: string): Decision {
  const members = admissible(view, new Set(lost.keys()));
  if (members.length === 0) return wait(`no worker is left: ${reason}`);
  const evicted = [...lost]
    .filter(([id]) => view.members.some((member) => member.workerId === id && !member.leaving))
    .map(([workerId, why]) => ({ workerId, reason: why }));
  const fingerprint = referenceOf(view);
  assert(fingerprint !== null, "a worker that is not refused has a fingerprint");
  return {
    kind: "form",
    fingerprint,
    equivalences: equivalencesOf(view, fingerprint, members),
    forming: {
      kind: "forming",
      generation: (view.generation?.generation ?? 0) + 1,
      members: members.map((member) => member.workerId),
      coordinator: view.coordinator,
      reason,
    },
    evicted,
  };
}

/** Why the run is only equivalent, once these members have been in it. */
function equivalencesOf(view: ClusterView, reference: Fingerprint, members: readonly Member[]): readonly string[] {
  const before = view.fingerprint ?? reference;
  const reasons = [
    ...view.equivalences,
    ...changesOfMeaning(before, reference),
    ...members.flatMap(({ fingerprint, workerId }) => machineDifferences(before, fingerprint, workerId)),
  ];
  return [...new Set(reasons)];
}

/** Everyone has stopped and reported: name ranks, shards and the source of the state. */
function run(view: ClusterView, forming: Forming): Decision {
  const states = view.reports.flatMap((report) =>
    report.state ? [{ workerId: report.workerId, state: report.state }] : [],
  );
  const highest = states.reduce<StateName | null>(
    (top, { state }) => (!top || compareStates(state, top) > 0 ? state : top),
    null,
  );
  const holders = highest ? states.filter(({ state }) => compareStates(state, highest) === 0) : [];
  const other = holders.find(({ state }) => state.digest !== highest?.digest);
  if (highest && other) {
    return {
      kind: "fail",
      reason: `the workers' states differ at step ${highest.step}: ${holders.map(({ workerId, state }) => `${workerId} ${state.digest.slice(0, 19)}`).join(", ")}`,
    };
  }
  return {
    kind: "run",
    reason: forming.reason,
    running: {
      kind: "running",
      generation: forming.generation,
      members: forming.members.map((workerId, rank) => {
        const member = view.members.find((candidate) => candidate.workerId === workerId);
        assert(member !== undefined, "a member that has reported and is not lost is alive");
        return {
          workerId,
          rank,
          address: member.address,
          shards: shardsOfRank(view.shards, forming.members.length, rank),
        };
      }),
      source: sourceOf(view, holders, highest),
    },
  };
}

function sourceOf(view: ClusterView, holders: readonly { workerId: string }[], highest: StateName | null): Source {
  const { latest } = view;
  if (latest && (!highest || compareStates(latest.state, highest) > 0)) return { kind: "checkpoint", ...latest };
  if (highest) return { kind: "member", workerId: holders[0]!.workerId, state: highest };
  return { kind: "seed" };
}

/** The order of states: by lineage, era, step. */
export function compareStates(a: StatePlace, b: StatePlace): number {
  return a.lineage - b.lineage || a.era - b.era || a.step - b.step;
}

export type StatePlace = Pick<StateName, "lineage" | "era" | "step">;

export function memberIds(generation: Generation | null): readonly string[] {
  if (!generation) return [];
  return generation.kind === "forming" ? generation.members : generation.members.map((member) => member.workerId);
}

function describe(lost: ReadonlyMap<string, string>): string {
  return [...lost].map(([id, why]) => `${id} ${why}`).join(", ");
}

function wait(reason: string): Decision {
  return { kind: "wait", reason };
}
