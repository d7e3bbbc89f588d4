/**
 * When a published checkpoint that is not found is gone, and not only out of sight: others of its run are where it should be, so it
 * is the right place; and it was written so long ago that every machine sees it by now. Before that, or where nothing else is,
 * it is waited for. To take it for gone by mistake costs training some of it again, to the same bits.
 */

/** Network file systems may show one machine this much later what another one has written. */
const visibleAfterMs = 60_000;

export interface Absent {
  readonly id: string;
  /** By the wall clock, as its record says. */
  readonly writtenAtMs: number;
}

/**
 * @param there the ids of the run's checkpoints that are in that place
 * @param nowMs by the wall clock
 */
export function isGone({ id, writtenAtMs }: Absent, there: readonly string[], nowMs: number): boolean {
  return there.some((other) => other !== id) && nowMs - writtenAtMs > visibleAfterMs;
}

export const goneReason = "it, or a part of it, is not there any more, and others of the run are";
