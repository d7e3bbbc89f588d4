/**
 * The coordination port without etcd: one store in memory, any number of clients. Time comes from the clock alone, so
 * a simulated clock decides when leases end; the holder's side of a lease is the very code that etcd's clients run.
 */
import { assert, LockstepError, unreachable } from "../../core/errors.ts";
import type { Clock } from "../../ports/clock.ts";
import type {
  Condition,
  Coordination,
  Entry,
  Lease,
  Listing,
  Operation,
  Span,
  TransactionResult,
  Watch,
} from "../../ports/coordination.ts";
import type { Log } from "../../ports/log.ts";
import { startHints } from "../etcd/hints.ts";
import { KeptLease } from "../etcd/lease.ts";
import { Rollbacks, type StoreMoment } from "../etcd/rollbacks.ts";
import { keysUnder, type SortedKey, sortedKeys } from "./sorted-keys.ts";
import { type StoreWatch, type StoreWatchListener, StoreWatches } from "./store-watches.ts";

export interface MemoryCoordinationOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** As with etcd: how long before the store's end of a lease its holder stops. */
  readonly leaseMarginMs: number;
}

/** etcd's own limit. */
const operationsPerTransaction = 128;

interface StoredLease {
  readonly ttlMs: number;
  expiresAtMs: number;
  readonly ended: AbortController;
}

/** Everything that a store holds at one moment, as in a backup of it. */
export interface StoreImage {
  readonly entries: ReadonlyMap<string, Entry>;
  /** The time to live of each lease. */
  readonly leases: ReadonlyMap<string, number>;
  readonly revision: number;
}

/** The store: what an etcd cluster is to its clients. */
export class MemoryCoordination {
  readonly #options: MemoryCoordinationOptions;
  readonly #entries = new Map<string, Entry>();
  /** The keys in order; null when one came or went. */
  #sorted: readonly SortedKey[] | null = null;
  readonly #leases = new Map<string, StoredLease>();
  readonly #listeners = new Set<(key: string) => void>();
  readonly #watches = new StoreWatches();
  /** As in etcd, an empty store is at revision 1. */
  #revision = 1;
  #name = "";
  #leasesGranted = 0;

  constructor(options: MemoryCoordinationOptions) {
    this.#options = options;
  }

