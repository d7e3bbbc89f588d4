/**
 * Watches as an etcd keeps them. A watch whose client takes nothing falls behind: what has changed waits for it in the
 * store's history. A compaction forgets the history; a watch that still needs some of it is over.
 */

export interface StoreWatchListener {
  /** Something under the prefix has changed. */
  onChange(): void;
  /** The watch is over: it was behind, and what it had not been told yet has been compacted, up to this revision. */
  onCompacted(revision: number): void;
}

/** One watch. */
export class StoreWatch {
  readonly prefix: string;
  readonly #listener: StoreWatchListener;
  readonly #watches: StoreWatches;
  #isHeld = false;
  /** The first change that it has not been told of; null while it is told of everything. */
  #behindSince: number | null = null;

  constructor(watches: StoreWatches, prefix: string, listener: StoreWatchListener) {
    this.#watches = watches;
    this.prefix = prefix;
    this.#listener = listener;
  }

  /** It is told nothing until `release`, and falls behind. */
  hold(): void {
    this.#isHeld = true;
  }

  /** It catches up, unless what it lacks is no longer there. */
  release(): void {
    this.#isHeld = false;
    const since = this.#behindSince;
    this.#behindSince = null;
    if (since === null) return;
    const { compactedRevision } = this.#watches;
    if (since >= compactedRevision) {
      this.#listener.onChange();
      return;
    }
    this.close();
    this.#listener.onCompacted(compactedRevision);
  }

  changed(revision: number): void {
    if (this.#isHeld) this.#behindSince ??= revision;
    else this.#listener.onChange();
  }

  close(): void {
    this.#watches.forget(this);
  }
}

/** All watches of a store, and how much of its history is left. */
export class StoreWatches {
  /** What was before this revision is forgotten. */
  compactedRevision = 0;
  readonly #watches = new Set<StoreWatch>();

  /** Begins with what changes from now on. */
  open(prefix: string, listener: StoreWatchListener): StoreWatch {
    const watch = new StoreWatch(this, prefix, listener);
    this.#watches.add(watch);
    return watch;
  }

  tell(key: string, revision: number): void {
    for (const watch of [...this.#watches]) if (key.startsWith(watch.prefix)) watch.changed(revision);
  }

  forget(watch: StoreWatch): void {
    this.#watches.delete(watch);
  }
}
