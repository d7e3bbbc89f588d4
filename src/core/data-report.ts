import type { ClassCount, ColumnSummary } from "./data-summary.ts";
import type { DataSource } from "./job.ts";

/** Null is what is missing. */
interface ShownSample {
  readonly features: readonly ShownValue[];
  readonly label: readonly ShownValue[];
}
export type ShownValue = number | string | null;

/** What `lockstep data` says of a set of samples. */
export interface DataReport {
  readonly format: DataSource["kind"];
  /** Absolute paths. */
  readonly files: readonly string[];
  readonly digest: string;
  readonly samples: number;
  readonly split: {
    readonly training: number;
    readonly validation: number;
    /** How the validation samples are chosen; null where there are none. */
    readonly take: string | null;
  };
  /** Of one sample. */
  readonly shapes: { readonly features: readonly number[]; readonly label: readonly number[] };
  readonly features: readonly ColumnSummary[];
  readonly label: ColumnSummary;
  /** How much samples count; null where all count the same. */
  readonly weight: ColumnSummary | null;
  readonly classes: readonly ClassCount[] | null;
  /** The first samples, before pre-processing. */
  readonly first: readonly ShownSample[];
}
