/** What a peer may send in a generation. */
import { type Bucket, type BucketLayout, chunkOf } from "../core/bucket-layout.ts";
import { LockstepError } from "../core/errors.ts";
import type { FrameHeader } from "../core/frame.ts";
import type { Range } from "../core/sampler.ts";
import { bytesOf, nameOf } from "./bucket-rows.ts";

/** What a member knows of its generation. */
export interface FrameContext {
  readonly membership: { readonly generation: number; readonly rank: number; readonly addresses: readonly string[] };
  readonly layout: BucketLayout;
  /** Of each rank the nodes that its partial sums make up. */
  readonly nodes: readonly (readonly Range[])[];
  /** That this worker contributed to last; null before its first. */
  readonly step: number | null;
}

/** A frame from this rank must belong to the generation, to this round or the next, and be of the size that it should be. */
export function checkFrame(
  frame: FrameHeader,
  payloadBytes: number,
  rank: number,
  { membership, layout, nodes, step }: FrameContext,
): Bucket {
  const bucket = layout.buckets[frame.bucket];
  if (frame.generation !== membership.generation) refuse(`a frame of generation ${frame.generation}`);
  if (frame.rank !== rank) refuse(`a frame of rank ${frame.rank}`);
  if (!bucket) refuse(`bucket ${frame.bucket}`);
  // Nobody is more than one step ahead, and nobody who is behind has anything left to say.
  const ahead = frame.round.step - (step ?? frame.round.step);
  if (ahead < 0 || ahead > 1) refuse(`a frame of step ${frame.round.step} at step ${step}`);
  const owner = frame.kind === "partial" ? membership.rank : rank;
  const chunk = chunkOf(bucket, membership.addresses.length, owner);
  const absent = frame.kind === "partial" && payloadBytes === 0;
  if (!absent && payloadBytes !== bytesOf(bucket, chunk)) {
    refuse(`${payloadBytes} bytes for chunk ${owner} of bucket ${frame.bucket}`);
  }
  if (frame.kind === "partial" && !nodes[rank]!.some((node) => nameOf(node) === nameOf(frame.node))) {
    refuse(`a sum of shards ${nameOf(frame.node)}, which are not its own`);
  }
  return bucket;
}

export function refuse(what: string): never {
  throw new LockstepError("incompatible", `A peer sent ${what}.`);
}
