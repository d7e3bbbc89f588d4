/** Trains on from a checkpoint in this process alone, all shards in one worker, and compares with what was recorded. */
import type { Contribution, Reduction, Round } from "../core/contribution.ts";
import { assert } from "../core/errors.ts";
import { decodeJson } from "../core/json.ts";
import type { Progress } from "../core/progress.ts";
import type { Recorded } from "../core/recorded-digests.ts";
import { plainMemory } from "../core/row-memory.ts";
import type { Reducer } from "../ports/compute.ts";
import type { StateSnapshot } from "../ports/transport.ts";
import { digestOf, weightsDigestOf } from "./state.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";

export interface Compared {
  readonly recorded: Recorded;
  /** What was computed here. */
  readonly weightsDigest: string;
  readonly isSame: boolean;
}

/** One worker has the whole tree: its partial sum is the sum over all shards. */
export const alone: Reducer = {
  async reduce(_round: Round, own: readonly Contribution[], into: Reduction): Promise<"reduced"> {
    const sum = own[0]?.sum;
    assert(own.length === 1 && sum !== null && sum !== undefined, "one worker holds the whole tree, with samples");
    into.values.set(sum.values);
    into.statistics.set(sum.statistics);
    return "reduced";
  },
};

/** Takes steps from `state` on, up to the last of `recorded`, which are of later steps; one comparison for each of them. */
export async function replay(
  options: Omit<TrainerOptions, "onStep" | "memory">,
  state: StateSnapshot,
  recorded: readonly Recorded[],
): Promise<readonly Compared[]> {
  let { step } = decodeJson<Progress>(state.progress);
  const onStep: TrainerOptions["onStep"] = ({ progress }) => {
    step = progress.step;
  };
  const trainer = new Trainer({ ...options, memory: plainMemory, onStep });
  trainer.restore(state);
  // So that it comes back after each step, or, at an epoch's last one, when the epoch is closed.
  trainer.voteToStop();
  const compared: Compared[] = [];
  for (const one of recorded) {
    assert(one.step >= step, "what is recorded comes in the order of its steps");
    while (step < one.step) await trainer.run({ generation: 0, shards: { begin: 0, end: options.shards } }, alone);
    const snapshot = trainer.snapshot();
    const weightsDigest = weightsDigestOf(snapshot, options.program);
    const isSame = weightsDigest === one.weightsDigest && isSameState(snapshot, one);
    compared.push({ recorded: one, weightsDigest, isSame });
  }
  return compared;
}

/** Of one step there are two states, before the epoch is closed and after it; only like is compared with like. */
function isSameState(snapshot: StateSnapshot, { state }: Recorded): boolean {
  if (state === null) return true;
  const { epoch, stepInEpoch } = decodeJson<Progress>(snapshot.progress);
  return state.epoch !== epoch || state.stepInEpoch !== stepInEpoch || state.digest === digestOf(snapshot);
}
