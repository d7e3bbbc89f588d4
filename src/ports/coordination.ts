/**
 * The small part of etcd that lockstep's protocol is built from: linearizable reads, transactions that compare
 * revisions, leases, and watches that are only hints. Everything a process decides about membership, leadership,
 * epochs and checkpoints goes through this port.
 */
export interface Coordination {
  /**
   * So often this client has noticed that the store was put back to an earlier moment than it had been at, as by a backup, or
   * replaced by another store. It counts before the answer is given that shows it: what was read until then may never have
   * been. Not noticed is what is hidden by as many writes of others, before this client asks again.
   */
  readonly rollbacks: number;

  /** The key's current value, read linearizably; null when there is none. */
  get(key: string): Promise<Entry | null>;

  /** Those of these keys that are there, all read linearizably at one revision. At most 128. */
  read(keys: readonly string[]): Promise<ReadonlyMap<string, Entry>>;
  /**
   * All keys that begin with `prefix`, in key order, and the store's revision at which they were read. Those in `known` are left
   * out, and cost nothing: at most 100 spans, in key order, which do not overlap.
   */
  list(prefix: string, known?: readonly Span[]): Promise<Listing>;

  /**
   * Applies `then` in one atomic step if every condition holds; otherwise nothing. Never retried inside: an error
   * with code "coordination-unavailable" means that the outcome is unknown, and the caller reads before it concludes.
   */
  transact(conditions: readonly Condition[], then: readonly Operation[]): Promise<TransactionResult>;

  /** A new lease that is kept alive in the background until it is revoked or lost. */
  grantLease(ttlMs: number): Promise<Lease>;
  /**
   * Ends somebody else's lease, and deletes its keys, when its holder is known to be gone. Safe even if that is wrong:
   * whoever acts under a key of that lease is fenced by the key's create revision. An unknown lease is no error.
   */
  revokeLease(leaseId: string): Promise<void>;

  /**
   * Calls `onHint` some time after a key under `prefix` may have changed: after changes, after every (re)connection
   * and at least every `pollMs`. Hints may be merged, late, spurious or missing; whoever gets one reads again.
   */
  watch(prefix: string, pollMs: number, onHint: () => void): Watch;

  /** Ends all watches and leases' keepalives (without revoking) and closes the connection. */
  close(): Promise<void>;
}

export interface Entry {
  readonly key: string;
  readonly value: string;
  /** The store's revision at which the key was created: the fencing token of what it stands for. */
  readonly createRevision: number;
  readonly modRevision: number;
  /** The lease that the key dies with, or null. */
  readonly leaseId: string | null;
}

/** The keys from `from` on and before `before`, in the order of their bytes. */
export interface Span {
  readonly from: string;
  readonly before: string;
}

export interface Listing {
  readonly revision: number;
  readonly entries: readonly Entry[];
}

export type Condition =
  | { readonly kind: "absent"; readonly key: string }
  | { readonly kind: "present"; readonly key: string }
  | { readonly kind: "created-at"; readonly key: string; readonly revision: number }
  | { readonly kind: "modified-at"; readonly key: string; readonly revision: number }
  /** For what must hold even if revisions have begun anew, with other data. */
  | { readonly kind: "equals"; readonly key: string; readonly value: string };

export type Operation =
  | { readonly kind: "put"; readonly key: string; readonly value: string; readonly lease?: Lease }
  | { readonly kind: "delete"; readonly key: string };

export interface TransactionResult {
  readonly succeeded: boolean;
  /** The store's revision after the transaction; that of the keys it wrote, when it succeeded. */
  readonly revision: number;
}

export interface Lease {
  readonly id: string;
  readonly ttlMs: number;
  /**
   * Whether the holder may still act as such: true until (send time of the last acknowledged keepalive) + TTL − a
   * margin, on the monotonic clock. Once false it stays false, even when etcd would still know the lease.
   */
  isHeld(): boolean;
  /** Milliseconds left of that time; 0 once it is lost. */
  remainingMs(): number;
  /** Aborted at the moment at which `isHeld` turns false. */
  readonly lost: AbortSignal;
  /** Ends the lease and deletes its keys. Best effort: never throws. */
  revoke(): Promise<void>;
}

export interface Watch {
  close(): void;
}
