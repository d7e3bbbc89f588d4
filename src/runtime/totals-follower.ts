/**
 * An observer's side of the all-reduce: it contributes nothing and collects the totals of every round, so that its state
 * follows step by step. Nobody waits for it; totals of rounds that it has not got to yet are kept. It may have begun to
 * listen in the middle of a round: a round whose totals are not all to be had is missed, and then its state is too old.
 */
import { type Bucket, type BucketLayout, bucketsOf, chunkOf } from "../core/bucket-layout.ts";
import { compareRounds, type Contribution, type Reduction, type Round } from "../core/contribution.ts";
import { assert, messageOf } from "../core/errors.ts";
import { decodeHeader, type FrameHeader } from "../core/frame.ts";
import { isShort, unpack } from "../core/wire.ts";
import type { Membership, Streams, Transport } from "../ports/transport.ts";
import { bytesOf, numbersOf, rowOf } from "./bucket-rows.ts";
import { refuse } from "./frame-check.ts";

/** Rounds that may be kept for later; whoever is further behind takes a newer state instead. */
const maxRoundsKept = 32;

export interface TotalsFollowerOptions {
  readonly transport: Transport;
  readonly membership: Membership;
  readonly layout: BucketLayout;
  /** All outboxes are subscribed to. */
  readonly onOpen: () => void;
  /** Following has come to an end: a member is out of reach, or a round was missed. */
  readonly onFailure: (rank: number, reason: string) => void;
}

interface Frame extends FrameHeader {
  readonly payload: Uint8Array;
}

interface Pending {
  readonly round: Round;
  readonly into: Reduction;
  readonly resolve: () => void;
}

export class TotalsFollower {
  readonly #membership: Membership;
  readonly #layout: BucketLayout;
  readonly #streams: Streams;
  readonly #onFailure: (rank: number, reason: string) => void;
  /** Totals of rounds that are not whole or not wanted yet, oldest first. */
  #kept: { readonly round: Round; readonly totals: Map<string, Frame> }[] = [];
  /** The last round that each member was heard of: later ones come later. */
  readonly #heard = new Map<number, Round>();
  /** Why a member says nothing any more; what it has said before still counts. */
  readonly #ended = new Map<number, string>();
  #pending: Pending | null = null;
  /** A round was asked for. */
  #follows = false;

