/**
 * The side of a worker that owns the state, as the agent sees it: a trainer that can be frozen. A report is a promise:
 * once `freeze` has been answered, nothing of the generation is applied any more, whatever still arrives. So freezing
 * wins over a reduction that is already whole, and acts only before an update, never in the middle of one.
 */
import type { Contribution, Opening, Reduction, Round } from "../core/contribution.ts";
import type { Assignment, Compute, Reducer, RunOutcome } from "../ports/compute.ts";
import type { StateSnapshot } from "../ports/transport.ts";
import type { Trainer } from "./trainer.ts";

/**
 * Hands a round of a generation to whoever reduces it. Resolves when `into` is whole; never when that generation is not
 * the exchange's any more. After a freeze the answer means nothing.
 */
export type Reduce = (work: ReductionWork) => Promise<void>;

/** Where the rounds go, and what is said about the time between them. */
export interface Rounds {
  readonly reduce: Reduce;
  /** A round of a generation that is reduced in parts, see `Reducer`; left out where rounds are too small for that. */
  readonly open?: (opening: GenerationOpening) => void;
  /** Whether the trainer computes from now on: then it either is in a round or is on its way to the next. */
  readonly computes: (generation: number, computing: boolean) => void;
}

export interface ReductionWork {
  readonly generation: number;
  readonly round: Round;
  /** One partial sum for each of this worker's largest subtrees. */
  readonly own: readonly Contribution[];
  /** Where the sums over all shards go. */
  readonly into: Reduction;
}

export interface GenerationOpening extends Opening {
  readonly generation: number;
}

export class FreezableCompute implements Compute {
  readonly #trainer: Trainer;
  readonly #rounds: Rounds;
  /** Ends the reduction under way as aborted; null when nothing is being reduced. */
  #abort: (() => void) | null = null;
  #frozen = false;

  constructor(trainer: Trainer, rounds: Rounds) {
    this.#trainer = trainer;
    this.#rounds = rounds;
  }

  async initialize(place: { lineage: number; era: number }): Promise<void> {
    this.#trainer.initialize(place);
  }

  async restore(state: StateSnapshot): Promise<void> {
    this.#trainer.restore(state);
  }

  async snapshot(into?: Float32Array): Promise<StateSnapshot> {
    return this.#trainer.snapshot(into);
  }

  async run(assignment: Assignment): Promise<RunOutcome> {
    this.#frozen = false;
    const { generation } = assignment;
    const { open } = this.#rounds;
    const reducer: Reducer = {
      ...(open && { open: (opening: Opening) => this.#frozen || open({ ...opening, generation }) }),
      reduce: (round, own, into) => this.#reduceUnlessFrozen({ generation, round, own, into }),
    };
    this.#rounds.computes(generation, true);
    try {
      return await this.#trainer.run(assignment, reducer);
    } finally {
      this.#rounds.computes(generation, false);
    }
  }

  async freeze(): Promise<void> {
    this.#frozen = true;
    this.#abort?.();
  }

  async voteToStop(): Promise<void> {
    this.#trainer.voteToStop();
  }

  async voteToSave(): Promise<void> {
    this.#trainer.voteToSave();
  }

  async gradient(step: number): Promise<Float32Array | null> {
    return this.#trainer.gradient(step);
  }

  async #reduceUnlessFrozen(work: ReductionWork): Promise<"reduced" | "aborted"> {
    if (this.#frozen) return "aborted";
    const aborted = new Promise<"aborted">((resolve) => {
      this.#abort = () => resolve("aborted");
    });
    const reduced = this.#rounds.reduce(work).then(() => "reduced" as const);
    // A reduction that is given up is answered late or never; its answer means nothing any more.
    reduced.catch(() => undefined);
    const outcome = await Promise.race([aborted, reduced]);
    this.#abort = null;
    return this.#frozen ? "aborted" : outcome;
  }
}
