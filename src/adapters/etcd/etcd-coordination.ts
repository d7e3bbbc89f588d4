import { type Etcd3, EtcdLeaseInvalidError, type ITxnResponse } from "etcd3";
import { LockstepError } from "../../core/errors.ts";
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
import { type Call, type CallDeadline, EtcdConnections } from "./connections.ts";
import type { CertificateFolder } from "../tls/certificate-folder.ts";
import { startHints } from "./hints.ts";
import { KeptLease } from "./lease.ts";
import {
  describeTransaction,
  rangesWithout,
  toEntries,
  toEntry,
  toRanges,
  toRevision,
  toTransaction,
} from "./requests.ts";
import { keepWatching } from "./watch.ts";

export interface EtcdOptions {
  /** Members of one etcd cluster, as "http://host:port"; one is used at a time. */
  readonly endpoints: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
  /** The longest that any call may take before it fails. */
  readonly requestTimeoutMs: number;
  /** For endpoints that begin with "https:". */
  readonly certificates?: CertificateFolder | null;
  /** How long before etcd's end of a lease its holder stops acting as such; below every lease's TTL. */
  readonly leaseMarginMs: number;
}

/**
 * A client of etcd. Connects with the first call, and again by itself after every failure. Every error is a
 * LockstepError: "coordination-unavailable" when etcd gave no answer in time (the outcome of a transaction is then
 * unknown), "fenced-off" for a put under a lease that is over (nothing was changed), "internal" for a request that
 * etcd can never accept.
 */
export function openEtcd(options: EtcdOptions): Coordination {
  return new EtcdCoordination(options);
}

class EtcdCoordination implements Coordination {
  readonly #options: EtcdOptions;
  readonly #connections: EtcdConnections;
  readonly #closed = new AbortController();
  readonly #leases = new Map<string, KeptLease>();

  constructor(options: EtcdOptions) {
    this.#options = options;
    this.#connections = new EtcdConnections(options);
  }

  get rollbacks(): number {
    return this.#connections.rollbacks.count;
  }

  async get(key: string): Promise<Entry | null> {
    const response = await this.#connections.ask({
      what: `get ${JSON.stringify(key)}`,
      changes: false,
      run: (client, deadline) => client.kv.range({ key: Buffer.from(key) }, deadline),
    });
    const [keyValue] = response.kvs;
    return keyValue === undefined ? null : toEntry(keyValue);
  }

  async read(keys: readonly string[]): Promise<ReadonlyMap<string, Entry>> {
    const response = await this.#connections.ask({
      what: `read ${keys.length} keys`,
      changes: false,
      run: (client, deadline) => client.kv.txn(toRanges(keys.map((key) => ({ key: Buffer.from(key) }))), deadline),
    });
    return new Map(toEntries(response).map((entry) => [entry.key, entry]));
  }

  async list(prefix: string, known: readonly Span[] = []): Promise<Listing> {
    const response = await this.#connections.ask({
      what: `list ${JSON.stringify(prefix)}`,
      changes: false,
      run: (client, deadline) => client.kv.txn(toRanges(rangesWithout(prefix, known)), deadline),
    });
    return { revision: toRevision(response.header.revision), entries: toEntries(response) };
  }

  async transact(conditions: readonly Condition[], then: readonly Operation[]): Promise<TransactionResult> {
    const what = describeTransaction(then);
    const leases = new Set(then.flatMap((operation) => (operation.kind === "put" ? (operation.lease ?? []) : [])));
    for (const lease of leases) {
      if (!lease.isHeld()) throw new LockstepError("fenced-off", `Did not ${what}: its lease ${lease.id} is over.`);
    }
    try {
      const call: Call<ITxnResponse> = {
        what,
        changes: then.length > 0,
        run: (client, deadline) => client.kv.txn(toTransaction(conditions, then), deadline),
      };
      // etcd takes one without operations for a read that need not be linearizable.
      const response = await (then.length > 0 ? this.#connections.ask(call) : this.#connections.call(call));
      return { succeeded: response.succeeded, revision: toRevision(response.header.revision) };
    } catch (error) {
      // etcd does not say which; with more than one, their keepalives will.
      const [lease, ...others] = leases;
      if (lease !== undefined && others.length === 0 && isLeaseGone(error)) {
        this.#leases.get(lease.id)?.lose("etcd no longer knows it");
      }
      throw error;
    }
  }

  async grantLease(ttlMs: number): Promise<Lease> {
    const { clock, leaseMarginMs, log } = this.#options;
    let sentAtMs = clock.monotonicMs();
    const granted = await this.#connections.call({
      what: "grant a lease",
      changes: false,
      run: (client, deadline) => {
        sentAtMs = clock.monotonicMs();
        // etcd counts whole seconds, and grants more than was asked when that is below its smallest TTL.
        return client.leaseClient.leaseGrant({ TTL: Math.ceil(ttlMs / 1_000) }, deadline);
      },
    });
    const id = granted.ID;
    const lease = new KeptLease({
      id,
      ttlMs: Number(granted.TTL) * 1_000,
      marginMs: leaseMarginMs,
      sentAtMs,
      clock,
      log,
      renew: (timeoutMs) =>
        this.#connections.call({
          what: `renew the lease ${id}`,
          changes: false,
          timeoutMs,
          run: (client, deadline) => renewOnce(client, id, deadline),
        }),
      revoke: () => this.revokeLease(id),
    });
    this.#leases.set(id, lease);
    lease.released.addEventListener("abort", () => this.#leases.delete(id));
    // The client may have been closed while etcd answered.
    if (this.#closed.signal.aborted) lease.end("the client was closed");
    return lease;
  }

  async revokeLease(leaseId: string): Promise<void> {
    try {
      await this.#connections.call({
        what: `revoke the lease ${leaseId}`,
        changes: true,
        run: (client, deadline) => client.leaseClient.leaseRevoke({ ID: leaseId }, deadline),
      });
    } catch (error) {
      if (!isLeaseGone(error)) throw error;
    }
  }

  watch(prefix: string, pollMs: number, onHint: () => void): Watch {
    const { clock, log } = this.#options;
    const closed = new AbortController();
    const signal = AbortSignal.any([closed.signal, this.#closed.signal]);
    const hint = startHints({ clock, pollMs, onHint, signal });
    void keepWatching({ connections: this.#connections, prefix, hint, clock, log, signal });
    return { close: () => closed.abort() };
  }

  async close(): Promise<void> {
    this.#closed.abort();
    for (const lease of [...this.#leases.values()]) lease.end("the client was closed");
    this.#connections.close();
  }
}

/**
 * Renews a lease by a keepalive stream of one request and one answer. A long-lived stream would save nothing that
 * matters at three renewals a TTL, and would need its own rules for silence, order and reconnection.
 * Returns the new time to live in milliseconds, 0 for a lease that etcd does not know.
 */
async function renewOnce(client: Etcd3, leaseId: string, deadline: CallDeadline): Promise<number> {
  const stream = await client.leaseClient.leaseKeepAlive(deadline);
  return new Promise((resolve, reject) => {
    stream.on("error", reject);
    stream.on("end", () => reject(new Error("etcd ended the keepalive without an answer")));
    stream.on("data", (response) => {
      resolve(Number(response.TTL) * 1_000);
      stream.end();
    });
    stream.write({ ID: leaseId });
  });
}

function isLeaseGone(error: unknown): boolean {
  return error instanceof LockstepError && error.cause instanceof EtcdLeaseInvalidError;
}
