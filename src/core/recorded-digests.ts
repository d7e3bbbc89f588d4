/** Which digests later steps of a run are known to have: what training again from a checkpoint can be compared with. */
import type { Manifest } from "./manifest.ts";

export interface Recorded {
  readonly step: number;
  readonly weightsDigest: string;
  /** Of the whole state, with its place, where that was recorded too. */
  readonly state: { readonly digest: string; readonly epoch: number; readonly stepInEpoch: number } | null;
  /** Where it stands, for people. */
  readonly by: string;
}

/** An epoch's record, or a save's, as the ledger tells them. */
export interface LedgerDigest {
  readonly event: "boundary" | "save";
  readonly epoch: number;
  readonly step: number;
  readonly weightsDigest: string;
}

/**
 * Of all steps after the checkpoint's, in order. `entries` and `later` are of its run: what it came to in another lineage, after
 * somebody went back, has the same weights at the same step, and another state, since its lineage is in it.
 */
export function recordedAfter(
  from: Pick<Manifest, "lineage" | "era" | "step">,
  entries: readonly LedgerDigest[],
  later: readonly Manifest[],
): readonly Recorded[] {
  const all: Recorded[] = [
    ...entries.map(({ event, epoch, step, weightsDigest }): Recorded => {
      return { step, weightsDigest, state: null, by: event === "boundary" ? `the record of epoch ${epoch}` : "a save" };
    }),
    ...later.map(({ id, lineage, era, step, weightsDigest, stateDigest: digest, epoch, stepInEpoch }): Recorded => {
      const state = lineage === from.lineage && era === from.era ? { digest, epoch, stepInEpoch } : null;
      return { step, weightsDigest, state, by: `checkpoint ${id}` };
    }),
  ];
  return all.filter(({ step }) => step > from.step).sort((a, b) => a.step - b.step);
}
