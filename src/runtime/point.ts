/** The states that a generation's members arrive at together, to decide on them or to publish them. */
import type { Progress } from "../core/progress.ts";
import type { Done } from "../core/records.ts";
import { compareStates, type StateName, type StatePlace } from "../core/state-order.ts";
import type { CheckpointPointer } from "../core/status.ts";
import type { CheckpointContent } from "../ports/checkpoint-storage.ts";

/** A state that all members have taken: the end of an epoch, or a place in the middle of one, which moves `latest` only. */
export interface Point {
  readonly kind: "boundary" | "save";
  /** One of many saves, by steps or time: nobody has to remember it when its checkpoint is gone. */
  readonly periodic: boolean;
  readonly name: string;
  /** The generation in which this worker arrived here. */
  readonly generation: number;
  readonly progress: Progress;
  readonly state: StateName;
  readonly weightsDigest: string;
  /** What is written with its checkpoint when the run ends here. */
  readonly end: Done | null;
  /** The checkpoint's content, made when it is written. */
  readonly content: (identity: CheckpointIdentity) => CheckpointContent;
  /** To be called when the point is dropped and its content is not being written: the state's memory is used again. */
  readonly release: (() => void) | null;
  /** The whole generation has arrived here with this digest. */
  agreed: boolean;
}

export interface CheckpointIdentity {
  readonly id: string;
  readonly generation: number;
  readonly fencingToken: number;
  readonly members: readonly string[];
  readonly equivalences: readonly string[];
  /** Wall-clock time, for people. */
  readonly writtenAt: string;
}

/** A save on which nobody could agree before the generation ended: the next one stands at another step. */
export function isStale(point: Point, generation: number): boolean {
  return point.kind === "save" && !point.agreed && point.generation < generation;
}

/** Whether what is published is this state or a later one. A pause may publish an epoch's last step before it is closed. */
export function covers(published: CheckpointPointer, state: StatePlace): boolean {
  return compareStates(published, state) >= 0;
}

/**
 * The point to publish next, of those that are there, oldest first; null while not all have agreed on the oldest. A save
 * after which all have agreed on something newer is left out: that covers it.
 */
export function nextToPublish(points: readonly Point[]): Point | null {
  if (!points[0]?.agreed) return null;
  return points.find(({ kind }, i) => kind === "boundary" || !points[i + 1]?.agreed) ?? null;
}