  constructor({ transport, membership, layout, onOpen, onFailure }: TotalsFollowerOptions) {
    this.#membership = membership;
    this.#layout = layout;
    this.#onFailure = onFailure;
    this.#streams = transport.join(membership, {
      roundBytes: 0, // it sends none
      place: (rank, head, payloadBytes) => this.#place(rank, head, payloadBytes),
      onMessage: (rank, head, payload) => this.#receive(rank, head, payload),
      onBroken: (rank, reason) => this.#broken(rank, reason),
      onOpen,
    });
  }

  /** An observer keeps nobody waiting, and waits for nobody that it could blame. */
  readonly waiting = null;

  resting(): null {
    return null;
  }

  /** Resolves when `into` holds the sums over all shards, as `AllReduce.reduce` does; there is nothing of its own to add. */
  reduce(round: Round, own: readonly Contribution[], into: Reduction): Promise<void> {
    assert(this.#pending === null && own.length === 0, "an observer follows one round at a time, and adds nothing");
    this.#follows = true;
    this.#kept = this.#kept.filter((kept) => compareRounds(kept.round, round) >= 0);
    return new Promise((resolve) => {
      this.#pending = { round, into, resolve };
      for (const rank of this.#membership.addresses.keys()) this.#checkMissed(rank);
      this.#finish();
    });
  }

  close(): void {
    this.#streams.close();
  }

  /** What was said before can still be followed, once there is a state that it can be applied to. */
  #broken(rank: number, reason: string): void {
    this.#ended.set(rank, reason);
    if (this.#follows) this.#checkMissed(rank);
    else this.#onFailure(rank, reason);
  }

  /** Totals that are kept have memory of their own; null, and following has come to an end, for what is none. */
  #place(rank: number, head: Uint8Array, payloadBytes: number): Uint8Array | null {
    try {
      const frame = decodeHeader(head, payloadBytes);
      const bucket = this.#layout.buckets[frame.bucket];
      if (frame.generation !== this.#membership.generation) refuse(`a frame of generation ${frame.generation}`);
      if (frame.kind !== "total" || frame.rank !== rank || !bucket) refuse("something that is no total of its own");
      if (payloadBytes !== sizeOf(bucket, this.#world, rank)) refuse("a total of another size");
      return new Uint8Array(payloadBytes);
    } catch (error) {
      this.#onFailure(rank, messageOf(error));
      return null;
    }
  }

  #receive(rank: number, head: Uint8Array, payload: Uint8Array): void {
    try {
      const frame = { ...decodeHeader(head, payload.byteLength), payload };
      this.#heard.set(rank, frame.round);
      const pending = this.#pending;
      if (pending && compareRounds(frame.round, pending.round) < 0) return;
      this.#keep(frame);
      this.#checkMissed(rank);
      this.#finish();
    } catch (error) {
      this.#onFailure(rank, messageOf(error));
    }
  }

  #keep(frame: Frame): void {
    let kept = this.#kept.find(({ round }) => compareRounds(round, frame.round) === 0);
    if (!kept) {
      kept = { round: frame.round, totals: new Map() };
      this.#kept = [...this.#kept, kept].sort((a, b) => compareRounds(a.round, b.round));
      if (this.#kept.length > maxRoundsKept) refuse(`more rounds than this observer can keep (${maxRoundsKept})`);
    }
    kept.totals.set(`${frame.bucket}/${frame.rank}`, frame);
  }

  /** Whoever speaks of a later round, or no more at all, has said all of this one: what is missing of it never comes. */
  #checkMissed(rank: number): void {
    const pending = this.#pending;
    const heard = this.#heard.get(rank);
    const ended = this.#ended.get(rank);
    if (!pending || (ended === undefined && (!heard || compareRounds(heard, pending.round) <= 0))) return;
    const totals = this.#kept.find(({ round }) => compareRounds(round, pending.round) === 0)?.totals;
    const missing = bucketsOf(this.#layout, pending.round.pass).some(
      (bucket) => sizeOf(bucket, this.#world, rank) > 0 && !totals?.has(`${bucket.index}/${rank}`),
    );
    if (missing) this.#onFailure(rank, ended ?? `the totals of step ${pending.round.step} were missed`);
  }

  /** Hands the pending round over once it is whole. */
  #finish(): void {
    const pending = this.#pending;
    const kept = pending && this.#kept.find(({ round }) => compareRounds(round, pending.round) === 0);
    if (!pending || !kept) return;
    const buckets = bucketsOf(this.#layout, pending.round.pass);
    const expected = buckets.flatMap((bucket) =>
      this.#membership.addresses.filter((_, rank) => sizeOf(bucket, this.#world, rank) > 0),
    );
    if (kept.totals.size < expected.length) return;
    for (const frame of kept.totals.values()) {
      const bucket = this.#layout.buckets[frame.bucket]!;
      const { begin } = chunkOf(bucket, this.#world, frame.rank);
      const into = rowOf(bucket, pending.into);
      const numbers = numbersOf(bucket, frame.payload);
      if (isShort(bucket.kind) && numbers instanceof Uint16Array) {
        unpack(bucket.kind, pending.into.values.subarray(begin, begin + numbers.length), numbers);
      } else into.set(numbers, begin);
    }
    this.#pending = null;
    pending.resolve();
  }

  get #world(): number {
    return this.#membership.addresses.length;
  }
}

function sizeOf(bucket: Bucket, world: number, rank: number): number {
  return bytesOf(bucket, chunkOf(bucket, world, rank));
}
