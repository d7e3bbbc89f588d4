/** The side of a worker that talks to its peers, as the agent and the trainer see it: a transport and its reductions. */
import { bucketLayout, type ReducedValues } from "../core/bucket-layout.ts";
import { assert } from "../core/errors.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import { isStuck, lateRanks, type UsualTimes, usualTimes } from "../core/lateness.ts";
import type { RowMemory } from "../core/row-memory.ts";
import type { Clock } from "../ports/clock.ts";
import type { ComputeInfo, Exchange } from "../ports/compute.ts";
import type { Membership, ServedState, StateProvider, StateRequest, Transport } from "../ports/transport.ts";
import { AllReduce } from "./all-reduce.ts";
import type { GenerationOpening, ReductionWork } from "./freezable-compute.ts";
import { Staging } from "./staging.ts";
import { TotalsFollower } from "./totals-follower.ts";

/** The numbers of one reduction, which every worker of a job has alike. */
export interface ReductionSize {
  readonly shards: number;
  readonly values: ReducedValues;
  readonly statistics: number;
  /** Whether there are rounds of validation. */
  readonly validates: boolean;
}

export function reductionSizeOf(info: ComputeInfo, shards: number): ReductionSize {
  const { reducedCount, trainableCount, wire, parameters, statisticsCount, validationSamples } = info;
  const ends = parameters.map(({ offset, size }) => offset + size);
  return {
    shards,
    values: {
      count: reducedCount,
      gradients: { count: trainableCount, wire },
      partEnds: ends.filter((end) => end <= reducedCount),
    },
    statistics: statisticsCount,
    validates: validationSamples > 0,
  };
}

/** A peer that is out of reach, talks nonsense, or keeps everyone waiting; or this worker itself, which is stuck. */
export type OnBroken = (broken: { generation: number; rank: number; reason: string }) => void;

export interface PeerExchangeOptions {
  readonly transport: Transport;
  readonly size: ReductionSize;
  readonly memory: RowMemory;
  readonly budget: FailureBudget;
  readonly clock: Clock;
  readonly onBroken: OnBroken;
}

interface Joined {
  readonly generation: number;
  readonly reduction: AllReduce | TotalsFollower;
  readonly left: AbortController;
  /** Since when the trainer computes for this generation; null while it does not. */
  computingMs: number | null;
}

export class PeerExchange implements Exchange {
  readonly #options: PeerExchangeOptions;
  readonly #staging: Staging;
  #joined: Joined | null = null;
  #earlyBuckets = 0;
  /** How long rounds take among these workers. */
  #usual: { readonly workerIds: readonly string[]; readonly times: UsualTimes } = {
    workerIds: [],
    times: usualTimes(),
  };

  constructor(options: PeerExchangeOptions) {
    this.#options = options;
    this.#staging = new Staging(options.memory);
  }

  async join(membership: Membership): Promise<void> {
    await this.leave();
    const { transport, size, memory, clock, onBroken } = this.#options;
    const { generation } = membership;
    const broken = new Set<number>();
    const onFailure = (rank: number, reason: string) => {
      if (!broken.has(rank)) onBroken({ generation, rank, reason });
      broken.add(rank);
    };
    const layout = bucketLayout(size.values, size.statistics);
    const { rank } = membership;
    await new Promise<void>((onOpen) => {
      const common = { transport, membership, layout, clock, onOpen, onFailure };
      const reduction =
        rank === null
          ? new TotalsFollower(common)
          : new AllReduce({
              ...{ ...common, membership: { ...membership, rank }, shards: size.shards },
              ...{ memory, staging: this.#staging },
              usual: this.#usualAmong(membership.workerIds),
              onEarly: (buckets) => {
                this.#earlyBuckets += buckets;
              },
            });
      this.#joined = { generation, reduction, left: new AbortController(), computingMs: null };
      void this.#watch(this.#joined, rank, onFailure);
    });
  }

  async leave(): Promise<void> {
    this.#joined?.left.abort();
    this.#joined?.reduction.close();
    this.#joined = null;
  }

  reduce({ generation, round, own, into }: ReductionWork): Promise<void> {
    // The generation ended between the computation and this call: whoever computes hears of it on its own.
    if (this.#joined?.generation !== generation) return new Promise(() => {});
    return this.#joined.reduction.reduce(round, own, into);
  }

  /** Of a round that is about to be reduced: begins with what of it is there already. */
  openRound({ generation, ...opening }: GenerationOpening): void {
    if (this.#joined?.generation !== generation) return;
    const { reduction } = this.#joined;
    assert(reduction instanceof AllReduce, "an observer computes nothing");
    reduction.open(opening);
  }

  /** The trainer begins to compute for a generation, or has come to an end. */
  computes(generation: number, computing: boolean): void {
    if (this.#joined?.generation !== generation) return;
    this.#joined.computingMs = computing ? this.#options.clock.monotonicMs() : null;
  }

  /** Buckets of gradients that were sent while the rest of a step was computed, since the beginning. */
  get earlyBuckets(): number {
    return this.#earlyBuckets;
  }

  serveState(provide: StateProvider): void {
    this.#options.transport.serveState(provide);
  }

  copyState(from: string, request: StateRequest, signal: AbortSignal): Promise<ServedState> {
    return this.#options.transport.copyState(from, request, signal);
  }

  close(): Promise<void> {
    return this.#options.transport.close();
  }

  /** Nothing is known of a newcomer, which may have to load or record things first. */
  #usualAmong(workerIds: readonly string[]): UsualTimes {
    const isKnown = workerIds.every((id) => this.#usual.workerIds.includes(id));
    this.#usual = { workerIds, times: isKnown ? this.#usual.times : usualTimes() };
    return this.#usual.times;
  }

  /** Looks from time to time whether the round under way waits for somebody for too long. */
  async #watch(joined: Joined, own: number | null, onLate: OnLate): Promise<void> {
    const { clock, budget, size } = this.#options;
    const { reduction, left } = joined;
    let lookedMs = clock.monotonicMs();
    /** When this process was last known to have slept itself: what others did meanwhile it cannot judge. */
    let awakeMs = lookedMs;
    while (!left.signal.aborted) {
      await clock.sleep(budget.watchMs, left.signal).catch(() => undefined);
      if (left.signal.aborted) return;
      const nowMs = clock.monotonicMs();
      if (nowMs - lookedMs > 2 * budget.watchMs) awakeMs = nowMs;
      lookedMs = nowMs;
      const seenMs = (sinceMs: number) => Math.round(nowMs - Math.max(sinceMs, awakeMs));
      const { waiting } = reduction;
      if (waiting) {
        const silentMs = seenMs(waiting.sinceMs);
        for (const rank of lateRanks(waiting, silentMs, budget.budgetMs)) {
          onLate(rank, `it has not contributed for ${silentMs} ms, and the others have`);
        }
      }
      const resting = reduction.resting(size.validates);
      if (own === null || !resting || joined.computingMs === null) continue;
      const computingMs = seenMs(Math.max(resting.sinceMs, joined.computingMs));
      if (isStuck(resting, computingMs, budget.budgetMs)) onLate(own, `it has computed for ${computingMs} ms`);
    }
  }
}

type OnLate = (rank: number, reason: string) => void;
