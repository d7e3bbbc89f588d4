/** How a process talks to others: with which certificates, and where it is noted whom it refused. */
import { Refusals } from "../../core/refusals.ts";
import type { CertificateFolder } from "./certificate-folder.ts";

export interface Security {
  /** Null: in plain text. */
  readonly certificates: CertificateFolder | null;
  readonly refusals: Refusals;
}

/** In plain text, with everybody. */
export function plainText(): Security {
  return { certificates: null, refusals: new Refusals(() => {}) };
}
