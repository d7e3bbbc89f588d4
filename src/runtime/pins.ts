/**
 * Pins: what keeps a checkpoint from being deleted while somebody reads it, or because somebody wants it. Pinning rewrites
 * the checkpoint's record as it is, if it is live: so its revision moves, and a leader that has read the record, and then the
 * pins, without this one, condemns nothing. Of a pin and a condemnation that meet, one has seen the other.
 */
import type { FailureBudget } from "../core/failure-budget.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { CheckpointError } from "../core/manifest.ts";
import type { CheckpointRecord, Pin } from "../core/records.ts";
import type { Clock } from "../ports/clock.ts";
import type { Coordination, Lease } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { patiently } from "./patience.ts";

export interface PinOptions {
  readonly coordination: Coordination;
  readonly keys: Keys;
}

/**
 * Keeps a published checkpoint until the pin is taken away, or its lease ends. Throws "not-published" when it is not
 * published, or on its way to being deleted. Doing it twice is doing it once.
 */
export async function pin(
  { coordination, keys }: PinOptions,
  id: string,
  name: string,
  { note, lease }: Pin & { lease?: Lease },
): Promise<void> {
  const key = keys.checkpoint(id);
  for (;;) {
    const known = await coordination.get(key);
    const state = known && decodeJson<CheckpointRecord>(known.value).state;
    if (!known || state !== "live") {
      const why = known ? `is ${state}` : "is not among those that are published";
      throw new CheckpointError("not-published", `The checkpoint ${id} cannot be pinned: it ${why}.`, {
        hint: "`lockstep checkpoints list` shows those that are there.",
      });
    }
    const value: Pin = { note };
    const { succeeded } = await coordination.transact(
      [{ kind: "modified-at", key, revision: known.modRevision }],
      [
        { kind: "put", key: keys.pin(id, name), value: encodeJson(value), ...(lease ? { lease } : {}) },
        { kind: "put", key, value: known.value },
      ],
    );
    if (succeeded) return;
  }
}

/** False when there was no such pin. */
export async function unpin({ coordination, keys }: PinOptions, id: string, name: string): Promise<boolean> {
  const key = keys.pin(id, name);
  const { succeeded } = await coordination.transact([{ kind: "present", key }], [{ kind: "delete", key }]);
  return succeeded;
}

/** The names of the pins of each checkpoint that has some, by its id. */
export async function readPins({ coordination, keys }: PinOptions): Promise<ReadonlyMap<string, readonly string[]>> {
  const { entries } = await coordination.list(keys.pins);
  const pins = new Map<string, string[]>();
  for (const { key } of entries) {
    const [id = "", name = ""] = key.slice(keys.pins.length).split("/");
    pins.set(id, [...(pins.get(id) ?? []), name]);
  }
  return pins;
}

export interface ReaderOptions extends PinOptions {
  readonly budget: FailureBudget;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal?: AbortSignal;
}

/** Reads a published checkpoint that is not deleted meanwhile. The pin goes with its lease, whatever becomes of the reader. */
export async function withReaderPin<T>(options: ReaderOptions, id: string, use: () => Promise<T>): Promise<T> {
  const lease = await pinForReader(options, id);
  try {
    return await use();
  } finally {
    await lease.revoke();
  }
}

async function pinForReader(options: ReaderOptions, id: string): Promise<Lease> {
  const { coordination, budget, clock, log, signal } = options;
  const parts = { clock, log, pauseMs: budget.pollMs, ...(signal ? { signal } : {}) };
  for (;;) {
    const lease = await patiently(parts, "reading a checkpoint", () => coordination.grantLease(budget.leaseTtlMs));
    try {
      const reader = { note: "somebody reads it", lease };
      await patiently(parts, "reading a checkpoint", () => pin(options, id, `reader-${lease.id}`, reader));
      return lease;
    } catch (error) {
      const isOver = !lease.isHeld();
      await lease.revoke();
      // An etcd that is away for longer than the lease lasts takes it: the next one is tried.
      if (!isOver || signal?.aborted) throw error;
    }
  }
}
