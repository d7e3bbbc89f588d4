/**
 * Connections and calls that were refused: each kind is counted, told when it comes for the first time, and again whenever there
 * are ten times as many. So a flood costs a few lines of log, and not one a connection.
 */

/** What may be wrong; docs/security.md says of each what it was. */
export const refusalKinds = [
  "plain text on a port for TLS",
  "no TLS handshake",
  "TLS that is too old",
  "another protocol",
  "no certificate",
  "no certificate in time",
  "a certificate that is not trusted",
  "a certificate that is over",
  "a certificate that is not valid yet",
  "the certificate of somebody else",
  "a call in another's name",
  "malformed HTTP/2 or request",
  "no HTTP/2 in time",
  "too many connections without a certificate",
  "too many connections",
  "wrong HTTP token",
  "HTTP without the token",
  "HTTP without a token",
  "HTTP by a foreign name",
  "HTTP from another page",
] as const;
export type RefusalKind = (typeof refusalKinds)[number];

export interface Refusal {
  readonly kind: RefusalKind;
  /** Who it was: an address, or whom a certificate names. */
  readonly from: string;
  /** More about this one. */
  readonly detail: string;
}

export interface CountedRefusal extends Refusal {
  /** With it, so many of this kind. */
  readonly count: number;
}

export class Refusals {
  readonly #counts = new Map<string, number>();
  readonly #tell: (refusal: CountedRefusal) => void;

  constructor(tell: (refusal: CountedRefusal) => void) {
    this.#tell = tell;
  }

  note(refusal: Refusal): void {
    const count = (this.#counts.get(refusal.kind) ?? 0) + 1;
    this.#counts.set(refusal.kind, count);
    if (/^10*$/.test(String(count))) this.#tell({ ...refusal, count });
  }

  /** By kind. */
  get counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }
}
