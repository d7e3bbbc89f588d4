/** What an exported model says of where its weights come from, for whoever finds it somewhere else. */
import { exactnessOf } from "../../core/records.ts";
import type { CheckpointContent } from "../../ports/checkpoint-storage.ts";
import { preprocessingOf } from "../../runtime/state.ts";

export function described({ manifest }: CheckpointContent) {
  const { id, job, run, step, epoch, weightsDigest, equivalences } = manifest;
  return { checkpoint: id, job, run, step, epoch, weightsDigest, exactness: exactnessOf(equivalences), equivalences };
}

/** The metadata of a safetensors file, which are texts. */
export function tensorMetadata(content: CheckpointContent): Readonly<Record<string, string>> {
  const { equivalences, ...rest } = described(content);
  const texts = Object.entries(rest).map(([name, value]) => [name, String(value)] as const);
  return {
    ...Object.fromEntries(texts),
    equivalences: equivalences.join("; "),
    preprocessing: JSON.stringify(preprocessingOf(content)),
  };
}
