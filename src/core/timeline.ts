/**
 * A run's memberships as people look back at them: one entry a generation, which says when it was formed and when it ran,
 * why, who was in with which shards, who came, who went and why, and from which state it went on. Nothing is decided by it.
 */
import { type Eviction, goneAtStop } from "./decision.ts";
import { describeSource, type Forming, type Generation, type Member, memberIds, type Running } from "./membership.ts";
import type { Range } from "./sampler.ts";

const leftInOrder = "left in order";
const standsBy = "stands by";

/** So many entries are kept, the newest. */
export const timelineLength = 500;

export interface TimelineEntry {
  readonly generation: number;
  /** Wall-clock times, for people. Null: it never ran, or has not yet. */
  readonly formedAtMs: number;
  readonly ranAtMs: number | null;
  readonly reason: string;
  /** In rank order. */
  readonly members: readonly TimelineMember[];
  /** Compared with the generation before, whether that ran or not. */
  readonly joined: readonly string[];
  readonly left: readonly Departure[];
  /** The worker or checkpoint that the state came from, or "seed"; null until it ran. */
  readonly source: string | null;
  /** The step, and the completed epochs, of that state. */
  readonly step: number | null;
  readonly epoch: number | null;
  /** Too few were left to train. */
  readonly paused: boolean;
}

export interface TimelineMember {
  readonly workerId: string;
  /** Null until the generation ran. */
  readonly shards: Range | null;
}

export interface Departure {
  readonly workerId: string;
  readonly reason: string;
}

/** Nothing went wrong: it had to go, or was asked to. A log says "is leaving" of whom etcd says that it left in order. */
export function wentInOrder({ reason }: Departure): boolean {
  return [goneAtStop, leftInOrder, standsBy, "is leaving"].includes(reason);
}

/** Formed while a run stopped, by those who went last, and of no use to anybody: it says nothing about the run. */
export function isOfStop({ ranAtMs, joined, left }: TimelineEntry): boolean {
  return (
    ranAtMs === null && joined.length === 0 && left.length > 0 && left.every(({ reason }) => reason === goneAtStop)
  );
}

/** What is known of a generation when it is formed. `before`: the one that it takes the place of. */
export function formedEntry(
  forming: Forming,
  {
    before,
    evicted,
    members,
    nowMs,
  }: {
    readonly before: Generation | null;
    readonly evicted: readonly Eviction[];
    /** Those whose keys are there. */
    readonly members: readonly Member[];
    readonly nowMs: number;
  },
): TimelineEntry {
  const [were, are] = [memberIds(before), memberIds(forming)];
  const whyLeft = (workerId: string): string => {
    const eviction = evicted.find((one) => one.workerId === workerId);
    if (eviction) return eviction.reason;
    const member = members.find((one) => one.workerId === workerId);
    if (!member) return "is gone";
    return member.leaving ? leftInOrder : standsBy;
  };
  return {
    generation: forming.generation,
    formedAtMs: nowMs,
    ranAtMs: null,
    reason: forming.reason,
    members: are.map((workerId) => ({ workerId, shards: null })),
    joined: are.filter((id) => !were.includes(id)),
    left: were.filter((id) => !are.includes(id)).map((workerId) => ({ workerId, reason: whyLeft(workerId) })),
    ...{ source: null, step: null, epoch: null, paused: false },
  };
}

/** The entry once the generation runs. `formed` is null where nobody remembers how it was formed. */
export function ranEntry(formed: TimelineEntry | null, running: Running, nowMs: number): TimelineEntry {
  const { generation, members, source, reason, paused } = running;
  const state = source.kind === "seed" ? { step: 0, epoch: 0 } : source.state;
  return {
    ...(formed ?? { generation, formedAtMs: nowMs, reason, joined: [], left: [] }),
    ranAtMs: nowMs,
    members: members.map(({ workerId, shards }) => ({ workerId, shards })),
    source: describeSource(source),
    step: state.step,
    epoch: state.epoch,
    paused,
  };
}
