/**
 * Notices that a store was put back to an earlier moment, or replaced by another one. A store's revision only grows: so an
 * answer at a lower one than an answer that was there before its request was sent is of a store that has forgotten something.
 *
 * Nothing in here knows etcd, so that the in-memory store notices it in the same way.
 */

/** When a store gave an answer. */
export interface StoreMoment {
  /** Which store; another one's revisions say nothing. */
  readonly store: string;
  readonly revision: number;
}

export class Rollbacks {
  #count = 0;
  #newest: StoreMoment | null = null;

  /** So many were noticed. */
  get count(): number {
    return this.#count;
  }

  /** Called when a request is sent. Returns what is to be called with the moment of its answer, if that is a linearizable one. */
  sent(): (moment: StoreMoment) => void {
    const count = this.#count;
    const newest = this.#newest;
    return (moment) => {
      // Another request has noticed something meanwhile; this one may have been answered before that happened.
      if (count !== this.#count) return;
      if (newest && (moment.store !== newest.store || moment.revision < newest.revision)) {
        this.#count += 1;
        this.#newest = moment;
      } else if (this.#newest === null || moment.revision > this.#newest.revision) this.#newest = moment;
    };
  }
}
