import type { EpochHistory } from "../core/status.ts";
import type { NamedTensor } from "./checkpoint-storage.ts";

/** Where committed epochs are written for people who watch curves; nothing is ever read from it to train. */
export interface EpochLog {
  /** Writes the epochs that are not there yet. One call at a time. Rejects where it cannot write; the next call tries all again. */
  record(boundary: LoggedBoundary): Promise<void>;
}

/** A committed boundary, and every epoch before it. */
export interface LoggedBoundary {
  /** Under which token its leader leads: with another one, others may have written meanwhile. */
  readonly token: number;
  /** Oldest first; empty before training. */
  readonly history: readonly EpochHistory[];
  /** The weights at the boundary. */
  weights(): readonly NamedTensor[];
  /** The mean gradient of the epoch's last step, of the whole batch; null where this process does not have it. */
  gradients(): Promise<readonly NamedTensor[] | null>;
}
