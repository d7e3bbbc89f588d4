import type { Contribution, Opening, Reduction, Round } from "../core/contribution.ts";
import type { Fingerprint } from "../core/fingerprint.ts";
import type { Progress } from "../core/progress.ts";
import type { Range } from "../core/sampler.ts";
import type { Preprocessing } from "../core/transforms.ts";
import type { WireFormat } from "../core/wire.ts";
import type { Membership, ServedState, StateProvider, StateRequest, StateSnapshot } from "./transport.ts";

/** The part of a worker that owns the state and computes; it blocks its thread, so it has one of its own. */
export interface Compute {
  /** Takes the state that a run starts with, a function of the seed. */
  initialize(place: { lineage: number; era: number }): Promise<void>;
  /** Replaces the state by a copy. */
  restore(state: StateSnapshot): Promise<void>;
  /** A copy of the state as it is now; its values in `into`, which threads share, where it is given. */
  snapshot(into?: Float32Array): Promise<StateSnapshot>;
  /** Trains in a generation until something has to be decided together. */
  run(assignment: Assignment): Promise<RunOutcome>;
  /**
   * Stops contributing to the generation for good: the run under way ends as "aborted", and afterwards nothing of that
   * generation is applied any more.
   */
  freeze(): Promise<void>;
  /** Votes for a stop with every step from now on. */
  voteToStop(): Promise<void>;
  /** Votes for a save with every step until there is one. */
  voteToSave(): Promise<void>;
  /** The mean gradient of the step that ended an epoch, if it is kept, and is one of the last epochs'; after so many steps. */
  gradient(step: number): Promise<Float32Array | null>;
}

export interface ComputeInfo {
  readonly fingerprint: Fingerprint;
  readonly weightCount: number;
  /** The optimizer's slots, and the length of each. */
  readonly slotNames: readonly string[];
  readonly trainableCount: number;
  /** Numbers of gradients and of statistics: what a reduction adds up in float32. */
  readonly reducedCount: number;
  /** In what form gradients travel. */
  readonly wire: WireFormat;
  /** Numbers that a reduction carries beside the gradients. */
  readonly statisticsCount: number;
  readonly parameters: readonly { name: string; shape: readonly number[]; size: number; offset: number }[];
  /** What pre-processing has learned from the training split, for every checkpoint. */
  readonly preprocessing: Preprocessing;
  readonly trainingSamples: number;
  readonly validationSamples: number;
  readonly stepsPerEpoch: number;
  readonly engine: string;
  /** The model's layers, as JSON in Keras' form; null where they cannot be told. */
  readonly topology: string | null;
}

export interface Assignment {
  readonly generation: number;
  readonly shards: Range;
}

/**
 * "boundary": the epoch is closed, at its end. "stopped": a stop was voted for, in the middle of an epoch. "save": the
 * state after this step is to be saved, and training goes on. "aborted": frozen before the next step was whole; the state
 * is that of the last committed step. "differs": so is it, since the members' states are not equal, and nobody applies the step.
 */
export type RunOutcome = { readonly kind: "boundary" | "stopped" | "save" | "aborted" | "differs" };

/** Where a step's time went, in milliseconds: all of it. */
export interface StepPhases {
  /** Getting the samples. */
  readonly inputMs: number;
  /** The gradients of this worker's shards, and their sums. */
  readonly computeMs: number;
  /** Until the sums over all shards were there. */
  readonly allReduceMs: number;
  readonly updateMs: number;
}

/** What a step has come to. */
export interface StepReport {
  readonly progress: Pick<Progress, "step" | "epoch" | "stepInEpoch">;
  /** Of all workers together. */
  readonly samples: number;
  readonly stepMs: number;
  readonly phases: StepPhases;
  /** What this worker's training stood still between the step before and this one. */
  readonly pausedMs: number;
  readonly samplesPerSecond: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/** A step, and the generation that took it. */
export interface GenerationStep extends StepReport {
  readonly generation: number;
}

/** How long a step took; told of every step, also of those that are not reported. */
export interface StepTiming extends Pick<GenerationStep, "generation" | "samples" | "stepMs" | "pausedMs" | "phases"> {
  readonly step: number;
  /** Completed before it. */
  readonly epoch: number;
  /** Milliseconds since 1970. */
  readonly endedAtMs: number;
}

/** The part of a worker that talks to its peers. */
export interface Exchange {
  /**
   * Opens the streams of a generation, after closing those of an older one. Resolves when all of them are open, in both
   * directions; never when the generation is left first, or when one cannot be opened, which is reported as broken.
   */
  join(membership: Membership): Promise<void>;
  /** Closes them; afterwards nothing of that generation is received or sent. */
  leave(): Promise<void>;
  serveState(provide: StateProvider): void;
  copyState(from: string, request: StateRequest, signal: AbortSignal): Promise<ServedState>;
  close(): Promise<void>;
}

/** How a step's partial sums become sums over all shards; "aborted" when the worker is frozen first. */
export interface Reducer {
  /**
   * Told of a round just before its last shard is computed, so that what is there is reduced while the rest is computed. Left out:
   * rounds are reduced when they are whole.
   */
  open?(opening: Opening): void;
  reduce(round: Round, own: readonly Contribution[], into: Reduction): Promise<"reduced" | "aborted">;
}
