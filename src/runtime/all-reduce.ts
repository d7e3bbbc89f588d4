/**
 * Sums the contributions of a generation's workers, in the one order that the tree prescribes, and gives everyone the
 * result. Every bucket is cut into a chunk for each worker; a worker sends its partial sums of a chunk to the chunk's
 * owner (reduce-scatter), the owner finishes the tree and sends the total to everyone (all-gather). Having all totals
 * is the proof that every worker contributed, so nothing else is waited for; and since a worker contributes to a step
 * only after it applied the one before, nobody is ever more than one step ahead.
 */
import { hostAndPort, isLoopback } from "../core/addresses.ts";
import type { Bucket, BucketLayout } from "../core/bucket-layout.ts";
import { bucketsOf, bytesOfOne, chunkOf } from "../core/bucket-layout.ts";
import { type Contribution, type Opening, type Reduction, type Round, sameRound } from "../core/contribution.ts";
import { assert, messageOf } from "../core/errors.ts";
import type { FrameHeader } from "../core/frame.ts";
import { decodeHeader, encodeHeader } from "../core/frame.ts";
import type { Resting, UsualTimes, Waiting } from "../core/lateness.ts";
import { largestSubtrees, shardsOfRank } from "../core/reduce-tree.ts";
import { type RowMemory, shortsIn } from "../core/row-memory.ts";
import { isEmpty, type Range } from "../core/sampler.ts";
import { sumProgram } from "../core/sum-program.ts";
import { isShort } from "../core/wire.ts";
import type { Clock } from "../ports/clock.ts";
import type { Membership, Streams, Transport } from "../ports/transport.ts";
import { bytesIn, bytesOf, nameOf, numbersOf, rowKey, rowOf, totalsKey } from "./bucket-rows.ts";
import { type Arrived, type Numbers, runSum } from "./row-sums.ts";
import { checkFrame, refuse } from "./frame-check.ts";
import { Gatherings } from "./gatherings.ts";
import type { Staging } from "./staging.ts";
import { finishSum, partsOfBuckets, takeWritten } from "./unfinished-sums.ts";

interface Pending {
  readonly round: Round;
  readonly into: Reduction;
  readonly done: Promise<void>;
  readonly resolve: () => void;
  /** The buckets that this worker has contributed to. */
  readonly contributed: Set<number>;
  /** Whether that is all of them: before it, this worker is still computing. */
  isWhole: boolean;
  /** When this worker had contributed, or something arrived since. */
  sinceMs: number;
  bucketsLeft: number;
}

/** How often it is looked in a round for what is written of it. */
const looksARound = 32;

/** The membership of one who is no observer. */
export type Ranked = Membership & { readonly rank: number };

export interface AllReduceOptions {
  readonly transport: Transport;
  readonly membership: Ranked;
  readonly layout: BucketLayout;
  readonly shards: number;
  /** Where sums are added, and where partial sums arrive. */
  readonly memory: RowMemory;
  readonly staging: Staging;
  readonly clock: Clock;
  /** What is known of how long rounds take; and what this generation adds to it. */
  readonly usual: UsualTimes;
  /** All streams of the generation are open, in both directions. */
  readonly onOpen: () => void;
  /** So many buckets were sent while the rest of a step was computed. */
  readonly onEarly: (buckets: number) => void;
  /** The generation cannot complete a round any more: a peer is out of reach, or talks nonsense. */
  readonly onFailure: (rank: number, reason: string) => void;
}

export class AllReduce {
  readonly #membership: Ranked;
  readonly #layout: BucketLayout;
  readonly #shards: number;
  readonly #streams: Streams;
  readonly #memory: RowMemory;
  readonly #clock: Clock;
  readonly #onEarly: (buckets: number) => void;
  readonly #onFailure: (rank: number, reason: string) => void;
  readonly #usual: UsualTimes;
  /** When the last round ended. */
  #endedMs: number;
  /** By round and bucket. Peers may be one round ahead, so there may be more than the pending one. */
  readonly #gatherings = new Gatherings();
  #pending: Pending | null = null;
  /** The step that this worker contributed to last; null before its first. */
  #step: number | null = null;
  /** Partial sums that make up the tree: each worker's largest subtrees. */
  readonly #nodes: readonly (readonly Range[])[];
  readonly #closed = new AbortController();
  /**
   * Where the others' partial sums of this worker's chunks arrive, by bucket and node. Where numbers travel in 16 bits, also where
   * this worker's own sums are packed, by bucket and node, and totals, by bucket.
   */
  readonly #rows: ReadonlyMap<string, Uint8Array>;