  /** A new client; as separate from the others as a process of its own. */
  connect(log = this.#options.log): MemoryClient {
    return new MemoryClient(this, { ...this.#options, log });
  }

  /** Ends the timers of all leases. */
  close(): void {
    for (const lease of this.#leases.values()) lease.ended.abort();
    this.#leases.clear();
  }

  image(): StoreImage {
    this.#expireDue();
    const leases = new Map([...this.#leases].map(([id, { ttlMs }]) => [id, ttlMs]));
    return { entries: new Map(this.#entries), leases, revision: this.#revision };
  }

  get moment(): StoreMoment {
    return { store: this.#name, revision: this.#revision };
  }

  /**
   * As an etcd whose data directory was replaced: by a backup, whose leases have their whole time again, or by an empty one.
   * Revisions go on from there; with a `name`, as those of another etcd. No lease gets an id that was ever granted, as in etcd; its watches were ended with it.
   */
  restore(image: StoreImage | null, name = this.#name): void {
    this.close();
    this.#name = name;
    this.#entries.clear();
    this.#sorted = null;
    this.#watches.compactedRevision = 0;
    this.#revision = image?.revision ?? 1;
    for (const [key, entry] of image?.entries ?? []) this.#entries.set(key, entry);
    for (const [id, ttlMs] of image?.leases ?? []) this.#keepLease(id, ttlMs);
  }

  get(key: string): Entry | null {
    this.#expireDue();
    return this.#entries.get(key) ?? null;
  }

  list(prefix: string, known: readonly Span[] = []): Listing {
    this.#expireDue();
    this.#sorted ??= sortedKeys(this.#entries.keys());
    const entries = keysUnder(this.#sorted, prefix, known).map((key) => this.#entries.get(key)!);
    return { revision: this.#revision, entries };
  }

  transact(conditions: readonly Condition[], then: readonly Operation[]): TransactionResult {
    this.#expireDue();
    checkRequest(conditions, then);
    if (!conditions.every((condition) => this.#holds(condition))) {
      return { succeeded: false, revision: this.#revision };
    }
    for (const operation of then) {
      if (operation.kind === "put" && operation.lease !== undefined && !this.#leases.has(operation.lease.id)) {
        throw new LockstepError("fenced-off", `The lease ${operation.lease.id} has expired or was revoked.`);
      }
    }
    this.#write(then);
    return { succeeded: true, revision: this.#revision };
  }

  grant(ttlMs: number): string {
    this.#leasesGranted += 1;
    const id = String(this.#leasesGranted);
    this.#keepLease(id, ttlMs);
    return id;
  }

  #keepLease(id: string, ttlMs: number): void {
    const lease = { ttlMs, expiresAtMs: this.#options.clock.monotonicMs() + ttlMs, ended: new AbortController() };
    this.#leases.set(id, lease);
    void this.#expireInTime(id, lease);
  }

  /** Returns the lease's time to live from now on; 0 when there is no such lease. */
  renew(leaseId: string): number {
    this.#expireDue();
    const lease = this.#leases.get(leaseId);
    if (lease === undefined) return 0;
    lease.expiresAtMs = this.#options.clock.monotonicMs() + lease.ttlMs;
    return lease.ttlMs;
  }

  revoke(leaseId: string): void {
    this.#leases.get(leaseId)?.ended.abort();
    this.#leases.delete(leaseId);
    const keys = [...this.#entries.values()].filter((entry) => entry.leaseId === leaseId).map((entry) => entry.key);
    this.#write(keys.map((key) => ({ kind: "delete", key })));
  }

  /** Calls `onChange` with every key that is written or deleted; returns what ends that. */
  listen(onChange: (key: string) => void): () => void {
    this.#listeners.add(onChange);
    return () => this.#listeners.delete(onChange);
  }

  /** A watch as the store keeps it, from now on. */
  watch(prefix: string, listener: StoreWatchListener): StoreWatch {
    return this.#watches.open(prefix, listener);
  }

  /** Forgets what was before this revision, or before the current one: watches that still need it are over. */
  compact(revision = this.#revision): void {
    this.#watches.compactedRevision = revision;
  }

  #holds(condition: Condition): boolean {
    const entry = this.#entries.get(condition.key);
    switch (condition.kind) {
      case "absent":
        return entry === undefined;
      case "present":
        return entry !== undefined;
      // etcd, too, takes a key that is not there to have the revision 0.
      case "created-at":
        return (entry?.createRevision ?? 0) === condition.revision;
      case "modified-at":
        return (entry?.modRevision ?? 0) === condition.revision;
      case "equals":
        return entry?.value === condition.value;
      default:
        return unreachable(condition);
    }
  }

  /** All operations at one new revision; none is spent when nothing changes. */
  #write(operations: readonly Operation[]): void {
    const changing = operations.filter(({ kind, key }) => kind === "put" || this.#entries.has(key));
    if (changing.length === 0) return;
    this.#revision += 1;
    for (const operation of changing) {
      if (operation.kind === "delete" || !this.#entries.has(operation.key)) this.#sorted = null;
      if (operation.kind === "delete") this.#entries.delete(operation.key);
      else this.#put(operation.key, operation.value, operation.lease?.id ?? null);
    }
    for (const { key } of changing) {
      for (const listener of [...this.#listeners]) listener(key);
      this.#watches.tell(key, this.#revision);
    }
  }

  #put(key: string, value: string, leaseId: string | null): void {
    const createRevision = this.#entries.get(key)?.createRevision ?? this.#revision;
    this.#entries.set(key, { key, value, createRevision, modRevision: this.#revision, leaseId });
  }

  #expireDue(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const [id, lease] of [...this.#leases]) if (lease.expiresAtMs <= nowMs) this.revoke(id);
  }

  async #expireInTime(id: string, lease: StoredLease): Promise<void> {
    const { clock } = this.#options;
    while (this.#leases.get(id) === lease) {
      const restMs = lease.expiresAtMs - clock.monotonicMs();
      if (restMs <= 0) this.revoke(id);
      else await clock.sleep(restMs, lease.ended.signal).catch(() => undefined);
    }
  }
}

/**
 * "cut": nothing reaches the store and no hint comes; "loses-replies": calls take effect, but the client is not told;
 * "stalled": nothing passes for now, and nothing is lost; "whole": all is well.
 */
export type MemoryLink = "whole" | "cut" | "loses-replies" | "stalled";

/** One client, whose link to the store can fail as a network does. */
export class MemoryClient implements Coordination {
  readonly #store: MemoryCoordination;
  readonly #options: MemoryCoordinationOptions;
  readonly #closed = new AbortController();
  readonly #leases = new Set<KeptLease>();
  readonly #reconnected = new Set<() => void>();
  readonly #watches = new Set<StoreWatch>();
  readonly #rollbacks = new Rollbacks();
  #link: MemoryLink = "whole";
  /** What waits for the end of a stalled link. */
  #stalled: (() => void)[] = [];

  constructor(store: MemoryCoordination, options: MemoryCoordinationOptions) {
    this.#store = store;
    this.#options = options;
  }

  setLink(link: MemoryLink): void {
    const wasStalled = this.#link === "stalled";
    this.#link = link;
    if (link === "stalled") for (const watch of this.#watches) watch.hold();
    else if (wasStalled) {
      for (const goOn of this.#stalled.splice(0)) goOn();
      for (const watch of [...this.#watches]) watch.release();
    } else if (link === "whole") for (const hint of this.#reconnected) hint();
  }

  get rollbacks(): number {
    return this.#rollbacks.count;
  }

  get(key: string): Promise<Entry | null> {
    return this.#ask(() => this.#store.get(key));
  }

  read(keys: readonly string[]): Promise<ReadonlyMap<string, Entry>> {
    return this.#ask(() => {
      const entries = keys.flatMap((key) => this.#store.get(key) ?? []);
      return new Map(entries.map((entry) => [entry.key, entry]));
    });
  }

  list(prefix: string, known: readonly Span[] = []): Promise<Listing> {
    return this.#ask(() => this.#store.list(prefix, known));
  }

  async transact(conditions: readonly Condition[], then: readonly Operation[]): Promise<TransactionResult> {
    for (const operation of then) {
      if (operation.kind === "put" && operation.lease?.isHeld() === false) {
        throw new LockstepError("fenced-off", `The lease ${operation.lease.id} is over.`);
      }
    }
    return await this.#ask(() => this.#store.transact(conditions, then));
  }

  async grantLease(ttlMs: number): Promise<Lease> {
    const { clock, log, leaseMarginMs } = this.#options;
    const sentAtMs = clock.monotonicMs();
    const id = await this.#call(() => this.#store.grant(ttlMs));
    const lease = new KeptLease({
      id,
      ttlMs,
      marginMs: leaseMarginMs,
      sentAtMs,
      clock,
      log,
      renew: () => this.#call(() => this.#store.renew(id)),
      revoke: () => this.#call(() => this.#store.revoke(id)),
    });
    this.#leases.add(lease);
    lease.released.addEventListener("abort", () => this.#leases.delete(lease));
    if (this.#closed.signal.aborted) lease.end("the client was closed");
    return lease;
  }

  revokeLease(leaseId: string): Promise<void> {
    return this.#call(() => this.#store.revoke(leaseId));
  }

  watch(prefix: string, pollMs: number, onHint: () => void): Watch {
    const closed = new AbortController();
    const signal = AbortSignal.any([closed.signal, this.#closed.signal]);
    const hint = startHints({ clock: this.#options.clock, pollMs, onHint, signal });
    let pending = false;
    // Never from inside the call that made the change; changes of one transaction make one hint.
    const hintSoon = (): void => {
      if (pending || this.#link === "cut") return;
      pending = true;
      queueMicrotask(() => {
        pending = false;
        hint();
      });
    };
    let watch: StoreWatch;
    const create = (): void => {
      watch = this.#store.watch(prefix, { onChange: hintSoon, onCompacted });
      this.#watches.add(watch);
      hintSoon();
    };
    const onCompacted = (revision: number): void => {
      this.#options.log.debug("watch interrupted", { prefix, reason: `compacted up to revision ${revision}` });
      this.#watches.delete(watch);
      create();
    };
    this.#reconnected.add(hintSoon);
    signal.addEventListener("abort", () => {
      watch.close();
      this.#watches.delete(watch);
      this.#reconnected.delete(hintSoon);
    });
    create();
    return { close: () => closed.abort() };
  }

  async close(): Promise<void> {
    this.#closed.abort();
    for (const lease of [...this.#leases]) lease.end("the client was closed");
  }

  /** As `#call`, of what is answered at a moment of the store's. */
  async #ask<Result>(apply: () => Result): Promise<Result> {
    const note = this.#rollbacks.sent();
    const { result, moment } = await this.#call(() => ({ result: apply(), moment: this.#store.moment }));
    note(moment);
    return result;
  }

  async #call<Result>(apply: () => Result): Promise<Result> {
    this.#checkOpen();
    // The request's way to the store, and below the answer's way back: other calls get in between.
    await Promise.resolve();
    while (this.#link === "stalled") await new Promise<void>((resolve) => this.#stalled.push(resolve));
    if (this.#link === "cut") throw unavailable("the link to the store is cut");
    const result = apply();
    await Promise.resolve();
    if (this.#link !== "whole") throw unavailable("the reply was lost; whether it took effect is unknown");
    this.#checkOpen();
    return result;
  }

  #checkOpen(): void {
    if (this.#closed.signal.aborted) throw unavailable("this client was closed");
  }
}

function unavailable(reason: string): LockstepError {
  return new LockstepError("coordination-unavailable", `The in-memory store gave no answer: ${reason}.`);
}

/** What etcd refuses whatever its state. */
function checkRequest(conditions: readonly Condition[], then: readonly Operation[]): void {
  const longest = Math.max(conditions.length, then.length);
  assert(longest <= operationsPerTransaction, `${longest} operations are at most ${operationsPerTransaction}`);
  const puts = then.filter(({ kind }) => kind === "put").map(({ key }) => key);
  const deletes = then.filter(({ kind }) => kind === "delete").map(({ key }) => key);
  const clash = puts.find((key, index) => puts.indexOf(key) !== index || deletes.includes(key));
  assert(clash === undefined, `a transaction writes a key once, not ${JSON.stringify(clash)} twice`);
  assert(
    conditions.every(({ key }) => key !== "") && then.every(({ key }) => key !== ""),
    "every key has at least one character",
  );
}
