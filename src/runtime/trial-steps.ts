/** A job's first steps, taken in this process alone and kept nowhere: what they come to, and how long they take. */
import { assert } from "../core/errors.ts";
import { plainMemory } from "../core/row-memory.ts";
import type { StepReport } from "../ports/compute.ts";
import { alone } from "./replay.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";

export interface TrialStep {
  readonly stepMs: number;
  /** Mean loss and metrics of the epoch so far. */
  readonly metrics: StepReport["metrics"];
}

/** One report a step. The program has other weights afterwards. */
export async function trialSteps(
  options: Omit<TrainerOptions, "onStep" | "memory">,
  count: number,
): Promise<readonly TrialStep[]> {
  const steps: TrialStep[] = [];
  const onStep: TrainerOptions["onStep"] = ({ stepMs, metrics }) => void steps.push({ stepMs, metrics });
  const trainer = new Trainer({ ...options, memory: plainMemory, onStep });
  trainer.initialize({ lineage: 1, era: 1 });
  trainer.prepare();
  // So that it comes back after each step.
  trainer.voteToStop();
  // An epoch of fewer steps is as much as there is to see.
  for (let i = 0; i < Math.min(count, trainer.stepsPerEpoch); i++) {
    await trainer.run({ generation: 0, shards: { begin: 0, end: options.shards } }, alone);
  }
  assert(steps.length > 0, "an epoch has a step");
  return steps;
}
