/**
 * The keys of a run as a worker reads them, read again after every hint. Whoever waits for something waits for a state
 * of these keys, never for an event: a hint that is lost or doubled changes nothing.
 */

import { messageOf } from "../core/errors.ts";
import type { Generation } from "../core/generation.ts";
import { decodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import type { EpochRecord, LeaderRecord, Refusal } from "../core/records.ts";
import type { CheckpointPointer } from "../core/status.ts";
import type { Coordination, Entry, Watch } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";

export interface Versioned<T> {
  readonly value: T;
  readonly createRevision: number;
  readonly modRevision: number;
}

export interface RunState {
  readonly generation: Versioned<Generation> | null;
  readonly leader: Versioned<LeaderRecord> | null;
  readonly latest: Versioned<CheckpointPointer> | null;
  readonly best: Versioned<CheckpointPointer> | null;
  readonly stop: boolean;
  readonly done: boolean;
  /** Why the run cannot go on, or null. */
  readonly failed: string | null;
  readonly refusal: Refusal | null;
}

export class RunView {
  readonly #coordination: Coordination;
  readonly #keys: Keys;
  readonly #log: Log;
  readonly #watch: Watch;
  readonly #listeners = new Set<() => void>();
  #workerId: string | null = null;
  #state: RunState | null = null;
  #reading: Promise<void> | null = null;
  #next: Promise<void> | null = null;
  #closed = false;

  constructor(coordination: Coordination, keys: Keys, pollMs: number, log: Log) {
    this.#coordination = coordination;
    this.#keys = keys;
    this.#log = log;
    this.#watch = coordination.watch(keys.prefix, pollMs, () => void this.refresh());
  }

  /** The id whose refusal is read. */
  follow(workerId: string): void {
    this.#workerId = workerId;
    this.#state = null;
  }

  /** What was read last; null before the first reading. */
  get state(): RunState | null {
    return this.#state;
  }

  /** Called after every reading. Returns a function that ends it. */
  onReading(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves with the first truthy answer; rejects with what `answer` throws, or with the signal's reason. */
  until<T>(answer: (state: RunState) => T | null | undefined | false, signal?: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const check = () => {
        try {
          const found = this.#state && answer(this.#state);
          if (!found) return;
          end();
          resolve(found);
        } catch (error) {
          end();
          reject(error);
        }
      };
      const aborted = () => {
        end();
        reject(signal?.reason);
      };
      const forget = this.onReading(check);
      const end = () => {
        forget();
        signal?.removeEventListener("abort", aborted);
      };
      if (signal?.aborted) return aborted();
      signal?.addEventListener("abort", aborted);
      check();
    });
  }

  /** Resolves when everything has been read again, by a reading that began after this call. */
  refresh(): Promise<void> {
    if (this.#reading === null) {
      this.#reading = this.#readOnce().finally(() => {
        this.#reading = null;
      });
      return this.#reading;
    }
    // The reading under way may have missed what the caller knows of; all who ask meanwhile share the next one.
    this.#next ??= this.#reading.then(() => {
      this.#next = null;
      return this.refresh();
    });
    return this.#next;
  }

  close(): void {
    this.#closed = true;
    this.#watch.close();
  }

  async #readOnce(): Promise<void> {
    try {
      this.#state = await this.#read();
    } catch (error) {
      // etcd is out of reach: the next poll reads again.
      if (!this.#closed) this.#log.debug("reading the run's keys failed", { error: messageOf(error) });
      return;
    }
    if (this.#closed) return;
    for (const listener of [...this.#listeners]) listener();
  }

  async #read(): Promise<RunState> {
    const keys = this.#keys;
    const get = (key: string) => this.#coordination.get(key);
    const [generation, leader, latest, best, stop, done, failed, refusal] = await Promise.all([
      get(keys.generation),
      get(keys.leader),
      get(keys.latest),
      get(keys.best),
      get(keys.stop),
      get(keys.done),
      get(keys.failed),
      this.#workerId === null ? null : get(keys.refusal(this.#workerId)),
    ]);
    return {
      generation: versioned<Generation>(generation),
      leader: versioned<LeaderRecord>(leader),
      latest: versioned<CheckpointPointer>(latest),
      best: versioned<CheckpointPointer>(best),
      stop: stop !== null,
      done: done !== null,
      failed: failed?.value ?? null,
      refusal: refusal && decodeJson<Refusal>(refusal.value),
    };
  }
}

export function versioned<T>(entry: Entry | null): Versioned<T> | null {
  if (!entry) return null;
  return { value: decodeJson<T>(entry.value), createRevision: entry.createRevision, modRevision: entry.modRevision };
}

export async function readEpoch(coordination: Coordination, key: string): Promise<EpochRecord | null> {
  const entry = await coordination.get(key);
  return entry && decodeJson<EpochRecord>(entry.value);
}