  constructor(options: AllReduceOptions) {
    const { transport, membership, layout, shards, memory, clock, usual, onOpen, onEarly, onFailure } = options;
    this.#membership = membership;
    this.#layout = layout;
    this.#shards = shards;
    this.#memory = memory;
    this.#clock = clock;
    this.#usual = usual;
    this.#endedMs = clock.monotonicMs();
    this.#onEarly = onEarly;
    this.#onFailure = onFailure;
    const world = membership.addresses.length;
    this.#nodes = ranks(world).map((rank) => largestSubtrees(shards, shardsOfRank(shards, world, rank)));
    this.#rows = this.#stage(options.staging);
    this.#streams = transport.join(membership, {
      roundBytes: layout.buckets.reduce((sum, bucket) => sum + bytesOf(bucket, bucket.range), 0),
      place: (rank, head, payloadBytes) => this.#place(rank, head, payloadBytes),
      onMessage: (rank, head, payload) => this.#receive(rank, head, payload),
      onBroken: onFailure,
      onOpen,
    });
  }

  /**
   * Reduces one round. `own` are this worker's partial sums, one for each of its largest subtrees, those without
   * samples included: a worker contributes to every round. Resolves when `into` holds the sums over all shards. Never
   * resolves when the generation ends first: whoever ends it drops the promise.
   */
  reduce(round: Round, own: readonly Contribution[], into: Reduction): Promise<void> {
    const pending = this.#pending ?? this.#begin(round, into);
    assert(sameRound(pending.round, round) && !pending.isWhole, "one round is reduced at a time");
    pending.isWhole = true;
    pending.sinceMs = this.#clock.monotonicMs();
    const buckets = bucketsOf(this.#layout, round.pass);
    this.#contribute(
      pending,
      buckets.filter(({ index }) => !pending.contributed.has(index)),
      own,
    );
    return pending.done;
  }

  /**
   * Begins with a round that is reduced later: a bucket is contributed to as soon as the worker's sum of it is there. Only where it has
   * to go over a network: within a machine what it costs is processors' time, which whoever computes would lack.
   */
  open(opening: Opening): void {
    assert(this.#pending === null, "one round is reduced at a time");
    const hosts = this.#membership.addresses.map((address) => hostAndPort(address).host);
    const [first] = hosts;
    if (hosts.every((host) => host === first || isLoopback(host))) return;
    void this.#contributeWritten(this.#begin(opening.round, opening.into), opening);
  }

  async #contributeWritten(pending: Pending, { own, partEnds, written }: Opening): Promise<void> {
    const everyMs = Math.max(1, (this.#usual[pending.round.pass].value ?? 0) / looksARound);
    const waiting = partsOfBuckets(this.#layout, partEnds);
    while (waiting.size > 0) {
      await this.#clock.sleep(everyMs, this.#closed.signal).catch(() => undefined);
      if (this.#closed.signal.aborted || pending.isWhole) return;
      const there = takeWritten(waiting, written);
      this.#contribute(pending, there, own);
      this.#onEarly(there.length);
    }
  }

  #begin(round: Round, into: Reduction): Pending {
    this.#step = round.step;
    const buckets = bucketsOf(this.#layout, round.pass);
    let resolve = () => {};
    const done = new Promise<void>((resolved) => {
      resolve = resolved;
    });
    const sinceMs = this.#clock.monotonicMs();
    const contributed = new Set<number>();
    this.#pending = { round, into, done, resolve, contributed, isWhole: false, sinceMs, bucketsLeft: buckets.length };
    // From here to its end, every bucket of the round has a gathering.
    for (const bucket of buckets) this.#gatherings.of(round, bucket.index);
    return this.#pending;
  }

  /** What the round under way waits for; null when there is none, or this worker has not contributed all to it. */
  get waiting(): Waiting | null {
    const pending = this.#pending;
    if (!pending?.isWhole) return null;
    const { round, sinceMs } = pending;
    const peers = ranks(this.#world).filter((rank) => rank !== this.#membership.rank);
    const buckets = bucketsOf(this.#layout, round.pass);
    const lacks = (what: (bucket: Bucket, rank: number) => boolean) =>
      peers.filter((rank) => buckets.some((bucket) => what(bucket, rank)));
    return {
      sinceMs,
      usualMs: this.#usual[round.pass].value,
      missing: lacks((bucket, rank) => this.#lacksPartials(round, bucket, rank)),
      owing: lacks((bucket, rank) => this.#lacksTotal(round, bucket, rank)),
    };
  }

  /** Since when this worker has been waiting for nobody; null while it is. */
  resting(validates: boolean): Resting | null {
    if (this.#pending?.isWhole) return null;
    const [step, validation] = this.#usual;
    return { sinceMs: this.#endedMs, usualMs: [step.value, ...(validates ? [validation.value] : [])] };
  }

  close(): void {
    this.#closed.abort();
    this.#streams.close();
  }

  get #world(): number {
    return this.#membership.addresses.length;
  }

  /** The same rows for every round: a peer is ahead only if it has the totals of the round before, for which they were used. */
  #stage(staging: Staging): Map<string, Uint8Array> {
    const own = this.#membership.rank;
    const wanted = this.#layout.buckets.flatMap((bucket) => {
      const sizeBytes = bytesOf(bucket, chunkOf(bucket, this.#world, own));
      const others = this.#nodes.filter((_, rank) => rank !== own).flat();
      const arriving = others.map((node) => ({ key: rowKey(bucket.index, node), sizeBytes }));
      if (!isShort(bucket.kind)) return arriving;
      const packed = [...this.#nodes[own]!.map((node) => rowKey(bucket.index, node)), totalsKey(bucket.index)];
      return [...arriving, ...packed.map((key) => ({ key, sizeBytes: bytesOf(bucket, bucket.range) }))];
    });
    staging.begin(wanted.map(({ sizeBytes }) => sizeBytes));
    return new Map(wanted.map(({ key, sizeBytes }) => [key, staging.take(sizeBytes)]));
  }

  /** Once to each bucket of a round. */
  #contribute({ round, contributed }: Pending, buckets: readonly Bucket[], own: readonly Contribution[]): void {
    for (const bucket of buckets) {
      contributed.add(bucket.index);
      for (const one of own) finishSum(bucket, one, this.#memory);
      this.#send(round, bucket, own);
    }
    for (const bucket of buckets) this.#finishOwnChunk(bucket);
  }

  #send(round: Round, bucket: Bucket, own: readonly Contribution[]): void {
    for (let owner = 0; owner < this.#world; owner++) {
      const chunk = chunkOf(bucket, this.#world, owner);
      if (isEmpty(chunk)) continue;
      for (const { node, sum } of own) {
        const numbers = sum && rowOf(bucket, sum).subarray(chunk.begin, chunk.end);
        if (owner === this.#membership.rank)
          this.#gatherings.of(round, bucket.index).partials.set(nameOf(node), numbers);
        else {
          const payload = numbers && this.#payload(bucket, rowKey(bucket.index, node), chunk, numbers);
          this.#streams.send(owner, ...this.#message("partial", round, bucket, node, payload));
        }
      }
    }
  }

  /**
   * The bytes of a chunk as they travel: the numbers themselves, or what they are packed to, in this row. That is used again in the
   * next round, to which this worker contributes only when everybody has had what was sent in this one.
   */
  #payload(bucket: Bucket, key: string, chunk: Range, numbers: Numbers): Uint8Array {
    const { kind } = bucket;
    if (!isShort(kind)) return bytesIn(numbers);
    const into = this.#packed(bucket, key, chunk);
    this.#memory.pack(kind, shortsIn(into), numbers as Float32Array); // as all but float64
    return into;
  }

  /** A chunk's part of a row that is as long as the bucket. */
  #packed(bucket: Bucket, key: string, chunk: Range): Uint8Array {
    const at = (element: number) => (element - bucket.range.begin) * bytesOfOne(bucket.kind);
    return this.#rows.get(key)!.subarray(at(chunk.begin), at(chunk.end));
  }

  /** Where what a peer is about to send belongs; null, and the peer has failed, if nowhere. */
  #place(rank: number, head: Uint8Array, payloadBytes: number): Uint8Array | null {
    try {
      const frame = decodeHeader(head, payloadBytes);
      const bucket = checkFrame(frame, payloadBytes, rank, {
        ...{ membership: this.#membership, layout: this.#layout, nodes: this.#nodes, step: this.#step },
      });
      if (this.#pending) this.#pending.sinceMs = this.#clock.monotonicMs();
      const into =
        frame.kind === "partial" ? this.#rows.get(rowKey(bucket.index, frame.node))! : this.#roomFor(frame, bucket);
      const isOver =
        this.#pending &&
        sameRound(this.#pending.round, frame.round) &&
        !this.#gatherings.has(frame.round, bucket.index);
      const { begun } = this.#gatherings.of(frame.round, bucket.index);
      const what = frame.kind === "partial" ? `the sum of shards ${nameOf(frame.node)}` : `the total of chunk ${rank}`;
      if (isOver || begun.has(what)) refuse(`${what} twice`);
      begun.add(what);
      return payloadBytes === 0 ? into.subarray(0, 0) : into;
    } catch (error) {
      this.#onFailure(rank, messageOf(error));
      return null;
    }
  }

  #receive(rank: number, head: Uint8Array, payload: Uint8Array): void {
    try {
      const frame = decodeHeader(head, payload.byteLength);
      const bucket = this.#layout.buckets[frame.bucket]!; // as it was checked when it began
      if (this.#pending) this.#pending.sinceMs = this.#clock.monotonicMs();
      if (frame.kind === "total") {
        if (isShort(bucket.kind)) this.#unpackTotal(bucket, rank, payload);
        return void this.#countTotal(bucket, rank);
      }
      const { partials, delivered } = this.#gatherings.of(frame.round, frame.bucket);
      partials.set(nameOf(frame.node), payload.byteLength > 0 ? numbersOf(bucket, payload) : null);
      delivered.set(rank, (delivered.get(rank) ?? 0) + 1);
      this.#finishOwnChunk(bucket);
    } catch (error) {
      this.#onFailure(rank, messageOf(error));
    }
  }

  /** A total arrives where it belongs. */
  #roomFor(frame: FrameHeader, bucket: Bucket): Uint8Array {
    const pending = this.#pending;
    if (!pending || !sameRound(pending.round, frame.round))
      refuse(`a total of step ${frame.round.step} at another step`);
    const chunk = chunkOf(bucket, this.#world, frame.rank);
    if (isShort(bucket.kind)) return this.#packed(bucket, totalsKey(bucket.index), chunk);
    return bytesIn(rowOf(bucket, pending.into).subarray(chunk.begin, chunk.end));
  }

  #unpackTotal(bucket: Bucket, owner: number, payload: Uint8Array): void {
    const { kind } = bucket;
    const chunk = chunkOf(bucket, this.#world, owner);
    const into = this.#pending!.into.values.subarray(chunk.begin, chunk.end);
    if (isShort(kind)) this.#memory.unpack(kind, into, shortsIn(payload));
  }

  /** Adds up this worker's chunk of a bucket as soon as every partial sum of it is there. */
  #finishOwnChunk(bucket: Bucket): void {
    const pending = this.#pending;
    const chunk = chunkOf(bucket, this.#world, this.#membership.rank);
    if (!pending || isEmpty(chunk)) return;
    const { partials } = this.#gatherings.of(pending.round, bucket.index);
    if (partials.size < this.#nodeCount) return;
    const root = { begin: 0, end: this.#shards };
    const total = rowOf(bucket, pending.into).subarray(chunk.begin, chunk.end);
    const rows: Arrived[] = [];
    const program = sumProgram(root, (node) => {
      const partial = partials.get(nameOf(node));
      if (partial === undefined) return "descend";
      return partial ? rows.push(partial) - 1 : "absent";
    });
    assert(program !== null, "a batch has at least one sample");
    const packed = isShort(bucket.kind) ? this.#packed(bucket, totalsKey(bucket.index), chunk) : null;
    runSum(program, rows, { numbers: total, packed: packed && shortsIn(packed) }, this.#memory, bucket.kind);
    partials.clear();
    const payload = packed ?? bytesIn(total);
    this.#streams.sendAll(...this.#message("total", pending.round, bucket, root, payload));
    this.#countTotal(bucket, this.#membership.rank);
  }

  get #nodeCount(): number {
    return this.#nodes.reduce((sum, nodes) => sum + nodes.length, 0);
  }

  #lacksPartials(round: Round, bucket: Bucket, rank: number): boolean {
    const gathering = this.#gatherings.get(round, bucket.index);
    if (!gathering || isEmpty(chunkOf(bucket, this.#world, this.#membership.rank))) return false;
    return (gathering.delivered.get(rank) ?? 0) < this.#nodes[rank]!.length;
  }

  #lacksTotal(round: Round, bucket: Bucket, rank: number): boolean {
    const gathering = this.#gatherings.get(round, bucket.index);
    return gathering !== undefined && !isEmpty(chunkOf(bucket, this.#world, rank)) && !gathering.totals.has(rank);
  }

  /** A bucket is whole when the totals of all its chunks are there; empty chunks are never sent. */
  #countTotal(bucket: Bucket, owner: number): void {
    const pending = this.#pending!;
    const gathering = this.#gatherings.of(pending.round, bucket.index);
    gathering.totals.add(owner);
    const expected = ranks(this.#world).filter((rank) => !isEmpty(chunkOf(bucket, this.#world, rank))).length;
    if (gathering.totals.size < expected) return;
    this.#gatherings.delete(pending.round, bucket.index);
    if (--pending.bucketsLeft > 0) return;
    this.#pending = null;
    const nowMs = this.#clock.monotonicMs();
    this.#usual[pending.round.pass].add(nowMs - this.#endedMs);
    this.#endedMs = nowMs;
    pending.resolve();
  }

  #message(
    kind: FrameHeader["kind"],
    round: Round,
    bucket: Bucket,
    node: Range,
    numbers: Uint8Array | null,
  ): [head: Uint8Array, payload: Uint8Array] {
    const { generation, rank } = this.#membership;
    const payload = numbers ?? new Uint8Array(0);
    const header = { kind, generation, round, bucket: bucket.index, node, rank };
    return [encodeHeader(header, payload.byteLength), payload];
  }
}

function ranks(world: number): number[] {
  return Array.from({ length: world }, (_, rank) => rank);
}
