/** What `latest` and `best` say of a checkpoint, made from the checkpoint itself. */
import { bestOf, measuredOn } from "../core/checkpoint-policy.ts";
import type { CheckpointRule } from "../core/job.ts";
import type { Sampling } from "../core/ledger.ts";
import type { CheckpointPointer } from "../core/status.ts";
import type { StoredCheckpoint } from "../ports/checkpoint-storage.ts";

/** `sampling`: what its samples followed from; null before the first step. */
export function pointerOf(
  { id, location, holders, manifestSha256, manifest }: StoredCheckpoint,
  rule: CheckpointRule,
  sampling: Sampling | null,
): CheckpointPointer {
  const { lineage, era, step, epoch, stepInEpoch, generation, stateDigest, weightsDigest, metrics } = manifest;
  const { monitor } = rule;
  return {
    ...{ id, location, ...(holders && { holders }) },
    ...{ lineage, era, step, epoch, stepInEpoch, generation, stateDigest, weightsDigest, manifestSha256, monitor },
    value: metrics && Object.hasOwn(metrics, monitor) ? metrics[monitor]! : null,
    of: bestOf(rule, sampling ? measuredOn(monitor, sampling) : ""),
  };
}
